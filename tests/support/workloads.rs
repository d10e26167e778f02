//! Workloads of a test whose pods run a script.

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::pod;
use super::world::World;

/// The spec of a workload whose pods are made so.
#[must_use]
pub fn spec(app: &str, pod: &Value, more: &Value) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": app}},
        "template": {"metadata": {"labels": {"app": app}}, "spec": pod},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

/// A pod with one container of these words and this environment.
#[must_use]
pub fn runs(script: &str, env: &Value) -> Value {
    let mut main = serde_json::to_value(pod::container(script)).unwrap();
    for (key, value) in env.as_object().into_iter().flatten() {
        main[key] = value.clone();
    }
    json!({
        "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 10, "containers": [main],
    })
}

/// All keys of a Secret.
#[must_use]
pub fn env_from(secret: &str) -> Value {
    json!({"envFrom": [{"secretRef": {"name": secret}}]})
}

async fn made<K>(world: &World, kind: &str, name: &str, spec: Value)
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug,
{
    let metadata = json!({"name": name, "namespace": world.namespace()});
    let object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec});
    let object: K = serde_json::from_value(object).unwrap();
    world.apply(&object).await.unwrap();
}

pub async fn deployment(world: &World, name: &str, spec: Value) {
    made::<Deployment>(world, "Deployment", name, spec).await;
}

pub async fn stateful_set(world: &World, name: &str, spec: Value) {
    made::<StatefulSet>(world, "StatefulSet", name, spec).await;
}

pub async fn daemon_set(world: &World, name: &str, spec: Value) {
    made::<DaemonSet>(world, "DaemonSet", name, spec).await;
}
