//! Steps about pods and the workloads that make them.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::api::{Reason, WorkloadKind};
use crate::controller::consumers::ReadsSecrets;
use crate::controller::error::describe;
use crate::controller::reconcile::execute::executor::Executor;
use crate::plan;
use crate::plan::{Answer, Observed, Problem, Restart, Retry};

impl Executor<'_> {
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

    /// `false`: it has changed since it was read, and it does not have the mark.
    pub(super) async fn restart(&mut self, o: &mut Observed, restart: Restart) {
        let (kind, name) = &restart.workload;
        self.wrote = true;
        let marked = match kind {
            WorkloadKind::DaemonSet => self.mark::<DaemonSet>(&restart).await,
            WorkloadKind::Deployment => self.mark::<Deployment>(&restart).await,
            WorkloadKind::StatefulSet => self.mark::<StatefulSet>(&restart).await,
        };
        let answer = marked.map_err(|error| Problem {
            reason: Reason::RestartRefused,
            message: format!("{} {name} cannot be changed: {}", kind.name(), describe(&error)),
            retry: Retry::Backoff,
        });
        o.answers.restarted.insert(restart.workload, answer);
    }

    async fn mark<K>(&self, restart: &Restart) -> kube::Result<bool>
    where
        K: ReadsSecrets + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let (_, name) = &restart.workload;
        let (key, value) = &restart.mark;
        let template = json!({"metadata": {"annotations": {key.as_str(): value}}});
        let patch = json!({
            "metadata": {"resourceVersion": restart.version}, "spec": {"template": template},
        });
        let api: Api<K> = Api::namespaced(self.context.client.clone(), &self.namespace);
        match api
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
            // It may be our own change that the watch has not shown yet: the others wait for that, too.
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                let this = ListParams::default().fields(&format!("metadata.name={name}"));
                let found = api.list(&this).await?.items.into_iter().next();
                Ok(found.is_some_and(|workload| workload.summarize().marks.get(key) == Some(value)))
            }
            Err(error) => Err(error),
        }
    }
}
