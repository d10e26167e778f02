//! What the operator asks of the API server, held against the rights that the chart gives it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::helm::{RELEASE, template};
use crate::support::rights::{CLUSTER, NAMESPACE, OWN, roles};
use crate::support::{World, audit};

/// Where, what and which verb, such as `namespace secrets get`.
type Right = (&'static str, String, String);

/// The rights of the operator's three roles, as they are rendered.
fn granted(values: &[&str]) -> BTreeSet<Right> {
    let rendered = template(RELEASE, values).unwrap();
    let words = |list: &Value| -> Vec<String> {
        let words = list.as_array().unwrap().iter();
        words.map(|w| w.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for (place, rules) in roles(&rendered, RELEASE) {
        for rule in rules.as_array().unwrap() {
            for resource in words(&rule["resources"]) {
                let verbs = words(&rule["verbs"]);
                rights.extend(verbs.into_iter().map(|verb| (place, resource.clone(), verb)));
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
        let place = match (o.resource.as_str(), o.namespace.as_str()) {
            // By one right for all namespaces: Events are in that of their object.
            ("events" | "namespaces" | "programmaticusers", _) | (_, "") => CLUSTER,
            (_, own) if own == world.operator_namespace() => OWN,
            _ => NAMESPACE,
        };
        used.insert((place, o.kind(), entry.verb));
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
