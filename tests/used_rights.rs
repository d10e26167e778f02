//! The last word on rights: what the controllers of all tests asked of the API server, the chart's roles allow.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use support::audit::Entry;
use support::{PAYMENTS, World, audit};

/// The namespace of the caller, if it was the controller of a test.
fn controller(entry: &Entry) -> Option<&str> {
    let account = entry
        .impersonated_user
        .username
        .strip_prefix("system:serviceaccount:")?;
    account.strip_suffix(":operator")
}

/// Rights on Secrets go with their namespace, and a watch of them may still be asked for.
fn of_what_is_gone(entry: &Entry, namespaces: &BTreeSet<String>) -> bool {
    let o = &entry.object_ref;
    o.resource == "secrets" && !o.namespace.is_empty() && !namespaces.contains(&o.namespace)
}

/// Cargo runs this after the others that share the control plane, and its audit log; alone, it sees what it does itself.
#[tokio::test]
async fn no_request_of_the_operator_was_forbidden() {
    let world = World::builder("rights").drift("1s").start().await;
    world.user("one").editor(PAYMENTS).apply().await;
    world.ready("one").await;
    world.delete("one").await;
    world.gone("one").await;
    world.audit_mark().await;
    let all = Api::<Namespace>::all(world.client());
    let all = all.list_metadata(&ListParams::default()).await.unwrap();
    let namespaces: BTreeSet<String> = all.items.iter().map(ResourceExt::name_any).collect();
    let (mut requests, mut controllers) = (0, BTreeSet::new());
    let mut refused = BTreeMap::<String, usize>::new();
    let mut used = BTreeSet::new();
    for line in audit::text_from(world.cluster(), 0).lines() {
        let Ok(entry) = serde_json::from_str::<Entry>(line) else {
            continue;
        };
        let Some(who) = controller(&entry) else { continue };
        requests += 1;
        controllers.insert(who.to_owned());
        let what = format!("{} {}", entry.verb, entry.object_ref.kind());
        if !entry.is_unauthorized() {
            used.insert(what);
        } else if !of_what_is_gone(&entry, &namespaces) {
            *refused.entry(what).or_default() += 1;
        }
    }
    println!(
        "rights: {requests} requests of the controllers of {} tests, {} kinds of them, {} refused for want of a right",
        controllers.len(),
        used.len(),
        refused.len()
    );
    for kind in used {
        println!("  {kind}");
    }
    assert!(controllers.contains(world.operator_namespace()));
    assert_eq!(refused, BTreeMap::new());
}
