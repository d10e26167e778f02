//! Helm installs each value set that a test renders, and upgrades over it, on a real API server.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::helm::{NAMESPACE, SETS, chart, helm, render, set, template};
use crate::support::Cluster;

/// A name as long as Helm takes one.
const LONG: &str = "the-release-of-a-team-that-gives-its-things-long-name";
/// Names that YAML takes for a number.
const NUMBER: &str = "2026";

/// The kinds of the Prometheus operator, as far as the chart needs them.
const MONITORING: &str = r#"
{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: servicemonitors.monitoring.coreos.com},
  spec: {group: monitoring.coreos.com, scope: Namespaced, names: {kind: ServiceMonitor, plural: servicemonitors},
    versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}
---
{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: prometheusrules.monitoring.coreos.com},
  spec: {group: monitoring.coreos.com, scope: Namespaced, names: {kind: PrometheusRule, plural: prometheusrules},
    versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}
"#;

/// Kind, namespace and name of each object.
fn objects(rendered: &str) -> Vec<String> {
    let documents = rendered.split("\n---\n");
    let objects = documents.map(|d| serde_saphyr::from_str::<Value>(d).unwrap());
    objects
        .filter(Value::is_object)
        .map(|o| {
            format!(
                "{} {}/{}",
                o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]
            )
        })
        .collect()
}

#[test]
fn no_two_objects_share_kind_namespace_and_name() {
    let everything = set("everything");
    let named = [LONG, NUMBER].map(|release| (release, template(release, everything).unwrap()));
    for (name, rendered) in SETS
        .map(|(name, _)| (name, render(name)))
        .into_iter()
        .chain(named)
    {
        let all = objects(&rendered);
        assert!(all.len() > 8, "{name}: {all:?}");
        let mut seen = BTreeSet::new();
        let twice: Vec<_> = all.iter().filter(|object| !seen.insert(*object)).collect();
        assert!(twice.is_empty(), "{name}: {twice:?}");
    }
}

/// Installs a release, and upgrades it to what it is.
fn install(cluster: &Cluster, release: &str, namespace: &str, flags: &[&str]) -> Result<(), String> {
    let chart = chart();
    for verb in [&["install"][..], &["upgrade", "--install"]] {
        let rest = [release, &chart, "--namespace", namespace, "--create-namespace"];
        helm(Some(cluster), &[verb, &rest, flags].concat())
            .map_err(|e| format!("helm {} {release}, {flags:?}: {e}", verb.join(" ")))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_set_that_is_rendered_can_be_installed_and_upgraded() {
    let cluster = Cluster::empty("installs").await;
    // The command of the README, in a cluster where nothing is.
    install(cluster, "programmatic-users", NAMESPACE, &[]).unwrap();
    cluster
        .kubectl_with(&["apply", "-f", "-"], Some(MONITORING))
        .unwrap();
    for namespace in ["payments", "search", NUMBER] {
        cluster.kubectl(&["create", "namespace", namespace]).unwrap();
    }
    cluster
        .kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd",
            "--all",
        ])
        .unwrap();
    // Each release gets the definitions of the one before it, which stay when a release goes.
    let everything = set("everything");
    let named = [(LONG, NAMESPACE, everything), (NUMBER, NUMBER, everything)];
    let sets = SETS.map(|(name, flags)| (name, NAMESPACE, flags));
    let mut failed = Vec::new();
    for (release, namespace, flags) in sets.into_iter().chain(named) {
        let flags = [flags, &["--take-ownership"]].concat();
        failed.extend(install(cluster, release, namespace, &flags).err());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));

    // The controllers of Deployments and StatefulSets take them, too.
    let all = ["everything", LONG, NUMBER];
    for (release, namespace) in all.into_iter().zip([NAMESPACE, NAMESPACE, NUMBER]) {
        for (kind, pods) in [("deployments", 2), ("statefulsets", 1)] {
            let selector = format!("app.kubernetes.io/instance={release}");
            let pods = format!("--for=jsonpath={{.status.replicas}}={pods}");
            cluster
                .kubectl(&[
                    "-n",
                    namespace,
                    "wait",
                    &pods,
                    "--timeout=30s",
                    kind,
                    "-l",
                    &selector,
                ])
                .unwrap_or_else(|e| panic!("{kind} of {release}: {e}"));
        }
    }
    // A binding of the operator's own namespace for each of its two roles.
    let roles = cluster.kubectl(&[
        "-n",
        NAMESPACE,
        "get",
        "rolebindings",
        "programmatic-users",
        "programmatic-users-namespace",
        "-o",
        "jsonpath={.items[*].roleRef.kind}",
    ]);
    assert_eq!(roles.unwrap(), "Role ClusterRole");
}
