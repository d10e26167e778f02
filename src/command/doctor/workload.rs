//! Whether the operator runs.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::check::Check;
use crate::command::cluster::Cluster;
use crate::command::objects;
use crate::command::operator::{self, Leader};

const NAME: &str = "deployment";
/// Of the chart's Deployment.
const LABELS: &str = "app.kubernetes.io/name=programmatic-users";
/// Of its pods only: what a part of the chart is for.
const COMPONENT: &str = "app.kubernetes.io/component";

/// The operator's flags, from its Deployment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// Value of `--lease-name`.
    pub(super) lease: Option<String>,
    /// The service account of its pods.
    pub(super) account: Option<String>,
    /// Value of `--consumers`.
    pub(super) consumers: Option<String>,
}

/// One check a Deployment; and the flags of the first one, as far as they are known.
pub(super) async fn deployments(cluster: &Cluster, namespace: &str) -> (Vec<Check>, Settings) {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
    match objects::list(&api, ListParams::default().labels(LABELS)).await {
        Ok(mut found) => {
            found.retain(is_operator);
            let settings = found.first().and_then(settings).unwrap_or_default();
            (judge(namespace, &found), settings)
        }
        Err(error) => (
            vec![Check::warning(NAME, namespace, cluster.explain(&error))],
            Settings::default(),
        ),
    }
}

fn is_operator(deployment: &Deployment) -> bool {
    let pods = deployment
        .spec
        .as_ref()
        .and_then(|s| s.template.metadata.as_ref());
    let labels = pods.and_then(|m| m.labels.as_ref());
    labels
        .and_then(|l| l.get(COMPONENT))
        .is_some_and(|c| c == "controller")
}

fn settings(deployment: &Deployment) -> Option<Settings> {
    let pods = deployment.spec.as_ref()?.template.spec.as_ref()?;
    // The chart writes flag and value as one argument.
    let value = |flag: &str| {
        let mut arguments = pods.containers.iter().flat_map(|c| c.args.iter().flatten());
        arguments.find_map(|argument| argument.strip_prefix(flag).map(str::to_owned))
    };
    Some(Settings {
        lease: value("--lease-name="),
        account: pods.service_account_name.clone(),
        consumers: value("--consumers="),
    })
}

fn judge(namespace: &str, found: &[Deployment]) -> Vec<Check> {
    if found.is_empty() {
        let message = format!(
            "namespace {namespace} has no Deployment with the chart's labels: name the operator's namespace with --operator-namespace"
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
        let message = format!("{ready} of {wanted} replicas are ready");
        let look = format!("`kubectl -n {namespace} describe pods` says why");
        match ready {
            0 => Check::failed(NAME, &subject, format!("{message}: {look}")),
            ready if ready < wanted => Check::warning(NAME, &subject, format!("{message}: {look}")),
            _ => Check::ok(NAME, &subject, message),
        }
    };
    found.iter().map(judge).collect()
}

/// Whether an operator holds the Lease.
pub(super) async fn lease(cluster: &Cluster, namespace: &str, name: &str) -> Check {
    const NAME: &str = "lease";
    let subject = format!("{namespace}/{name}");
    match operator::leader(cluster, namespace, name).await {
        Ok(Leader::Leads(message)) => Check::ok(NAME, &subject, message),
        Ok(Leader::Vacant(message)) => Check::failed(
            NAME,
            &subject,
            format!("{message}: no operator leads; check its pods and their logs"),
        ),
        Ok(Leader::NoLease) => Check::failed(
            NAME,
            &subject,
            "is not there: no operator has run here; give its namespace with --operator-namespace and its Lease with --lease-name",
        ),
        Err(error) => Check::warning(NAME, &subject, cluster.explain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use kube::ResourceExt as _;
    use serde_json::Value;

    use super::{LABELS, Settings, is_operator, settings};

    /// What the chart renders for a release named `pu`, which a test of the chart keeps current.
    const CHART: &str = include_str!("../../../tests/chart/snapshots/default.yaml");

    fn deployment() -> Deployment {
        let mut objects = CHART
            .split("\n---\n")
            .filter_map(|d| serde_saphyr::from_str::<Value>(d).ok());
        let found = objects.find(|o| o["kind"] == "Deployment").unwrap();
        serde_json::from_value(found).unwrap()
    }

    #[test]
    fn the_charts_deployment_is_found_and_says_how_the_release_calls_things() {
        let mut deployment = deployment();
        for label in LABELS.split(',') {
            let (key, value) = label.split_once('=').unwrap();
            let found = deployment.labels().get(key);
            assert_eq!(found.map(String::as_str), Some(value), "{key}");
        }
        assert!(is_operator(&deployment));
        let name = Some("pu-programmatic-users".to_owned());
        let wanted = Settings {
            lease: name.clone(),
            account: name,
            consumers: Some("observe".to_owned()),
        };
        assert_eq!(settings(&deployment), Some(wanted));
        // One of another part, and one that says nothing.
        let template = &mut deployment.spec.as_mut().unwrap().template;
        template.metadata = None;
        template.spec.as_mut().unwrap().service_account_name = None;
        template.spec.as_mut().unwrap().containers.clear();
        assert!(!is_operator(&deployment));
        assert_eq!(settings(&deployment), Some(Settings::default()));
    }
}
