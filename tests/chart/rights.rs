//! What the operator asks of the API server, held against the rights that the chart gives it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::helm::{RELEASE, template};
use crate::support::{World, audit};

/// Where, what and which verb, such as `namespace secrets get`.
type Right = (&'static str, String, String);

/// The rights of the operator's three roles, as they are rendered.
fn granted(values: &[&str]) -> BTreeSet<Right> {
    let rendered = template(RELEASE, values).unwrap();
    let namespaced = format!("{RELEASE}-namespace");
    let mut rights = BTreeSet::new();
    for document in rendered.split("\n---\n") {
        let Ok(object) = serde_saphyr::from_str::<Value>(document) else {
            continue;
        };
        let place = match (object["kind"].as_str(), object["metadata"]["name"].as_str()) {
            (Some("ClusterRole"), Some(name)) if name == RELEASE => "cluster",
            (Some("ClusterRole"), Some(name)) if name == namespaced => "namespace",
            (Some("Role"), Some(_)) => "own namespace",
            _ => continue,
        };
        let words = |list: &Value| -> Vec<String> {
            list.as_array()
                .unwrap()
                .iter()
                .map(|w| w.as_str().unwrap().to_owned())
                .collect()
        };
        for rule in object["rules"].as_array().unwrap() {
            for (resource, verb) in words(&rule["resources"])
                .into_iter()
                .flat_map(|r| words(&rule["verbs"]).into_iter().map(move |v| (r.clone(), v)))
            {
                rights.insert((place, resource, verb));
            }
        }
    }
    rights
}

/// What was asked for, and whether anything was refused for want of a right.
pub fn are_all_used_and_never_exceeded(world: &World, values: &[&str]) {
    let operator = format!("system:serviceaccount:{}:{RELEASE}", world.operator_namespace());
    let granted = granted(values);
    let mut used = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for line in audit::text_from(world.cluster(), 0).lines() {
        let Ok(entry) = serde_json::from_str::<audit::Entry>(line) else {
            continue;
        };
        if entry.user.username != operator || entry.object_ref.resource.is_empty() {
            continue;
        }
        if entry.response_status.code == 403 {
            refused.insert(entry.describe());
        }
        let o = &entry.object_ref;
        let resource = match o.subresource.as_str() {
            "" => o.resource.clone(),
            sub => format!("{}/{sub}", o.resource),
        };
        let place = match (o.resource.as_str(), o.namespace.as_str()) {
            // Of a namespace itself the audit log may name none.
            ("namespaces", _) => "namespace",
            // Events are told in the namespace of their object, by one right for all.
            ("events", _) | (_, "") => "cluster",
            (_, own) if own == world.operator_namespace() => "own namespace",
            _ => "namespace",
        };
        used.insert((place, resource, entry.verb));
    }
    assert!(refused.is_empty(), "refused: {refused:#?}");
    let more: Vec<_> = used.difference(&granted).collect();
    assert!(
        more.is_empty(),
        "asked for, and not in the chart's roles: {more:#?}"
    );
    let unused: Vec<_> = granted.difference(&used).collect();
    assert!(
        unused.is_empty(),
        "in the chart's roles, and never asked for: {unused:#?}"
    );
}
