//! Of a workload, what decisions need: the Secrets that it reads, and how far its rollout is.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, PodSpec, PodTemplateSpec};
use kube::ResourceExt;

use crate::api::{RESTART_PREFIX, WorkloadKind};
use crate::controller::reconcile::secret::written;
use crate::plan::{Rollout, Workload};

const ON_DELETE: &str = "has updateStrategy OnDelete";

/// A kind of workload.
pub(in crate::controller) trait ReadsSecrets: ResourceExt {
    /// Which one.
    const KIND: WorkloadKind;

    fn template(&self) -> Option<&PodTemplateSpec>;

    fn rollout(&self) -> Rollout;

    /// Pods that are of the template.
    fn updated(&self) -> Option<i32>;

    /// Whether there is a deadline for the next pod that is.
    fn timed(&self) -> bool {
        false
    }

    fn namespace_of(&self) -> String {
        self.namespace().unwrap_or_default()
    }

    fn summarize(&self) -> Workload {
        let template = self.template();
        let annotations = template.and_then(|t| t.metadata.as_ref()?.annotations.as_ref());
        Workload {
            kind: Self::KIND,
            name: self.name_any(),
            version: self.resource_version().unwrap_or_default(),
            secrets: template
                .and_then(|t| t.spec.as_ref())
                .map(secrets)
                .unwrap_or_default(),
            marks: marks(annotations),
            written: written(self.meta()),
            updated: self.updated().unwrap_or_default(),
            moved: None,
            timed: self.timed(),
            rollout: self.rollout(),
        }
    }
}

impl ReadsSecrets for Deployment {
    const KIND: WorkloadKind = WorkloadKind::Deployment;

    fn template(&self) -> Option<&PodTemplateSpec> {
        Some(&self.spec.as_ref()?.template)
    }

    fn updated(&self) -> Option<i32> {
        self.status.as_ref()?.updated_replicas
    }

    fn timed(&self) -> bool {
        // The API server puts ten minutes where nothing is said; the longest span stands for none.
        let deadline = self.spec.as_ref().and_then(|s| s.progress_deadline_seconds);
        deadline.is_some_and(|seconds| seconds < i32::MAX)
    }

    fn rollout(&self) -> Rollout {
        let (Some(spec), Some(status)) = (&self.spec, &self.status) else {
            return Rollout::Going;
        };
        if spec.paused == Some(true) {
            return Rollout::Held("is paused");
        }
        let wanted = spec.replicas.unwrap_or(1);
        let [updated, all, available] = [
            status.updated_replicas,
            status.replicas,
            status.available_replicas,
        ]
        .map(Option::unwrap_or_default);
        let seen = status.observed_generation >= self.metadata.generation;
        let done = seen && updated >= wanted && all <= updated;
        if done && available >= updated {
            return Rollout::Complete;
        }
        // While new pods start, they are not available either; a `Deployment` without a deadline does not tell the two apart.
        let progress = status
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == "Progressing");
        match progress.map(|c| c.reason.as_deref().unwrap_or_default()) {
            None | Some("NewReplicaSetAvailable" | "ProgressDeadlineExceeded") if done => {
                Rollout::Unavailable
            }
            Some("ProgressDeadlineExceeded") if seen => Rollout::Stuck,
            _ => Rollout::Going,
        }
    }
}

impl ReadsSecrets for StatefulSet {
    const KIND: WorkloadKind = WorkloadKind::StatefulSet;

    fn template(&self) -> Option<&PodTemplateSpec> {
        Some(&self.spec.as_ref()?.template)
    }

    fn updated(&self) -> Option<i32> {
        self.status.as_ref()?.updated_replicas
    }

    fn rollout(&self) -> Rollout {
        let (Some(spec), Some(status)) = (&self.spec, &self.status) else {
            return Rollout::Going;
        };
        let strategy = spec.update_strategy.as_ref();
        if strategy.is_some_and(|s| s.type_.as_deref() == Some("OnDelete")) {
            return Rollout::Held(ON_DELETE);
        }
        let partition = strategy.and_then(|s| s.rolling_update.as_ref()?.partition);
        if partition.is_some_and(|p| p > 0) {
            return Rollout::Held("has an update partition");
        }
        let wanted = spec.replicas.unwrap_or(1);
        let seen = status.observed_generation >= self.metadata.generation;
        let [updated, ready] =
            [status.updated_replicas, status.ready_replicas].map(Option::unwrap_or_default);
        let same = status.update_revision == status.current_revision;
        match (seen, same, ready >= wanted) {
            (true, true, false) => Rollout::Unavailable,
            (true, _, true) if same || updated >= wanted => Rollout::Complete,
            _ => Rollout::Going,
        }
    }
}

impl ReadsSecrets for DaemonSet {
    const KIND: WorkloadKind = WorkloadKind::DaemonSet;

    fn template(&self) -> Option<&PodTemplateSpec> {
        Some(&self.spec.as_ref()?.template)
    }

    fn updated(&self) -> Option<i32> {
        self.status.as_ref()?.updated_number_scheduled
    }

    fn rollout(&self) -> Rollout {
        let (Some(spec), Some(status)) = (&self.spec, &self.status) else {
            return Rollout::Going;
        };
        let strategy = spec.update_strategy.as_ref();
        if strategy.is_some_and(|s| s.type_.as_deref() == Some("OnDelete")) {
            return Rollout::Held(ON_DELETE);
        }
        let wanted = status.desired_number_scheduled;
        let [updated, available] =
            [status.updated_number_scheduled, status.number_available].map(Option::unwrap_or_default);
        let seen = status.observed_generation >= self.metadata.generation;
        match (seen && updated >= wanted, available >= wanted) {
            (true, true) => Rollout::Complete,
            (true, false) => Rollout::Unavailable,
            (false, _) => Rollout::Going,
        }
    }
}

pub(super) fn marks(annotations: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let ours = annotations
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(RESTART_PREFIX));
    ours.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Secrets that the containers of a pod can read: from their environment, and from volumes.
pub(super) fn secrets(spec: &PodSpec) -> BTreeSet<String> {
    let usual = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let usual = usual.map(|c| (c.env.as_deref(), c.env_from.as_deref()));
    let added = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(|c| (c.env.as_deref(), c.env_from.as_deref()));
    let mut names: BTreeSet<String> = usual
        .chain(added)
        .flat_map(|(env, from)| environment(env, from))
        .collect();
    for volume in spec.volumes.iter().flatten() {
        names.extend(volume.secret.as_ref().and_then(|s| s.secret_name.clone()));
        let sources = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
        names.extend(sources.filter_map(|source| Some(source.secret.as_ref()?.name.clone())));
    }
    names
}

fn environment(env: Option<&[EnvVar]>, from: Option<&[EnvFromSource]>) -> impl Iterator<Item = String> {
    let single = env.into_iter().flatten();
    let single = single.filter_map(|e| Some(e.value_from.as_ref()?.secret_key_ref.as_ref()?.name.clone()));
    let whole = from
        .into_iter()
        .flatten()
        .filter_map(|f| Some(f.secret_ref.as_ref()?.name.clone()));
    single.chain(whole).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rollout<K: ReadsSecrets + serde::de::DeserializeOwned>(spec: &Value, status: &Value) -> Rollout {
        let mut whole = json!({"selector": {}, "template": {}, "serviceName": "none"});
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let object = json!({"metadata": {"name": "w", "generation": 2}, "spec": whole, "status": status});
        serde_json::from_value::<K>(object).unwrap().rollout()
    }

    #[test]
    fn a_deployment_is_complete_when_all_pods_are_of_its_template_and_available() {
        let two = json!({"replicas": 2});
        let status = |seen: i64, updated: i32, all: i32, available: i32| json!({"observedGeneration": seen, "updatedReplicas": updated, "replicas": all, "availableReplicas": available});
        for (status, expected) in [
            (status(2, 2, 2, 2), Rollout::Complete),
            (status(1, 2, 2, 2), Rollout::Going),
            (status(2, 1, 2, 2), Rollout::Going),
            (status(2, 2, 3, 3), Rollout::Going),
            (status(2, 2, 2, 1), Rollout::Unavailable),
        ] {
            assert_eq!(rollout::<Deployment>(&two, &status), expected, "{status}");
        }
        let decided = |mut status: Value, reason: &str| {
            status["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": reason}]);
            status
        };
        let late = decided(status(2, 1, 2, 1), "ProgressDeadlineExceeded");
        for (status, expected) in [
            (late.clone(), Rollout::Stuck),
            // All pods are of the template: they start, or ail since, or never became ready.
            (decided(status(2, 2, 2, 1), "ReplicaSetUpdated"), Rollout::Going),
            (
                decided(status(2, 2, 2, 1), "NewReplicaSetAvailable"),
                Rollout::Unavailable,
            ),
            (
                decided(status(2, 2, 2, 1), "ProgressDeadlineExceeded"),
                Rollout::Unavailable,
            ),
        ] {
            assert_eq!(rollout::<Deployment>(&two, &status), expected, "{status}");
        }
        let paused = json!({"replicas": 2, "paused": true});
        assert_eq!(rollout::<Deployment>(&paused, &late), Rollout::Held("is paused"));
        let none = json!({"replicas": 0});
        let empty = json!({"observedGeneration": 2});
        assert_eq!(rollout::<Deployment>(&none, &empty), Rollout::Complete);
    }

    #[test]
    fn sets_are_complete_when_all_pods_are_updated_and_ready() {
        let one = json!({"replicas": 1});
        let status = |updated: i32, ready: i32, revision: &str| {
            json!({
                "observedGeneration": 2, "replicas": 1, "updatedReplicas": updated, "readyReplicas": ready,
                "currentRevision": "a", "updateRevision": revision,
            })
        };
        for (status, expected) in [
            (status(0, 1, "a"), Rollout::Complete),
            (status(0, 1, "b"), Rollout::Going),
            (status(1, 0, "b"), Rollout::Going),
            (status(0, 0, "a"), Rollout::Unavailable),
            (status(1, 1, "b"), Rollout::Complete),
        ] {
            assert_eq!(rollout::<StatefulSet>(&one, &status), expected, "{status}");
        }
        let by_hand = json!({"updateStrategy": {"type": "OnDelete"}});
        let half = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}});
        let good = status(1, 1, "a");
        assert_eq!(rollout::<StatefulSet>(&by_hand, &good), Rollout::Held(ON_DELETE));
        assert!(matches!(rollout::<StatefulSet>(&half, &good), Rollout::Held(_)));
        let on_nodes = |updated: i32, available: i32| {
            json!({
                "observedGeneration": 2, "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberMisscheduled": 0,
                "numberReady": 3, "updatedNumberScheduled": updated, "numberAvailable": available,
            })
        };
        assert_eq!(
            rollout::<DaemonSet>(&json!({}), &on_nodes(3, 3)),
            Rollout::Complete
        );
        assert_eq!(rollout::<DaemonSet>(&json!({}), &on_nodes(2, 3)), Rollout::Going);
        assert_eq!(
            rollout::<DaemonSet>(&json!({}), &on_nodes(3, 2)),
            Rollout::Unavailable
        );
        assert_eq!(
            rollout::<DaemonSet>(&by_hand, &on_nodes(3, 3)),
            Rollout::Held(ON_DELETE)
        );
    }
}
