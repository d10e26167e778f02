//! Helm itself, and the chart.

use std::process::Command;

use crate::support::Cluster;
use crate::support::cluster::{helm_program, root, run};

/// Name of every release.
pub const RELEASE: &str = "programmatic-users";

/// The chart's folder.
pub fn chart() -> String {
    let chart = root().join("charts/programmatic-users");
    chart.to_str().unwrap().to_owned()
}

/// What `helm` prints, or what it says on standard error.
pub fn helm(cluster: Option<&Cluster>, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(helm_program()?);
    if let Some(cluster) = cluster {
        command.env("KUBECONFIG", &cluster.info().kubeconfig);
    }
    run(command.args(args), None)
}

/// Installs or upgrades the release.
pub fn release(cluster: &Cluster, verb: &str, namespace: &str, flags: &[&str]) -> String {
    let chart = chart();
    let args = [verb, RELEASE, &chart, "--namespace", namespace];
    helm(Some(cluster), &[&args[..], flags].concat()).unwrap()
}

/// Value sets that tests render, each of which `installs.rs` also installs. The first five are kept in `snapshots/`.
pub const SETS: [(&str, &[&str]); 12] = [
    ("default", &[]),
    ("strict", &["--set", "rbac.namespaces={payments,search}"]),
    (
        "cluster",
        &[
            "--set",
            "rbac.mode=cluster,crds.install=false,admission.enabled=false,rbac.roles=false,consumers=off",
        ],
    ),
    ("restart", &["--set", "consumers=restart"]),
    (
        "everything",
        &[
            "--set",
            "rbac.mode=cluster,platform.enabled=true,platform.storage=1Gi,platform.adminSecret=mine,serviceMonitor.enabled=true",
            "--set",
            "prometheusRule.enabled=true,dashboards.enabled=true,image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "--set",
            "controller.organizations={acme},controller.instanceId=abcdef,networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.team=ops",
        ],
    ),
    // The release's own namespace, and one whose name YAML takes for a number.
    (
        "own",
        &["--set-json", r#"rbac.namespaces=["pu-system","payments","2026"]"#],
    ),
    (
        "monitoring",
        &["--set", "prometheusRule.enabled=true,dashboards.enabled=true"],
    ),
    ("alone", &["--set", "rbac.mode=cluster,replicas=1"]),
    ("off", &["--set", "consumers=off"]),
    // As YAML reads an unquoted `off`.
    ("unquoted", &["--set", "consumers=false,rbac.mode=cluster"]),
    ("observe", &["--set", "consumers=observe"]),
    ("restart-all", &["--set", "consumers=restart,rbac.mode=cluster"]),
];

/// The release that values are rendered for, and its namespace.
pub const RENDERED: &str = "pu";
pub const NAMESPACE: &str = "pu-system";

/// The flags of a value set.
pub fn set(name: &str) -> &'static [&'static str] {
    let found = SETS.into_iter().find(|(set, _)| *set == name);
    found.unwrap_or_else(|| panic!("there is no value set {name}")).1
}

/// What the chart renders with a value set.
pub fn render(name: &str) -> String {
    template(RENDERED, set(name)).unwrap()
}

/// What the chart renders with flags that Helm refuses, or that the calling test installs itself.
pub fn template(release: &str, flags: &[&str]) -> Result<String, String> {
    let chart = chart();
    let args = ["template", release, &chart, "--namespace", NAMESPACE];
    helm(None, &[&args[..], flags].concat())
}
