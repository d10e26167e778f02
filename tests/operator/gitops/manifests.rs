//! Manifests of all kinds with every field that there is.

use serde_json::{Value, json};

use crate::support::{BILLING, PAYMENTS, World};

/// What is named by its id: a policy and a group beside those of the name `gitops`.
pub(super) struct Ids {
    pub(super) policy: String,
    pub(super) group: String,
}

fn manifest(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "programmatic-users.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"team": "payments"}, "annotations": {"note": "by hand"}},
        "spec": spec
    })
}

/// All of them, for one way to apply them.
pub(super) fn manifests(world: &World, mode: &str, ids: &Ids) -> Vec<Value> {
    let name = |what: &str| world.unique(&format!("{what}-{mode}"));
    let (organization, class) = (name("org"), name("class"));
    let user = |what: &str, spec: &Value| {
        let mut user = manifest("ProgrammaticUser", &format!("{what}-{mode}"), spec);
        user["metadata"]["namespace"] = json!(world.namespace());
        user
    };
    // All that can be left out is left out: the class has it.
    let little = json!({"className": class, "scope": "Account"});
    let several = json!({
        "className": class,
        "scope": "Organization",
        "access": {"role": "Viewer", "accounts": [{"id": PAYMENTS}, {"id": BILLING, "role": "Editor"}]},
        "secret": {"account": PAYMENTS},
        "rotation": {"every": "700h"},
        "deletionPolicy": "Retain"
    });
    let policies = json!({
        "organizationName": organization,
        "scopes": ["Account"],
        "defaults": {"access": policy_based(ids)}
    });
    vec![
        manifest("Organization", &organization, &organization_spec(world)),
        manifest("ProgrammaticUserClass", &class, &class_spec(world, &organization)),
        user("little", &little),
        user("everything", &everything(&class, mode, ids)),
        user("several", &several),
        manifest("ProgrammaticUserClass", &name("policies"), &policies),
    ]
}

fn organization_spec(world: &World) -> Value {
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertificateParams::new(vec!["example.com".to_owned()]).unwrap();
    let authority = authority.self_signed(&key).unwrap().pem();
    json!({
        "endpoint": {
            "url": world.platform().url(),
            "insecure": true,
            "timeout": "10s",
            "caBundle": authority.trim_end()
        },
        "credentials": {"secretName": "admin", "key": "token", "previousKey": "token-previous"},
        "limits": {"requestsPerMinute": 6000, "maxInFlight": 8, "createsPerHour": 1000},
        "drift": {"interval": "5s"},
        "deletionProtection": true,
        "orphanPolicy": "Report"
    })
}

fn rotation() -> Value {
    json!({
        "every": "720h",
        "overlap": "25h",
        "waitForConsumers": true,
        "maxOverlap": "48h",
        "windows": [{"cron": "0 2 * * SUN", "timeZone": "Europe/Berlin", "duration": "4h"}]
    })
}

fn policy_based(ids: &Ids) -> Value {
    json!({
        "role": "PolicyBased",
        "accounts": [{"id": PAYMENTS}],
        "policies": [{"name": "gitops", "accounts": [PAYMENTS]}, {"id": ids.policy}],
        "groups": [{"name": "gitops"}, {"id": ids.group}]
    })
}

fn class_spec(world: &World, organization: &str) -> Value {
    json!({
        "organizationName": organization,
        "scopes": ["Account", "Organization"],
        "allow": {
            "roles": ["Viewer", "Editor", "PolicyBased"],
            "accounts": ["*"],
            "policies": ["*"],
            "groups": ["*"],
            "deletionPolicies": ["Delete", "Retain"],
            "suspend": true
        },
        "namespaces": {"matchNames": [world.namespace()], "matchLabels": {"never": "set"}},
        "maxUsersPerNamespace": 20,
        "rotation": {"maxAge": "2160h", "minOverlap": "1h"},
        "onRevoked": "Keep",
        "defaults": {
            "access": {"role": "Viewer", "accounts": [{"id": PAYMENTS, "role": "Viewer"}]},
            "rotation": rotation(),
            "consumers": {"restart": "Never"},
            "secret": {
                "keys": {"token": "TOKEN", "account": "ACCOUNT", "endpoint": "URL", "organization": "ORG"}
            }
        }
    })
}

fn everything(class: &str, mode: &str, ids: &Ids) -> Value {
    json!({
        "className": class,
        "scope": "Account",
        "displayName": "everything",
        "description": "has every field that there is",
        "access": policy_based(ids),
        "secret": {
            "name": format!("token-{mode}"),
            "keys": {"token": "A", "account": "B", "endpoint": "C", "organization": "D"},
            "extraKeys": {"E": "token", "F": "account"},
            "template": {
                "labels": {"example.com/team": "payments"},
                "annotations": {"example.com/note": "made"},
                "data": {"credentials.ini": "token={{ token }}"}
            },
            "account": PAYMENTS
        },
        "rotation": rotation(),
        "consumers": {"restart": "Never"},
        "deletionPolicy": "Delete",
        "expireAt": "2099-01-01T00:00:00Z",
        "suspend": false
    })
}

/// Fields of our kinds that none of these manifests has.
pub(super) fn left_out(manifests: &[Value]) -> Vec<String> {
    let all = programmatic_users::api::crds().into_iter();
    all.flat_map(|(_, crd)| {
        let crd = serde_json::to_value(crd).unwrap();
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let specs = manifests.iter().filter(|m| m["kind"] == kind);
        let specs: Vec<&Value> = specs.map(|m| &m["spec"]).collect();
        missing(schema, &specs, kind)
    })
    .collect()
}

/// Fields of a schema that none of these values has.
fn missing(schema: &Value, values: &[&Value], at: &str) -> Vec<String> {
    if values.is_empty() {
        return vec![at.to_owned()];
    }
    if let Some(items) = schema.get("items") {
        let lists = values.iter().filter_map(|v| v.as_array());
        return missing(items, &lists.flatten().collect::<Vec<_>>(), at);
    }
    let fields = schema["properties"].as_object().into_iter().flatten();
    fields
        .flat_map(|(name, schema)| {
            let values: Vec<&Value> = values.iter().filter_map(|v| v.get(name)).collect();
            missing(schema, &values, &format!("{at}.{name}"))
        })
        .collect()
}
