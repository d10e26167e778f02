//! Steps about pods and the workloads that make them.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Hand;
use crate::api::WorkloadKind;
use crate::controller::error::describe;
use crate::plan::{self, Answer, Problem, Restart, Retry};

impl Hand<'_> {
    /// Those that read one of these Secrets, read from the API server and not from a cache: a token dies because there is none.
    pub(super) async fn read_pods(&self, secrets: &[String]) -> Answer<Vec<plan::Pod>> {
        let pods = self
            .context
            .pods
            .read(&self.context.client, &self.namespace)
            .await?;
        let reads = |pod: &&plan::Pod| secrets.iter().any(|name| pod.secrets.contains(name));
        Ok(pods.iter().filter(reads).cloned().collect())
    }

    /// `false`: somebody has changed it since it was seen.
    pub(super) async fn restart(&mut self, restart: &Restart) -> Answer<bool> {
        let (kind, name) = &restart.workload;
        let (key, value) = &restart.mark;
        let template = json!({"metadata": {"annotations": {key.as_str(): value}}});
        let patch = json!({
            "metadata": {"resourceVersion": restart.version}, "spec": {"template": template},
        });
        self.wrote = true;
        let written = match kind {
            WorkloadKind::DaemonSet => self.mark::<DaemonSet>(name, patch).await,
            WorkloadKind::Deployment => self.mark::<Deployment>(name, patch).await,
            WorkloadKind::StatefulSet => self.mark::<StatefulSet>(name, patch).await,
        };
        match written {
            Ok(()) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(false),
            Err(error) => Err(Problem {
                reason: "RestartRefused",
                message: format!("{} {name} cannot be changed: {}", kind.name(), describe(&error)),
                retry: Retry::Backoff,
            }),
        }
    }

    async fn mark<K>(&self, name: &str, patch: Value) -> kube::Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.context.client.clone(), &self.namespace);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(drop)
    }
}
