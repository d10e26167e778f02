//! Workloads that read Secrets: watched, and of each only kept what decisions need.
//!
//! Pods are not watched: there are many, they change all the time, and only a rotation needs them. They are read then, from
//! the API server.

mod index;
mod pods;
mod summarize;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::{BoxFuture, join_all};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::api::WorkloadKind;
use crate::controller::schedule::triggers::Triggers;
use crate::controller::watch::streams::{events, scoped};
use crate::metrics::Metrics;

use index::{Scope, covers};

pub(super) use index::WorkloadIndex;
pub(super) use pods::PodLists;
pub(super) use summarize::ReadsSecrets;

/// Watches workloads for as long as it is polled.
pub(super) async fn watch_workloads(
    metrics: Arc<Metrics>,
    client: Client,
    scopes: Vec<Scope>,
    index: Arc<WorkloadIndex>,
    triggers: Arc<Triggers>,
) {
    if !index.begin() {
        return;
    }
    let mut all: Vec<BoxFuture<'static, ()>> = Vec::new();
    for scope in scopes {
        let follower = WorkloadWatcher {
            scope,
            index: index.clone(),
            triggers: triggers.clone(),
            metrics: metrics.clone(),
        };
        let follower = Arc::new(follower);
        all.push(Box::pin(follower.clone().kind::<Deployment>(client.clone())));
        all.push(Box::pin(follower.clone().kind::<StatefulSet>(client.clone())));
        all.push(Box::pin(follower.kind::<DaemonSet>(client.clone())));
    }
    join_all(all).await;
}

struct WorkloadWatcher {
    scope: Scope,
    index: Arc<WorkloadIndex>,
    triggers: Arc<Triggers>,
    metrics: Arc<Metrics>,
}

impl WorkloadWatcher {
    async fn kind<K>(self: Arc<Self>, client: Client)
    where
        K: ReadsSecrets + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let api: Api<K> = scoped(&client, self.scope.as_deref());
        let mut events = std::pin::pin!(events(K::KIND.name(), &self.metrics, api));
        let (mut listed, mut first) = (BTreeSet::new(), true);
        while let Some(event) = events.next().await {
            match event {
                Event::Init => listed.clear(),
                Event::InitApply(object) => {
                    listed.insert(place(&object));
                    self.put(&object);
                }
                Event::InitDone => {
                    // Deleted between two watches.
                    for (namespace, id) in self.index.ids(K::KIND, self.scope.as_deref()) {
                        if !listed.contains(&(namespace.clone(), id.1.clone())) {
                            self.enqueue(&namespace, &self.index.put(&namespace, &id, None));
                        }
                    }
                    listed.clear();
                    if std::mem::take(&mut first) {
                        self.filled(K::KIND);
                    }
                }
                Event::Apply(object) => self.put(&object),
                Event::Delete(object) => {
                    let (namespace, name) = place(&object);
                    self.enqueue(&namespace, &self.index.put(&namespace, &(K::KIND, name), None));
                }
            }
        }
    }

    fn put<K: ReadsSecrets>(&self, object: &K) {
        let workload = object.summarize();
        let id = workload.id();
        let namespace = object.namespace_of();
        self.enqueue(&namespace, &self.index.put(&namespace, &id, Some(workload)));
    }

    /// Enqueues the users of these Secrets.
    fn enqueue(&self, namespace: &str, secrets: &BTreeSet<String>) {
        for name in secrets
            .iter()
            .flat_map(|secret| self.index.users(namespace, secret))
        {
            self.triggers.user(&ObjectRef::new(&name).within(namespace));
        }
    }

    /// With the last list that was awaited, enqueues the users whose statuses name workloads, or that wait for them.
    fn filled(&self, kind: WorkloadKind) {
        let Some(all) = self.index.listed(&self.scope, kind) else {
            return;
        };
        let here = |namespace: &str| covers(self.scope.as_deref(), namespace);
        self.triggers
            .users_looked_at(|user| user.watches_workloads() && user.namespace().is_some_and(|n| here(&n)));
        for (namespace, secrets) in all {
            self.enqueue(&namespace, &secrets);
        }
    }
}

fn place<K: Resource>(object: &K) -> (String, String) {
    (
        object.meta().namespace.clone().unwrap_or_default(),
        object.meta().name.clone().unwrap_or_default(),
    )
}
