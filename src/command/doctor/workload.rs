//! Whether the operator runs.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::Check;
use crate::command::cluster::Cluster;
use crate::command::objects;
use crate::command::operator::{self, Leader};

const NAME: &str = "deployment";
/// Of the chart's Deployment.
const LABELS: &str = "app.kubernetes.io/name=programmatic-users,app.kubernetes.io/component=controller";

/// One check a Deployment; and the value of `--consumers`, if it is known.
pub(super) async fn deployments(cluster: &Cluster, namespace: &str) -> (Vec<Check>, Option<String>) {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
    match objects::list(&api, ListParams::default().labels(LABELS)).await {
        Ok(found) => (judge(namespace, &found), found.iter().find_map(consumers)),
        Err(error) => (
            vec![Check::warning(NAME, namespace, cluster.explain(&error))],
            None,
        ),
    }
}

/// The chart writes flag and value as one argument.
fn consumers(deployment: &Deployment) -> Option<String> {
    let pods = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let mut arguments = pods.containers.iter().flat_map(|c| c.args.iter().flatten());
    arguments.find_map(|argument| argument.strip_prefix("--consumers=").map(str::to_owned))
}

fn judge(namespace: &str, found: &[Deployment]) -> Vec<Check> {
    if found.is_empty() {
        let message = format!(
            "namespace {namespace} has no Deployment with the chart's labels: say with --operator-namespace where the operator is"
        );
        return vec![Check::warning(NAME, namespace, message)];
    }
    let judge = |d: &Deployment| {
        let wanted = d.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
        let ready = d
            .status
            .as_ref()
            .and_then(|s| s.ready_replicas)
            .unwrap_or_default();
        let subject = format!("{namespace}/{}", d.name_any());
        let told = format!("{ready} of {wanted} replicas are ready");
        let look = format!("`kubectl -n {namespace} describe pods` says why");
        match ready {
            0 => Check::failed(NAME, &subject, format!("{told}: {look}")),
            ready if ready < wanted => Check::warning(NAME, &subject, format!("{told}: {look}")),
            _ => Check::ok(NAME, &subject, told),
        }
    };
    found.iter().map(judge).collect()
}

/// Whether somebody leads.
pub(super) async fn lease(cluster: &Cluster, namespace: &str, name: &str) -> Check {
    const NAME: &str = "lease";
    let subject = format!("{namespace}/{name}");
    match operator::leader(cluster, namespace, name).await {
        Ok(Leader::Leads(told)) => Check::ok(NAME, &subject, told),
        Ok(Leader::Nobody(told)) => Check::failed(
            NAME,
            &subject,
            format!("{told}: no operator is at work; look at its pods and their logs"),
        ),
        Ok(Leader::NoLease) => Check::failed(
            NAME,
            &subject,
            "is not there: no operator has run here; --operator-namespace and --lease-name say where it is",
        ),
        Err(error) => Check::warning(NAME, &subject, cluster.explain(&error)),
    }
}
