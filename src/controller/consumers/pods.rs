//! The pods of a namespace that read Secrets, listed once for all users that ask at one time: after many rotations each of
//! them asks again and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::Mutex as Turn;

use crate::api::{Reason, WorkloadKind};
use crate::controller::consumers::summarize::{marks, secrets};
use crate::controller::error::describe;
use crate::plan;
use crate::plan::{Answer, Problem, Retry};

/// Label that a `Deployment` puts on its pods; the name of the `ReplicaSet` between them ends with its value.
const HASH_LABEL: &str = "pod-template-hash";
/// Pods that are in memory as a whole at one time.
const PAGE: u32 = 200;

type Pods = Arc<[plan::Pod]>;
/// The last list: when it began, and what came of it.
type Last = Turn<Option<(Instant, Answer<Pods>)>>;

/// Lists that are awaited, by namespace.
#[derive(Default)]
pub(in crate::controller) struct PodLists(Mutex<HashMap<String, Arc<Last>>>);

impl PodLists {
    /// As they were at some time after this was called: a caller that comes while a list is under way waits for the next one.
    pub(in crate::controller) async fn read(&self, client: &Client, namespace: &str) -> Answer<Pods> {
        self.next(namespace, || list(client, namespace)).await
    }

    async fn next(&self, namespace: &str, ask: impl AsyncFnOnce() -> Answer<Pods>) -> Answer<Pods> {
        let asked = Instant::now();
        let last = self.all().entry(namespace.to_owned()).or_default().clone();
        let mut turn = last.lock().await;
        let answer = match &*turn {
            Some((begun, answer)) if *begun >= asked => answer.clone(),
            _ => {
                let begun = Instant::now();
                let answer = ask().await;
                *turn = Some((begun, answer.clone()));
                answer
            }
        };
        drop(turn);
        let mut all = self.all();
        // A later caller needs a later list.
        if all.get(namespace).is_some_and(|kept| Arc::ptr_eq(kept, &last)) && Arc::strong_count(&last) == 2 {
            all.remove(namespace);
        }
        answer
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Last>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn list(client: &Client, namespace: &str) -> Answer<Pods> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut params = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = pods.list(&params).await.map_err(|error| Problem {
            reason: Reason::PodsUnknown,
            message: format!(
                "pods of namespace {namespace} cannot be listed, so that the operator cannot know which pods use a token: {}",
                describe(&error)
            ),
            retry: Retry::Backoff,
        })?;
        let all = page.items.iter().filter_map(pod_of);
        found.extend(all.filter(|pod| !pod.secrets.is_empty()));
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(found.into());
        }
    }
}

/// A pod that may run a container; `None`: it has ended, or no node has it yet.
fn pod_of(pod: &Pod) -> Option<plan::Pod> {
    let spec = pod.spec.as_ref()?;
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    // A pod that no node has begun with will read the Secret as it is then.
    spec.node_name.as_ref()?;
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    Some(plan::Pod {
        name: pod.name_any(),
        workload: owner(pod),
        created: pod.creation_timestamp().map(|time| time.0),
        secrets: secrets(spec),
        marks: marks(pod.metadata.annotations.as_ref()),
        // The time of its deletion and what it was given besides.
        ends: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
    })
}

/// The workload that made a pod. Between a `Deployment` and its pods is a `ReplicaSet`, which need not be read for this.
fn owner(pod: &Pod) -> Option<(WorkloadKind, String)> {
    let owners = pod.owner_references();
    let owner = owners.iter().find(|o| o.controller == Some(true))?;
    let kind = match owner.kind.as_str() {
        "StatefulSet" => WorkloadKind::StatefulSet,
        "DaemonSet" => WorkloadKind::DaemonSet,
        "ReplicaSet" => {
            let hash = pod.labels().get(HASH_LABEL)?;
            let name = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
            return Some((WorkloadKind::Deployment, name.to_owned()));
        }
        _ => return None,
    };
    owner
        .api_version
        .starts_with("apps/")
        .then(|| (kind, owner.name.clone()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use futures::future::join_all;
    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn many_share_a_list_that_began_after_they_asked() {
        let lists = PodLists::default();
        let (made, open) = (Mutex::new(0), watch::Sender::new(false));
        let ask = |namespace: &'static str| {
            let (lists, made, mut open) = (&lists, &made, open.subscribe());
            async move {
                let list = async || {
                    *made.lock().unwrap() += 1;
                    open.wait_for(|open| *open).await.unwrap();
                    Ok(Pods::from([]))
                };
                lists.next(namespace, list).await.unwrap();
            }
        };
        let opened = async {
            tokio::task::yield_now().await;
            open.send_replace(true);
        };
        // The first list is under way when the others ask: one more is enough for all of them.
        tokio::join!(ask("a"), join_all((0..50).map(|_| ask("a"))), ask("b"), opened);
        assert_eq!(*made.lock().unwrap(), 3);
        ask("a").await;
        assert_eq!(*made.lock().unwrap(), 4, "what is over is not kept");
        assert!(lists.all().is_empty());
    }

    #[test]
    fn a_pod_counts_from_when_a_node_has_it_until_it_has_ended() {
        let pod = |node: Option<&str>, phase: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {
                    "name": "web-5c9fb7f855-x", "labels": {"pod-template-hash": "5c9fb7f855"},
                    "creationTimestamp": "2026-01-05T10:11:12Z",
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5c9fb7f855", "uid": "u", "controller": true}],
                    "annotations": {"rotation.programmatic-users.io/ci": "m", "other": "x"},
                },
                "spec": {
                    "nodeName": node,
                    "containers": [{"name": "a", "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "one", "key": "k"}}}]}],
                    "initContainers": [{"name": "b", "envFrom": [{"secretRef": {"name": "two"}}]}],
                    "ephemeralContainers": [{"name": "c", "envFrom": [{"secretRef": {"name": "three"}}]}],
                    "imagePullSecrets": [{"name": "registry"}],
                    "volumes": [
                        {"name": "v", "secret": {"secretName": "four"}},
                        {"name": "w", "projected": {"sources": [{"secret": {"name": "five"}}, {"configMap": {"name": "not"}}]}},
                    ],
                },
                "status": {"phase": phase},
            }))
            .unwrap()
        };
        let found = pod_of(&pod(Some("node"), "Running")).unwrap();
        assert_eq!(found.workload, Some((WorkloadKind::Deployment, "web".to_owned())));
        let secrets: Vec<&str> = found.secrets.iter().map(String::as_str).collect();
        assert_eq!(secrets, ["five", "four", "one", "three", "two"]);
        assert_eq!(found.marks.len(), 1);
        assert!(found.created.is_some() && found.ends.is_none());
        assert!(pod_of(&pod(Some("node"), "Pending")).is_some());
        for (node, phase) in [
            (None, "Pending"),
            (Some("node"), "Succeeded"),
            (Some("node"), "Failed"),
        ] {
            assert_eq!(pod_of(&pod(node, phase)), None, "{phase}");
        }
    }
}
