//! Flags and environment; no logic.

mod platform;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::command::Verb;
use crate::controller;
use crate::plan::{self, Level};
use crate::telemetry::LogFormat;

pub use platform::{BackupArgs, PlatformArgs, RecoverAdminArgs, RestoreArgs};

/// Turns `ProgrammaticUser` manifests into API-only users of a cloud-administration platform.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// Form of the log on standard error; `RUST_LOG` says how much of it
    #[arg(long, global = true, value_enum, default_value_t, env = "LOG_FORMAT")]
    pub log_format: LogFormat,
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The program.
    pub const NAME: &str = "programmatic-users";
    /// The file name of the same program as a plugin, and how people call it then.
    const PLUGIN: (&str, &str) = ("kubectl-programmatic_users", "kubectl programmatic-users");

    /// Reads a command line; help names the program as it was called. Ends the process where it is wrong, and after
    /// `--help`.
    #[must_use]
    pub fn read(line: impl IntoIterator<Item = OsString>) -> Self {
        let line: Vec<OsString> = line.into_iter().collect();
        let name = line.first().and_then(|path| Path::new(path).file_stem());
        let mut command = Self::command();
        if name.is_some_and(|n| n == Self::PLUGIN.0) {
            command = command.bin_name(Self::PLUGIN.1);
        }
        let matches = command.try_get_matches_from_mut(line);
        let cli = matches.and_then(|mut m| Self::from_arg_matches_mut(&mut m));
        cli.unwrap_or_else(|e| e.format(&mut command).exit())
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A command for people
    #[command(flatten)]
    Verb(Verb),
    /// Run the operator against the cluster of KUBECONFIG, or of the pod that it runs in
    Controller(ControllerArgs),
    /// Run the embedded platform: the administration API over SQLite or PostgreSQL
    Platform(PlatformArgs),
    /// Copy the database of an embedded platform, which may be running
    Backup(BackupArgs),
    /// Make a folder for `platform` of a copy that `backup` made
    Restore(RestoreArgs),
    /// Make a new password for an administrator of an embedded platform, which may be running, and with --token a new token
    RecoverAdmin(RecoverAdminArgs),
    /// Write the custom resource definitions
    Crds(CrdsArgs),
}

/// Flags of `controller`.
#[derive(Debug, clap::Args)]
pub struct ControllerArgs {
    /// The operator's own namespace: Secrets with admin credentials are here
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
    /// Name of the Lease, in the operator's own namespace, by which one of several replicas leads; controllers with
    /// different names all lead
    #[arg(long, default_value = "programmatic-users", value_name = "NAME")]
    pub lease_name: String,
    /// How long a leader that is not heard of stays the leader; longer than the create timeout
    #[arg(long, default_value = "15s", value_parser = seconds::<1, 3600>, value_name = "SPAN")]
    pub lease_duration: Duration,
    /// Deadline of the one call that makes a user (1s to 60s)
    #[arg(long, default_value = "10s", value_parser = seconds::<1, 60>, value_name = "SPAN")]
    pub create_timeout: Duration,
    /// How much longer than the create timeout an attempt without a certain answer is waited for
    #[arg(long, default_value = "30s", value_parser = seconds::<0, 3600>, value_name = "SPAN")]
    pub settle_slack: Duration,
    /// How long the hour of limits.createsPerHour is: tests have no hour
    #[arg(long, default_value = "1h", value_parser = seconds::<1, 3600>, value_name = "SPAN", hide = true)]
    pub creates_hour: Duration,
    /// What may be done with workloads that read a Secret of a user: nothing, observe them and their pods, or also restart
    /// them; each needs more rights than the one before
    #[arg(long, default_value = "observe", value_parser = level, value_name = "off|observe|restart")]
    pub consumers: Level,
}

impl From<ControllerArgs> for controller::Config {
    fn from(args: ControllerArgs) -> Self {
        let ControllerArgs {
            namespace,
            listen,
            watch_namespace,
            organization,
            instance_id,
            lease_name,
            lease_duration,
            create_timeout,
            settle_slack,
            creates_hour,
            consumers,
        } = args;
        Self {
            namespace,
            listen,
            watch_namespaces: watch_namespace,
            organizations: organization,
            instance: instance_id,
            lease_name,
            lease_duration,
            create_timeout,
            settle_slack,
            creates_hour,
            consumers,
        }
    }
}

fn level(text: &str) -> Result<Level, String> {
    let all = [Level::Off, Level::Observe, Level::Restart];
    let found = all.into_iter().find(|level| level.name() == text);
    found.ok_or_else(|| "give off, observe or restart".to_owned())
}

fn instance_id(text: &str) -> Result<String, String> {
    if plan::is_instance(text) {
        Ok(text.to_owned())
    } else {
        Err("give 6 characters, a-z and 2-7".to_owned())
    }
}

/// A span of whole seconds within bounds, written as in the custom resources.
pub(crate) fn seconds<const MIN: u64, const MAX: u64>(text: &str) -> Result<Duration, String> {
    let span = crate::api::Duration::parse(text).map(crate::api::Duration::get);
    span.filter(|s| (MIN..=MAX).contains(&s.as_secs()))
        .ok_or_else(|| format!("give a span of {MIN}s to {MAX}s, such as 15s or 1m"))
}

/// Flags of `crds`.
#[derive(Debug, clap::Args)]
pub struct CrdsArgs {
    /// Write one file a kind into this folder instead of all of them to standard output
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{Cli, Command};

    fn controller(flags: &[&str]) -> Result<crate::controller::Config, String> {
        let usual = ["programmatic-users", "controller", "--namespace", "operator"];
        match Cli::try_parse_from(usual.iter().chain(flags)) {
            Ok(Cli {
                command: Command::Controller(args),
                ..
            }) => Ok(args.into()),
            Ok(_) => Err("another command".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn spans_are_those_of_the_resources_and_have_bounds() {
        let config = controller(&[]).unwrap();
        let seconds =
            [config.lease_duration, config.create_timeout, config.settle_slack].map(|s| s.as_secs());
        assert_eq!(seconds, [15, 10, 30]);
        assert_eq!(
            controller(&["--create-timeout", "1m"])
                .unwrap()
                .create_timeout
                .as_secs(),
            60
        );
        for bad in ["61s", "0s", "500ms", "ten"] {
            let message = controller(&["--create-timeout", bad]).unwrap_err();
            assert!(message.contains("give a span of 1s to 60s"), "{message}");
        }
        assert_eq!(config.consumers, crate::plan::Level::Observe);
        let message = controller(&["--consumers", "reload"]).unwrap_err();
        assert!(message.contains("give off, observe or restart"), "{message}");
        assert!(controller(&["--settle-slack", "0s"]).is_ok());
        assert!(controller(&["--lease-duration", "0s"]).is_err());
    }
}
