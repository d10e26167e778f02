//! The last word on rights: what the controllers of all tests asked of the API server, the chart's roles allow.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::Value;
use support::{PAYMENTS, World, audit};

/// Who asked, if it was the controller of a test.
fn controller(event: &Value) -> Option<&str> {
    let user = event["impersonatedUser"]["username"].as_str()?;
    let account = user.strip_prefix("system:serviceaccount:")?;
    account.strip_suffix(":operator")
}

/// Rights on Secrets go with their namespace, and a watch of them may still be asked for.
fn of_what_is_gone(event: &Value, namespaces: &BTreeSet<String>) -> bool {
    let object = &event["objectRef"];
    let namespace = object["namespace"].as_str().unwrap_or_default();
    object["resource"] == "secrets" && !namespace.is_empty() && !namespaces.contains(namespace)
}

/// Cargo runs this after the others that share the control plane, and its audit log; alone, it sees what it does itself.
#[tokio::test]
async fn nothing_was_refused_for_want_of_a_right() {
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
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let Some(who) = controller(&event) else { continue };
        requests += 1;
        controllers.insert(who.to_owned());
        let object = &event["objectRef"];
        let text = |key: &str| object[key].as_str().unwrap_or_default();
        let what = format!(
            "{} {} {}",
            event["verb"].as_str().unwrap_or_default(),
            text("resource"),
            text("subresource")
        );
        if event["annotations"]["authorization.k8s.io/decision"] == "forbid" {
            if of_what_is_gone(&event, &namespaces) {
                continue;
            }
            *refused.entry(what).or_default() += 1;
        } else {
            used.insert(what);
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
