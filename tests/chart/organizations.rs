//! Who may have a credential sent where, and who may leave users behind: as the API server decides it with the chart's policies.

use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::support::Cluster;
use crate::support::wait::{SOON, eventually};

/// What is let through, or who refuses and with which words.
const YES: &str = "yes";
const RBAC: &str = "cannot";
const CREDENTIAL: &str = "may not have the operator send Secret";
const PROTECTION: &str = "users are left behind on the platform";
/// Two policies refuse it.
const EITHER: &str = "may not have the operator send Secret|users are left behind on the platform";

/// Organizations that are there: name, Secret, whether it is protected, users.
const THERE: [(&str, &str, bool, i32); 4] = [
    ("hers", "hers", true, 3),
    ("others", "others", true, 3),
    ("unprotected", "hers", false, 2),
    ("empty", "hers", false, 0),
];

enum Act {
    /// With this Secret, protected or not.
    Create(&'static str, bool),
    Patch(&'static str, &'static str),
    Delete(&'static str),
}

/// An act, and what comes of it for a class-admin who may read Secret `hers`, one who may read no Secret, the operator, a
/// cluster-admin. The operator may read its Secrets, and never changes a spec.
const ROWS: [(&str, Act, [&str; 4]); 14] = [
    ("create", Act::Create("hers", true), [YES, CREDENTIAL, RBAC, YES]),
    (
        "create with another's Secret",
        Act::Create("others", true),
        [CREDENTIAL, CREDENTIAL, RBAC, YES],
    ),
    (
        "create unprotected",
        Act::Create("hers", false),
        [PROTECTION, EITHER, RBAC, YES],
    ),
    (
        "send elsewhere",
        Act::Patch("hers", r#"{"endpoint": {"url": "https://evil.example"}}"#),
        [YES, CREDENTIAL, YES, YES],
    ),
    (
        "send another's elsewhere",
        Act::Patch("others", r#"{"endpoint": {"url": "https://evil.example"}}"#),
        [CREDENTIAL, CREDENTIAL, YES, YES],
    ),
    (
        "trust another authority",
        Act::Patch("others", r#"{"endpoint": {"caBundle": "x"}}"#),
        [CREDENTIAL, CREDENTIAL, YES, YES],
    ),
    (
        "name another Secret",
        Act::Patch(
            "hers",
            r#"{"credentials": {"secretName": "programmatic-users-instance"}}"#,
        ),
        [CREDENTIAL, CREDENTIAL, YES, YES],
    ),
    (
        "name another key",
        Act::Patch("others", r#"{"credentials": {"key": "instance-id"}}"#),
        [CREDENTIAL, CREDENTIAL, YES, YES],
    ),
    (
        "change limits",
        Act::Patch("others", r#"{"limits": {"createsPerHour": 7}}"#),
        [YES; 4],
    ),
    (
        "unprotect",
        Act::Patch("hers", r#"{"deletionProtection": false}"#),
        [PROTECTION, PROTECTION, PROTECTION, YES],
    ),
    (
        "protect",
        Act::Patch("unprotected", r#"{"deletionProtection": true}"#),
        [YES; 4],
    ),
    ("delete", Act::Delete("others"), [YES, YES, RBAC, YES]),
    (
        "delete what has users",
        Act::Delete("unprotected"),
        [PROTECTION, PROTECTION, RBAC, YES],
    ),
    (
        "delete what has none",
        Act::Delete("empty"),
        [YES, YES, RBAC, YES],
    ),
];

const BINDINGS: &str = r#"
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: hers, namespace: pu-system}, rules: [
  {apiGroups: [""], resources: [secrets], resourceNames: [hers], verbs: [get]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: hers, namespace: pu-system},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: hers}, subjects: [{kind: User, name: hera}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: hera},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: programmatic-users-class-admin}, subjects: [{kind: User, name: hera}]}
"#;

fn api(client: kube::Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("programmatic-users.io", "v1alpha1", "Organization");
    Api::all_with(client, &ApiResource::from_gvk(&kind))
}

fn organization(name: &str, secret: &str, protected: bool) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "programmatic-users.io/v1alpha1", "kind": "Organization", "metadata": {"name": name},
        "spec": {
            "endpoint": {"url": "https://api.example.com"}, "credentials": {"secretName": secret},
            "deletionProtection": protected,
        }
    }))
    .unwrap()
}

/// Tries one act, without effect; what came of it.
async fn try_out(api: &Api<DynamicObject>, act: &Act) -> String {
    let post = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let tried = match act {
        Act::Create(secret, protected) => {
            let new = organization("new", secret, *protected);
            api.create(&post, &new).await.map(drop)
        }
        Act::Patch(name, spec) => {
            let spec: Value = serde_json::from_str(spec).unwrap();
            let patch = PatchParams {
                dry_run: true,
                ..PatchParams::default()
            };
            api.patch(name, &patch, &Patch::Merge(json!({"spec": spec})))
                .await
                .map(drop)
        }
        Act::Delete(name) => {
            let delete = DeleteParams {
                dry_run: true,
                ..DeleteParams::default()
            };
            api.delete(name, &delete).await.map(drop)
        }
    };
    match tried {
        Ok(()) => YES.to_owned(),
        Err(kube::Error::Api(status)) => status.message.clone(),
        Err(error) => panic!("{error}"),
    }
}

/// `operator` is the chart's account, `class_admin` one with the role and nothing else.
pub async fn check(cluster: &'static Cluster, operator: &str, class_admin: &str) -> Vec<String> {
    cluster
        .kubectl_with(&["apply", "-f", "-"], Some(BINDINGS))
        .unwrap();
    let admin = api(cluster.client().await);
    for (name, secret, protected, users) in THERE {
        let post = PostParams::default();
        let mut made = admin
            .create(&post, &organization(name, secret, protected))
            .await
            .unwrap();
        made.data["status"] = json!({"users": {"managed": users, "unmanaged": 0}});
        admin.replace_status(name, &post, &made).await.unwrap();
    }
    let who = [
        (
            "class-admin who may read the Secret",
            "hera",
            vec!["system:authenticated"],
        ),
        ("class-admin", class_admin, vec!["system:authenticated"]),
        (
            "operator",
            operator,
            vec!["system:serviceaccounts", "system:authenticated"],
        ),
        ("cluster-admin", "root", vec!["system:masters"]),
    ];
    let mut apis = Vec::new();
    for (_, user, groups) in &who {
        apis.push(api(cluster.client_of(user, groups).await));
    }
    // Roles and policies are in force a moment after they were made.
    eventually("the policies to be in force", SOON, async || {
        let (good, bad) = (
            try_out(&apis[0], &ROWS[0].1).await,
            try_out(&apis[0], &ROWS[4].1).await,
        );
        let unprotected = try_out(&apis[0], &ROWS[9].1).await;
        let in_force = good == YES && bad.contains(CREDENTIAL) && unprotected.contains(PROTECTION);
        in_force
            .then_some(())
            .ok_or(format!("{good}; {bad}; {unprotected}"))
    })
    .await
    .unwrap();
    let mut wrong = Vec::new();
    println!(
        "| act on an Organization | {} |\n|---|---|---|---|---|",
        who.clone().map(|w| w.0).join(" | ")
    );
    for (name, act, expected) in &ROWS {
        let mut cells = Vec::new();
        for ((who, api), expected) in who.iter().map(|w| w.0).zip(&apis).zip(expected) {
            let said = try_out(api, act).await;
            let right = if *expected == YES {
                said == YES
            } else {
                expected.split('|').any(|words| said.contains(words))
            };
            if !right {
                wrong.push(format!("{who}, {name}: expected {expected:?}, got {said}"));
            }
            cells.push(if said == YES {
                "yes".to_owned()
            } else {
                format!("no ({})", expected.replace('|', " / "))
            });
        }
        println!("| {name} | {} |", cells.join(" | "));
    }
    wrong
}
