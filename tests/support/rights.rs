//! The rights that the chart gives the operator. The controllers of all tests have these and no others.

use std::path::{Path, PathBuf};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::cluster::{Cluster, root};
use super::wait::{SOON, eventually};
use super::world::{MANAGER, apply};

/// What is of the whole cluster.
pub const CLUSTER: &str = "cluster";
/// What is of a namespace with users.
pub const NAMESPACE: &str = "namespace";
/// What is of the operator's own namespace.
pub const OWN: &str = "own-namespace";
/// The release of the rendered charts among the tests.
const RELEASE: &str = "pu-programmatic-users";
const ACCOUNT: &str = "operator";

/// The rules of the operator's three roles in a rendered chart, and where they hold.
#[must_use]
pub fn roles(rendered: &str, release: &str) -> Vec<(&'static str, Value)> {
    let namespaced = format!("{release}-namespace");
    let documents = rendered.split("\n---\n");
    let objects = documents.filter_map(|d| serde_saphyr::from_str::<Value>(d).ok());
    let role = |object: Value| {
        let place = match (object["kind"].as_str()?, object["metadata"]["name"].as_str()?) {
            ("ClusterRole", name) if name == release => CLUSTER,
            ("ClusterRole", name) if name == namespaced => NAMESPACE,
            ("Role", name) if name == release => OWN,
            _ => return None,
        };
        Some((place, object["rules"].clone()))
    };
    let roles: Vec<_> = objects.filter_map(role).collect();
    assert_eq!(roles.len(), 3, "{roles:?}");
    roles
}

/// The user that a world's controllers are.
#[must_use]
pub fn account(own: &str) -> String {
    format!("system:serviceaccount:{own}:{ACCOUNT}")
}

/// The groups that every such user is in.
#[must_use]
pub fn groups(own: &str) -> [String; 3] {
    [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{own}"),
        "system:authenticated".to_owned(),
    ]
}

/// Gives the controllers of one world the rights that the chart gives with the values of a snapshot, and waits until the
/// API server knows of them. A kubeconfig by which
/// an administrator acts as their account.
pub async fn grant(
    cluster: &Cluster,
    client: &Client,
    dir: &Path,
    own: &str,
    watched: &[String],
    snapshot: &str,
) -> Result<PathBuf, String> {
    make_roles(client, snapshot).await?;
    let subject = json!([{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": own}]);
    let binding = |place: &str, namespace: Option<&str>| {
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role_name(snapshot, place)});
        let metadata = json!({"name": format!("{own}-{place}"), "namespace": namespace});
        json!({"metadata": metadata, "roleRef": role, "subjects": subject})
    };
    let everywhere = watched.is_empty().then_some(NAMESPACE);
    for place in everywhere.into_iter().chain([CLUSTER]) {
        apply::<ClusterRoleBinding>(client, &typed(binding(place, None)), MANAGER).await?;
    }
    let bound = watched.iter().map(|namespace| (namespace.as_str(), NAMESPACE));
    for (namespace, place) in bound.chain([(own, OWN)]) {
        apply::<RoleBinding>(client, &typed(binding(place, Some(namespace))), MANAGER).await?;
    }
    let users = watched.first().map(String::as_str);
    for (group, resource, namespace) in [
        ("programmatic-users.io", "organizations", None),
        ("", "secrets", users),
        ("apps", "deployments", users),
        ("coordination.k8s.io", "leases", Some(own)),
    ] {
        let verb = if resource == "leases" { "create" } else { "list" };
        let asked = ResourceAttributes {
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            namespace: namespace.map(str::to_owned),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        eventually("the rights to hold", SOON, async || {
            may(client, own, asked.clone()).await
        })
        .await?;
    }
    kubeconfig(cluster, dir, own)
}

fn role_name(snapshot: &str, place: &str) -> String {
    format!("tests-operator-{snapshot}-{place}")
}

fn typed<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("an object of its kind")
}

/// They are the same for all worlds of a cluster; a later world changes nothing.
async fn make_roles(client: &Client, snapshot: &str) -> Result<(), String> {
    // That this is what the chart renders, tests of the chart say.
    let path = root().join(format!("tests/chart/snapshots/{snapshot}.yaml"));
    let rendered = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    for (place, rules) in roles(&rendered, RELEASE) {
        let role = json!({"metadata": {"name": role_name(snapshot, place)}, "rules": rules});
        apply::<ClusterRole>(client, &typed(role), MANAGER).await?;
    }
    Ok(())
}

async fn may(client: &Client, own: &str, asked: ResourceAttributes) -> Result<(), String> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(account(own)),
            groups: Some(groups(own).into()),
            resource_attributes: Some(asked),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews = Api::<SubjectAccessReview>::all(client.clone());
    let review = reviews.create(&PostParams::default(), &review).await;
    let status = review.map_err(|e| e.to_string())?.status.unwrap_or_default();
    if status.allowed {
        Ok(())
    } else {
        Err(format!("not allowed yet: {:?}", status.reason))
    }
}

fn kubeconfig(cluster: &Cluster, dir: &Path, own: &str) -> Result<PathBuf, String> {
    let path = &cluster.info().kubeconfig;
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let mut config: Value = serde_saphyr::from_str(&text).map_err(|e| format!("{path}: {e}"))?;
    for user in config["users"].as_array_mut().into_iter().flatten() {
        user["user"]["as"] = json!(account(own));
        user["user"]["as-groups"] = json!(groups(own));
    }
    let path = dir.join("operator.kubeconfig");
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&path, config.to_string()))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}
