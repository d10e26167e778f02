//! The demo on a cluster that is there: `make demo CLUSTER=current`.

use std::path::PathBuf;

use crate::support::cluster::{Cluster, Options, node_wanted};

use super::{NAMESPACE, OPERATOR_NAMESPACE};

/// What the demo creates for the whole cluster, by kubectl's words.
const CLUSTER_WIDE: [(&str, &str); 5] = [
    ("crd", "organizations.programmatic-users.io"),
    ("crd", "programmaticuserclasses.programmatic-users.io"),
    ("crd", "programmaticusers.programmatic-users.io"),
    ("namespace", NAMESPACE),
    ("namespace", OPERATOR_NAMESPACE),
];

/// The kubeconfig of the current cluster, if the demo is to run there.
pub fn kubeconfig() -> Result<Option<String>, String> {
    match std::env::var("CLUSTER").unwrap_or_default().as_str() {
        "" => Ok(None),
        "current" => {
            let path = std::env::var("KUBECONFIG").ok().filter(|path| !path.is_empty());
            let home = || Some(format!("{}/.kube/config", std::env::var("HOME").ok()?));
            let path = path.or_else(home).unwrap_or_default();
            if !PathBuf::from(&path).is_file() {
                return Err(format!(
                    "CLUSTER=current: there is no kubeconfig {path:?}: set KUBECONFIG to one file"
                ));
            }
            Ok(Some(path))
        }
        other => Err(format!(
            "CLUSTER={other}: write CLUSTER=current, or leave it out for a control plane of the demo's own"
        )),
    }
}

/// Says what the demo will create in the cluster, and refuses where something of that name is there already.
pub fn connect(kubeconfig: &str) -> Result<Cluster, String> {
    let cluster = Cluster::external(kubeconfig.to_owned());
    cluster
        .kubectl(&["get", "--raw", "/readyz", "--request-timeout=10s"])
        .map_err(|e| format!("CLUSTER=current: the cluster of {kubeconfig} does not answer: {e}"))?;
    let context = cluster.kubectl(&["config", "current-context"])?;
    println!(
        "   in the cluster of context {}, the demo creates, and deletes at its end:",
        context.trim()
    );
    for (kind, name) in CLUSTER_WIDE {
        println!("     {kind} {name}");
    }
    println!(
        "     with an Organization, a class, users, their Secrets, and a Deployment that nothing has to run"
    );
    println!("   platform and operator run as processes on this machine, with the rights of the kubeconfig");
    for (kind, name) in CLUSTER_WIDE {
        let found = cluster.kubectl(&["get", kind, name, "--ignore-not-found", "-o", "name"])?;
        if !found.trim().is_empty() {
            return Err(format!(
                "the cluster has {} already: the demo changes nothing there. Take another cluster, or delete it",
                found.trim()
            ));
        }
    }
    Ok(cluster)
}

/// Deletes what the demo created: first what the operator has to see go.
pub fn remove(cluster: &Cluster) -> Result<(), String> {
    let all = ["--all", "--ignore-not-found", "--timeout=60s"];
    for kind in ["programmaticusers", "programmaticuserclasses", "organizations"] {
        let namespaced: &[&str] = if kind == "programmaticusers" { &["-A"] } else { &[] };
        cluster.kubectl(&[&["delete", kind][..], namespaced, &all[..]].concat())?;
    }
    for (kind, name) in CLUSTER_WIDE.into_iter().rev() {
        cluster.kubectl(&["delete", kind, name, "--ignore-not-found", "--timeout=120s"])?;
    }
    println!("   everything that the demo created in the cluster is deleted");
    Ok(())
}

/// Version and address of the API server.
pub fn describe(cluster: &Cluster) -> Result<(String, String), String> {
    if !cluster.is_external() {
        let info = cluster.info();
        return Ok((info.version.clone(), info.server.clone()));
    }
    let version = cluster.kubectl(&["version", "-o", "jsonpath={.serverVersion.gitVersion}"])?;
    let path = "jsonpath={.clusters[0].cluster.server}";
    Ok((
        version,
        cluster.kubectl(&["config", "view", "--minify", "-o", path])?,
    ))
}

/// A control plane of the demo's own.
pub fn start(run: PathBuf, keep: bool) -> Result<Cluster, String> {
    let node = if node_wanted() { "required" } else { "none" };
    let linger = if keep { "0" } else { "20s" }.to_owned();
    let cluster = Cluster::start(&Options { run, node, linger })?;
    if cluster.has_node() {
        cluster.busybox_image(super::IMAGE)?;
        cluster.busybox_image(crate::support::pod::IMAGE)?;
    }
    Ok(cluster)
}
