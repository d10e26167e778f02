//! Which workloads read which Secrets, and which objects have these Secrets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::sync::watch;

use crate::api::{ProgrammaticUser, WorkloadKind};
use crate::controller::schedule::digest::{Digest, digest};
use crate::plan::{Consumers, Level, Rollout, Workload};

/// Kinds that are watched in each scope.
const KINDS: [WorkloadKind; 3] = [
    WorkloadKind::Deployment,
    WorkloadKind::StatefulSet,
    WorkloadKind::DaemonSet,
];
/// A kind that was not listed for so long is reported as missing.
const MISSING: Duration = Duration::from_mins(1);

/// A namespace, or all.
pub(in crate::controller) type Scope = Option<String>;

/// Whether a namespace is of a scope.
pub(in crate::controller) fn covers(scope: Option<&str>, namespace: &str) -> bool {
    scope.is_none_or(|scope| scope == namespace)
}

pub(in crate::controller) type Id = (WorkloadKind, String);

/// What is known of workloads.
pub(in crate::controller) struct WorkloadIndex {
    level: Level,
    /// Watches whose first list is awaited. One that never comes keeps those of other namespaces from nothing.
    awaited: watch::Sender<BTreeSet<(Scope, WorkloadKind)>>,
    /// Since when.
    begun: OnceLock<Instant>,
    known: Mutex<IndexState>,
}

#[derive(Default)]
struct IndexState {
    /// By namespace. Workloads that read no Secret are not here.
    workloads: HashMap<String, BTreeMap<Id, Workload>>,
    /// Objects by namespace and a Secret of theirs that has another name than they.
    users_by_secret: BTreeMap<(String, String), BTreeSet<String>>,
    /// The reverse, by namespace and name of the object: a deletion need not search all.
    secrets_by_user: HashMap<Digest, BTreeSet<String>>,
}

impl WorkloadIndex {
    /// Nothing is known yet of these scopes.
    pub(in crate::controller) fn new(level: Level, scopes: &[Scope]) -> Self {
        let scopes = scopes.iter().filter(|_| level != Level::Off);
        let awaited = scopes.flat_map(|scope| KINDS.map(|kind| (scope.clone(), kind)));
        Self {
            level,
            awaited: watch::Sender::new(awaited.collect()),
            begun: OnceLock::new(),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, IndexState> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether workloads are looked for; if so, their lists are awaited from now on.
    pub(in crate::controller) fn begin(&self) -> bool {
        let wanted = self.level != Level::Off;
        if wanted {
            self.begun.get_or_init(Instant::now);
        }
        wanted
    }

    /// Notes the first list of a kind. With the last one that was awaited in the scope, the Secrets that workloads
    /// there read, by namespace.
    pub(in crate::controller) fn listed(
        &self,
        scope: &Scope,
        kind: WorkloadKind,
    ) -> Option<Vec<(String, BTreeSet<String>)>> {
        self.awaited.send_modify(|left| {
            left.remove(&(scope.clone(), kind));
        });
        if self.awaited.borrow().iter().any(|(awaited, _)| awaited == scope) {
            return None;
        }
        let known = self.known();
        let here = known
            .workloads
            .iter()
            .filter(|(namespace, _)| covers(scope.as_deref(), namespace));
        let secrets = here.map(|(namespace, all)| {
            let secrets = all.values().flat_map(|w| w.secrets.clone()).collect();
            (namespace.clone(), secrets)
        });
        Some(secrets.collect())
    }

    /// Waits until all workloads of a scope are known.
    pub(in crate::controller) async fn filled(&self, scope: Option<&str>) {
        let known = |left: &BTreeSet<(Scope, WorkloadKind)>| !left.iter().any(|(s, _)| s.as_deref() == scope);
        // It fails only when the sender is gone, and that is here.
        let _ = self.awaited.subscribe().wait_for(known).await;
    }

    /// Whether all workloads of a namespace are known.
    fn is_filled(&self, namespace: &str) -> bool {
        let is_here = |(scope, _): &(Scope, WorkloadKind)| covers(scope.as_deref(), namespace);
        !self.awaited.borrow().iter().any(is_here)
    }

    /// Workloads that read a Secret of this object; from now on it hears of their changes.
    pub(in crate::controller) fn of(&self, user: &ProgrammaticUser) -> Consumers {
        let level = self.level;
        if level == Level::Off {
            return Consumers::default();
        }
        let (namespace, name) = (user.namespace().unwrap_or_default(), user.name_any());
        let filled = self.is_filled(&namespace);
        let late = self.begun.get().is_some_and(|begun| begun.elapsed() >= MISSING);
        let secrets = secrets_of(user);
        let mut known = self.known();
        for secret in secrets.iter().filter(|secret| **secret != name) {
            let key = (namespace.clone(), secret.clone());
            let id = digest(&(&*namespace, &*name));
            known.users_by_secret.entry(key).or_default().insert(name.clone());
            known
                .secrets_by_user
                .entry(id)
                .or_default()
                .insert(secret.clone());
        }
        let here = known.workloads.get(&namespace);
        let all = here.into_iter().flat_map(|all| all.values());
        let workloads = filled.then(|| {
            all.filter(|w| !w.secrets.is_disjoint(&secrets))
                .cloned()
                .collect()
        });
        Consumers {
            level,
            workloads,
            missing: late && !filled,
        }
    }

    /// Forgets an object that is gone.
    pub(in crate::controller) fn remove(&self, namespace: &str, name: &str) {
        let mut known = self.known();
        let secrets = known.secrets_by_user.remove(&digest(&(namespace, name)));
        for secret in secrets.into_iter().flatten() {
            let key = (namespace.to_owned(), secret);
            if let Some(users) = known.users_by_secret.get_mut(&key) {
                users.remove(name);
                if users.is_empty() {
                    known.users_by_secret.remove(&key);
                }
            }
        }
    }

    /// Puts a workload in the place of what was known of it, or takes it away. Secrets whose users have to hear of it.
    pub(in crate::controller) fn put(
        &self,
        namespace: &str,
        id: &Id,
        new: Option<Workload>,
    ) -> BTreeSet<String> {
        let mut known = self.known();
        let new = new.filter(|w| !w.secrets.is_empty());
        let secrets = |w: &Workload| w.secrets.clone();
        let mut affected: BTreeSet<String> = new.iter().flat_map(secrets).collect();
        let old = match new {
            Some(mut new) => {
                let here = known.workloads.entry(namespace.to_owned()).or_default();
                new.moved = here.get(id).and_then(|old| last_progress(old, &new));
                let old = here.insert(id.clone(), new.clone());
                if old.as_ref().is_some_and(|old| is_unchanged(old, &new)) {
                    return BTreeSet::new();
                }
                old
            }
            None => known
                .workloads
                .get_mut(namespace)
                .and_then(|here| here.remove(id)),
        };
        affected.extend(old.iter().flat_map(secrets));
        affected
    }

    /// Workloads of one kind that are known.
    pub(in crate::controller) fn ids(&self, kind: WorkloadKind, scope: Option<&str>) -> Vec<(String, Id)> {
        let known = self.known();
        let here = known
            .workloads
            .iter()
            .filter(|(namespace, _)| covers(scope, namespace));
        let all = here.flat_map(|(namespace, all)| all.keys().map(move |id| (namespace.clone(), id.clone())));
        all.filter(|(_, id)| id.0 == kind).collect()
    }

    /// Names of the objects whose Secret this is, or may be.
    pub(in crate::controller) fn users(&self, namespace: &str, secret: &str) -> BTreeSet<String> {
        let key = (namespace.to_owned(), secret.to_owned());
        let mut users = self
            .known()
            .users_by_secret
            .get(&key)
            .cloned()
            .unwrap_or_default();
        // Unless it says otherwise, an object has a Secret of its own name.
        users.insert(secret.to_owned());
        users
    }
}

/// Whether two states of a workload lead to the same decisions. Where pods are replaced by hand, any change may
/// be the last of them.
fn is_unchanged(old: &Workload, new: &Workload) -> bool {
    let by_hand = matches!(new.rollout, Rollout::Held(_)) && old.version != new.version;
    !by_hand && (&old.secrets, &old.marks, old.rollout) == (&new.secrets, &new.marks, new.rollout)
}

/// When the pods of its template last became more.
fn last_progress(old: &Workload, new: &Workload) -> Option<Timestamp> {
    if new.updated > old.updated {
        Some(Timestamp::now())
    } else {
        old.moved
    }
}

/// Secrets that the tokens of this object are or were in, or will be.
fn secrets_of(user: &ProgrammaticUser) -> BTreeSet<String> {
    let asked = user.spec.secret.name.clone().unwrap_or_else(|| user.name_any());
    let status = user.status.iter();
    let named = status.flat_map(|s| {
        let retiring = s.journal.retiring.iter().filter_map(|r| r.secret_name.clone());
        retiring.chain(s.secret_name.clone())
    });
    named.chain([asked]).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt as _;
    use k8s_openapi::api::apps::v1::StatefulSet;
    use serde_json::json;

    use super::*;
    use crate::controller::consumers::summarize::ReadsSecrets as _;

    #[test]
    fn users_are_enqueued_for_changes_that_change_a_decision() {
        let index = WorkloadIndex::new(Level::Observe, &[None]);
        let set = |version: &str, strategy: &str, updated: i32| -> Workload {
            let set: StatefulSet = serde_json::from_value(json!({
                "metadata": {"name": "db", "resourceVersion": version, "generation": 2},
                "spec": {
                    "selector": {}, "serviceName": "db", "replicas": 3, "updateStrategy": {"type": strategy},
                    "template": {"spec": {"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "ci"}}]}]}},
                },
                "status": {
                    "observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "updatedReplicas": updated,
                    "currentRevision": "a", "updateRevision": "b",
                },
            }))
            .unwrap();
            set.summarize()
        };
        let id = set("1", "RollingUpdate", 0).id();
        let put = |workload: Workload| !index.put("payments", &id, Some(workload)).is_empty();
        let moved = || index.known().workloads["payments"][&id].moved;
        assert!(put(set("1", "RollingUpdate", 0)));
        assert_eq!(moved(), None);
        // One pod more changes nothing but for how long the rest is waited for.
        assert!(!put(set("2", "RollingUpdate", 1)));
        let first = moved().unwrap();
        assert!(!put(set("3", "RollingUpdate", 1)));
        assert_eq!(moved(), Some(first));
        assert!(put(set("4", "RollingUpdate", 3)), "complete");
        // Pods that are replaced by hand.
        assert!(put(set("5", "OnDelete", 0)));
        assert!(!put(set("5", "OnDelete", 0)));
        assert!(put(set("6", "OnDelete", 1)));
    }

    #[test]
    fn nothing_is_kept_of_objects_that_come_and_go() {
        let index = WorkloadIndex::new(Level::Observe, &[None]);
        let user = |n: usize| -> ProgrammaticUser {
            serde_json::from_value(json!({
                "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
                "metadata": {"name": format!("ci-{n}"), "namespace": "payments"},
                "spec": {"className": "c", "scope": "Account", "secret": {"name": format!("token-{}", n / 2)}},
            }))
            .unwrap()
        };
        for n in 0..1000 {
            index.of(&user(n));
        }
        assert_eq!(index.known().users_by_secret.len(), 500);
        index.remove("payments", "ci-0");
        assert!(index.users("payments", "token-0").contains("ci-1"));
        (0..1000).for_each(|n| index.remove("payments", &format!("ci-{n}")));
        let known = index.known();
        assert!(known.users_by_secret.is_empty() && known.secrets_by_user.is_empty());
    }

    #[test]
    fn a_list_that_never_comes_is_missing_in_its_namespace_and_in_no_other() {
        let index = WorkloadIndex::new(Level::Restart, &[Some("a".to_owned()), Some("b".to_owned())]);
        let of = |namespace: &str| {
            let mut user = ProgrammaticUser::new(
                "ci",
                serde_json::from_value(json!({"className": "c", "scope": "Account"})).unwrap(),
            );
            user.metadata.namespace = Some(namespace.to_owned());
            let consumers = index.of(&user);
            (consumers.workloads.is_some(), consumers.missing)
        };
        let came = |scope: &str, kind| {
            let id = (Some(scope.to_owned()), kind);
            index.awaited.send_modify(|left| assert!(left.remove(&id)));
        };
        assert_eq!((of("a"), of("b")), ((false, false), (false, false)));
        for kind in KINDS {
            came("a", kind);
        }
        came("b", WorkloadKind::Deployment);
        assert_eq!((of("a"), of("b")), ((true, false), (false, false)));
        index
            .begun
            .set(Instant::now().checked_sub(MISSING).unwrap())
            .unwrap();
        assert_eq!((of("a"), of("b")), ((true, false), (false, true)));
        let waits = |scope| index.filled(scope).now_or_never().is_none();
        assert!(!waits(Some("a")) && waits(Some("b")));
    }
}
