//! Helm itself, built from its Go module by `make controlplane`.

use std::path::PathBuf;
use std::process::Command;

use crate::support::Cluster;
use crate::support::cluster::root;

/// The chart's folder.
pub fn chart() -> PathBuf {
    root().join("charts/programmatic-users")
}

fn program() -> PathBuf {
    let program = root().join("target/controlplane/helm");
    assert!(
        program.exists(),
        "{} is missing: run `make controlplane`",
        program.display()
    );
    program
}

/// What `helm` prints, or what it says on standard error.
pub fn helm(cluster: Option<&Cluster>, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program());
    command.args(args);
    if let Some(cluster) = cluster {
        command.env("KUBECONFIG", &cluster.info().kubeconfig);
    }
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// What the chart renders with these flags.
pub fn template(flags: &[&str]) -> Result<String, String> {
    let chart = chart();
    let chart = chart.to_str().unwrap();
    let mut args = vec!["template", "pu", chart, "--namespace", "pu-system"];
    args.extend(flags);
    helm(None, &args)
}
