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

/// What the chart renders with these flags.
pub fn template(release: &str, flags: &[&str]) -> Result<String, String> {
    let chart = chart();
    let args = ["template", release, &chart, "--namespace", "pu-system"];
    helm(None, &[&args[..], flags].concat())
}
