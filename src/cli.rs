//! Flags and environment; no logic.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::controller;
use crate::telemetry::LogFormat;

/// Turns `ProgrammaticUser` manifests into API-only users of a cloud-administration platform.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// Form of the log on standard error; RUST_LOG says how much of it
    #[arg(long, global = true, value_enum, default_value_t, env = "LOG_FORMAT")]
    pub log_format: LogFormat,
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator against the cluster of KUBECONFIG, or of the pod that it runs in
    Controller(ControllerArgs),
    /// Write the custom resource definitions
    Crds(CrdsArgs),
}

/// Flags of `controller`.
#[derive(Debug, clap::Args)]
pub struct ControllerArgs {
    /// The operator's own namespace: Secrets with admin credentials are looked up here
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,
    /// Address of probes and metrics (/livez, /readyz, /metrics)
    #[arg(long, default_value = "127.0.0.1:8080", env = "LISTEN")]
    pub listen: SocketAddr,
    /// Look after the users of this namespace only (repeatable; default: all)
    #[arg(long, value_name = "NAMESPACE")]
    pub watch_namespace: Vec<String>,
    /// Look after this Organization only (repeatable; default: all)
    #[arg(long, value_name = "NAME")]
    pub organization: Vec<String>,
    /// This installation's id (6 characters, a-z and 2-7) instead of the one kept in the cluster
    #[arg(long, env = "INSTANCE_ID", value_parser = instance_id)]
    pub instance_id: Option<String>,
}

impl From<ControllerArgs> for controller::Config {
    fn from(args: ControllerArgs) -> Self {
        let ControllerArgs {
            namespace,
            listen,
            watch_namespace,
            organization,
            instance_id,
        } = args;
        Self {
            namespace,
            listen,
            watch_namespaces: watch_namespace,
            organizations: organization,
            instance: instance_id,
        }
    }
}

fn instance_id(text: &str) -> Result<String, String> {
    if controller::is_instance_id(text) {
        Ok(text.to_owned())
    } else {
        Err("give 6 characters, a-z and 2-7".to_owned())
    }
}

/// Flags of `crds`.
#[derive(Debug, clap::Args)]
pub struct CrdsArgs {
    /// Write one file a kind into this folder instead of all of them to standard output
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}
