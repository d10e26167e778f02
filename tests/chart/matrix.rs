//! Who may do what, as the API server decides it with the chart's roles and admission policies.

use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use programmatic_users::api::FINALIZER;
use serde_json::json;

use crate::helm::release;
use crate::objects::users;
use crate::support::Cluster;
use crate::support::wait::{SOON, eventually};

/// Where everybody tries.
const NAMESPACE: &str = "team-a";
const OPERATOR: &str = "system:serviceaccount:pu-system:programmatic-users";

/// What is let through, or who refuses and with which words.
const YES: &str = "yes";
const RBAC: &str = "cannot";
const CLASS: &str = "may not use class";
const SCOPE: &str = "with scope Organization";
const TOKENS: &str = "may not replace tokens";
const STATUS: &str = "only the operator writes the status";
const FINALIZERS: &str = "keeps users from being left behind";

const ACTS: [&str; 7] = [
    "create",
    "update spec",
    "patch status",
    "remove finalizer",
    "delete",
    "rotate-at",
    "revoke-now",
];
/// The class may be used; it may not; it may be used, and the scope is Organization.
const CASES: [&str; 3] = ["allowed", "not allowed", "organization"];

/// Who, as user and groups, and what is expected for each act and case.
type Row = (
    &'static str,
    &'static str,
    &'static [&'static str],
    [[&'static str; 3]; 7],
);

const NOTHING: [[&str; 3]; 7] = [[RBAC; 3]; 7];
const REQUESTER: [[&str; 3]; 7] = [
    [YES, CLASS, SCOPE],
    [YES, CLASS, SCOPE],
    [RBAC; 3],
    [FINALIZERS; 3],
    [YES; 3],
    [YES, TOKENS, YES],
    [YES, TOKENS, YES],
];

const ROWS: [Row; 8] = [
    ("tenant", "tina", &[], REQUESTER),
    ("tenant of another namespace", "tom", &[], NOTHING),
    ("class admin", "clara", &[], NOTHING),
    ("auditor", "audrey", &[], NOTHING),
    (
        "GitOps ServiceAccount",
        "system:serviceaccount:gitops:applier",
        &["system:serviceaccounts"],
        REQUESTER,
    ),
    (
        // Rights on everything in its namespace, but `use` on no class.
        "owner of the namespace",
        "olga",
        &[],
        [
            [CLASS; 3],
            [CLASS; 3],
            [STATUS; 3],
            [FINALIZERS; 3],
            [YES; 3],
            [TOKENS; 3],
            [TOKENS; 3],
        ],
    ),
    (
        "operator",
        OPERATOR,
        &["system:serviceaccounts"],
        [
            [RBAC; 3],
            [CLASS; 3],
            [YES; 3],
            [YES; 3],
            [RBAC; 3],
            [TOKENS; 3],
            [TOKENS; 3],
        ],
    ),
    ("cluster-admin", "root", &["system:masters"], [[YES; 3]; 7]),
];

const BINDINGS: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: team-a}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: team-b}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: use-editors}, rules: [
  {apiGroups: [programmatic-users.io], resources: [programmaticuserclasses], resourceNames: [editors], verbs: [use]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: use, namespace: team-a},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: use-editors},
  subjects: [{kind: User, name: tina}, {kind: ServiceAccount, name: applier, namespace: gitops}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: request, namespace: team-a},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: programmatic-users-requester},
  subjects: [{kind: User, name: tina}, {kind: ServiceAccount, name: applier, namespace: gitops}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: use, namespace: team-b},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: use-editors}, subjects: [{kind: User, name: tom}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: request, namespace: team-b},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: programmatic-users-requester}, subjects: [{kind: User, name: tom}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: clara},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: programmatic-users-class-admin}, subjects: [{kind: User, name: clara}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: audrey},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: programmatic-users-auditor}, subjects: [{kind: User, name: audrey}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: everything, namespace: team-a}, rules: [
  {apiGroups: [programmatic-users.io], resources: [programmaticusers, programmaticusers/status], verbs: ["*"]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: everything, namespace: team-a},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: everything}, subjects: [{kind: User, name: olga}]}
"#;

fn object(name: &str, case: usize) -> DynamicObject {
    let class = if case == 1 { "admins" } else { "editors" };
    let scope = if case == 2 { "Organization" } else { "Account" };
    serde_json::from_value(json!({
        "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
        "metadata": {"name": name, "finalizers": [FINALIZER]},
        "spec": {"className": class, "scope": scope, "access": {"role": "Viewer", "accounts": [{"id": "act-11aa22bb"}]}}
    }))
    .unwrap()
}

fn name(case: usize) -> String {
    format!("user-{case}")
}

/// Tries one act, without effect; what came of it.
async fn try_out(api: &Api<DynamicObject>, act: &str, case: usize) -> String {
    let (post, patch) = (
        PostParams {
            dry_run: true,
            ..PostParams::default()
        },
        PatchParams {
            dry_run: true,
            ..PatchParams::default()
        },
    );
    let name = name(case);
    let annotate = |key: &str| {
        Patch::Merge(json!({"metadata": {"annotations": {format!("programmatic-users.io/{key}"): "1"}}}))
    };
    let tried = match act {
        "create" => api.create(&post, &object("new", case)).await.map(drop),
        "update spec" => {
            let change = Patch::Merge(json!({"spec": {"description": "another"}}));
            api.patch(&name, &patch, &change).await.map(drop)
        }
        "patch status" => {
            // The operator replaces the whole status; others may try what they like.
            match api.get(&name).await {
                Ok(mut object) => {
                    object.data["status"] =
                        json!({"journal": {"current": {"nonce": "x", "userId": "pu-1", "fingerprint": ""}}});
                    api.replace_status(&name, &post, &object).await.map(drop)
                }
                Err(_) => api
                    .patch_status(
                        &name,
                        &patch,
                        &Patch::Merge(json!({"status": {"userId": "pu-1"}})),
                    )
                    .await
                    .map(drop),
            }
        }
        "remove finalizer" => api
            .patch(
                &name,
                &patch,
                &Patch::Merge(json!({"metadata": {"finalizers": []}})),
            )
            .await
            .map(drop),
        "delete" => {
            let params = DeleteParams {
                dry_run: true,
                ..DeleteParams::default()
            };
            api.delete(&name, &params).await.map(drop)
        }
        "rotate-at" | "revoke-now" => api.patch(&name, &patch, &annotate(act)).await.map(drop),
        other => panic!("{other}"),
    };
    match tried {
        Ok(()) => YES.to_owned(),
        Err(kube::Error::Api(status)) => status.message.clone(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_may_do_what_the_table_says_and_nothing_else() {
    let cluster = Cluster::empty("matrix").await;
    let flags = ["--create-namespace", "--set", "rbac.mode=cluster,replicas=1"];
    release(cluster, "install", "pu-system", &flags);
    cluster
        .kubectl_with(&["apply", "-f", "-"], Some(BINDINGS))
        .unwrap();
    let admin = users(cluster.client().await, NAMESPACE);
    for case in 0..CASES.len() {
        eventually("the definitions to be served", SOON, async || {
            admin
                .create(&PostParams::default(), &object(&name(case), case))
                .await
                .map_err(|e| e.to_string())
        })
        .await
        .unwrap();
    }
    // Policies and roles are in force a moment after they were made.
    let tina = users(
        cluster.client_of("tina", &["system:authenticated"]).await,
        NAMESPACE,
    );
    eventually("the policies to be in force", SOON, async || {
        let (good, bad) = (
            try_out(&tina, "create", 0).await,
            try_out(&tina, "rotate-at", 1).await,
        );
        let finalizer = try_out(&tina, "remove finalizer", 0).await;
        let in_force = good == YES && bad.contains(TOKENS) && finalizer.contains(FINALIZERS);
        if in_force {
            Ok(())
        } else {
            Err(format!("{good}; {bad}; {finalizer}"))
        }
    })
    .await
    .unwrap();

    let mut wrong = Vec::new();
    println!("| who | act | {} |\n|---|---|---|---|---|", CASES.join(" | "));
    for (who, user, groups, expected) in ROWS {
        let groups: Vec<&str> = groups.iter().copied().chain(["system:authenticated"]).collect();
        let api = users(cluster.client_of(user, &groups).await, NAMESPACE);
        for (act, expected) in ACTS.iter().zip(expected) {
            let mut cells = Vec::new();
            for (case, expected) in expected.into_iter().enumerate() {
                let said = try_out(&api, act, case).await;
                let right = if expected == YES {
                    said == YES
                } else {
                    said.contains(expected)
                };
                if !right {
                    wrong.push(format!(
                        "{who}, {act}, {}: expected {expected:?}, got {said}",
                        CASES[case]
                    ));
                }
                cells.push(if said == YES {
                    "yes".to_owned()
                } else {
                    format!("no ({expected})")
                });
            }
            println!("| {who} | {act} | {} |", cells.join(" | "));
        }
    }
    wrong.extend(crate::organizations::check(cluster, OPERATOR, "clara").await);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
