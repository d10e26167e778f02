//! Flags and environment; no logic.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use zeroize::Zeroizing;

use crate::command::Verb;
use crate::controller;
use crate::plan::{self, Level};
use crate::platform::Token;
use crate::server::{AccountSeed, Database, DatabaseUrl, Password, Platform, PlatformConfig, Tls};
use crate::shutdown;
use crate::telemetry::LogFormat;

/// How often certificates are looked at.
const RELOAD: Duration = Duration::from_mins(1);

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
    /// What people ask
    #[command(flatten)]
    Verb(Verb),
    /// Run the operator against the cluster of KUBECONFIG, or of the pod that it runs in
    Controller(ControllerArgs),
    /// Run the embedded platform: the administration API over SQLite or PostgreSQL
    Platform(PlatformArgs),
    /// Copy the database of an embedded platform, which may be running; to restore, put the copy into an empty folder as
    /// platform.db and start the platform on that
    Backup(BackupArgs),
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
    /// How much longer than two create timeouts an attempt without a certain answer is waited for
    #[arg(long, default_value = "30s", value_parser = seconds::<0, 3600>, value_name = "SPAN")]
    pub settle_slack: Duration,
    /// What may be done with workloads that read a Secret of a user: nothing, look at them and at pods, or also restart
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

/// Flags of `backup`.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// Folder of the database
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// File to write, which must not exist; it holds hashes of tokens and passwords: keep it as you would them
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

/// Where the platform keeps what it knows.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct StoreArgs {
    /// Folder of an SQLite database; made if missing
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// PostgreSQL database, which several platforms may share, such as `postgres://USER:PASSWORD@HOST/DATABASE`; better
    /// given by the environment, because others see the flags of a process
    #[arg(long, value_name = "URL", env = "PLATFORM_DATABASE", hide_env_values = true, value_parser = GivenUrl::parse)]
    pub database: Option<GivenUrl>,
}

/// A database, or what is wrong with it: clap would quote what it refuses, and there may be a password in it.
#[derive(Debug, Clone)]
pub struct GivenUrl(Result<DatabaseUrl, &'static str>);

impl GivenUrl {
    #[allow(clippy::unnecessary_wraps, reason = "clap wants a Result")]
    fn parse(text: &str) -> Result<Self, std::convert::Infallible> {
        Ok(Self(text.parse()))
    }
}

impl StoreArgs {
    fn database(self) -> Result<Database, String> {
        match (self.data, self.database) {
            (Some(directory), None) => Ok(Database::Directory(directory)),
            (None, Some(GivenUrl(url))) => url
                .map(Database::Postgres)
                .map_err(|wanted| format!("--database: {wanted}")),
            // Clap sees to it.
            _ => Err("give --data or --database".to_owned()),
        }
    }
}

/// Flags of `platform`.
#[derive(Debug, clap::Args)]
pub struct PlatformArgs {
    /// Where it keeps what it knows
    #[command(flatten)]
    pub store: StoreArgs,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8700", env = "LISTEN")]
    pub listen: SocketAddr,
    /// Name of the organization that the first start makes
    #[arg(long, default_value = "acme")]
    pub organization: String,
    /// Account that the first start makes, as NAME or act-xxxxxxxx=NAME (repeatable)
    #[arg(long, value_name = "ACCOUNT", default_values = ["production", "staging"], value_parser = account)]
    pub account: Vec<AccountSeed>,
    /// E-mail with which the first admin signs in
    #[arg(long, default_value = "admin@example.com")]
    pub admin_email: String,
    /// File with the first admin's password; without it one is made up and printed once
    #[arg(long, value_name = "FILE")]
    pub admin_password_file: Option<PathBuf>,
    /// File with the first admin's token, 64 hex characters; without it one is made up and printed once
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Requests a minute for each route and method; 0: no limit
    #[arg(long, default_value_t = 6000, value_name = "N")]
    pub rate_limit: u32,
    /// Speak TLS with this certificate (PEM, the chain after it); looked at every minute, so that it can be renewed
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// Key of the certificate (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// Send the console's cookie over TLS only: for a platform behind a proxy that speaks it; with --tls-certificate it
    /// is so anyway
    #[arg(long)]
    pub secure_cookies: bool,
}

impl PlatformArgs {
    /// Runs the platform. What the first start made up is shown once, here.
    pub async fn run(self) -> Result<(), String> {
        let mut platform = Platform::bind(self.into_config()?)
            .await
            .map_err(|e| e.to_string())?;
        if let Some(first) = platform.take_first_start() {
            if let Some(password) = &first.admin_password {
                println!(
                    "password of {} (shown once): {}",
                    first.admin_email,
                    password.expose()
                );
            }
            if let Some(token) = &first.admin_token {
                println!("admin token (shown once): {}", token.expose());
            }
        }
        let scheme = if platform.is_tls() { "https" } else { "http" };
        println!("listening on {scheme}://{}", platform.address());
        platform
            .serve(shutdown::signal().cancelled_owned())
            .await
            .map_err(|e| e.to_string())
    }

    /// Reads the files that the flags name.
    pub fn into_config(self) -> Result<PlatformConfig, String> {
        let Self {
            store,
            listen,
            organization,
            account,
            admin_email,
            admin_password_file,
            admin_token_file,
            rate_limit,
            tls_certificate,
            tls_key,
            secure_cookies,
        } = self;
        let tls = tls_certificate.zip(tls_key).map(|(certificate, key)| Tls {
            certificate,
            key,
            reload: RELOAD,
        });
        let admin_token =
            match admin_token_file {
                None => None,
                Some(path) => {
                    let token = Token::new(&read(&path)?);
                    Some(token.ok_or_else(|| {
                        format!("{} holds no token: write 64 hex characters", path.display())
                    })?)
                }
            };
        let admin_password = match admin_password_file {
            None => None,
            Some(path) => Some(Password::new(
                read(&path)?.trim_end_matches(['\r', '\n']).to_owned(),
            )),
        };
        Ok(PlatformConfig {
            database: store.database()?,
            listen,
            organization_name: organization,
            admin_email,
            admin_password,
            admin_token,
            accounts: account,
            requests_per_minute: rate_limit,
            tls,
            secure_cookies,
            ..PlatformConfig::default()
        })
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))
}

fn account(text: &str) -> Result<AccountSeed, String> {
    match text.split_once('=') {
        None => Ok(AccountSeed {
            id: None,
            name: text.to_owned(),
        }),
        Some((id, name)) if id.starts_with("act-") && id.len() > 4 => Ok(AccountSeed {
            id: Some(id.to_owned()),
            name: name.to_owned(),
        }),
        Some(_) => Err("write NAME or act-xxxxxxxx=NAME".to_owned()),
    }
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
            let told = controller(&["--create-timeout", bad]).unwrap_err();
            assert!(told.contains("give a span of 1s to 60s"), "{told}");
        }
        assert_eq!(config.consumers, crate::plan::Level::Observe);
        let told = controller(&["--consumers", "reload"]).unwrap_err();
        assert!(told.contains("give off, observe or restart"), "{told}");
        assert!(controller(&["--settle-slack", "0s"]).is_ok());
        assert!(controller(&["--lease-duration", "0s"]).is_err());
    }

    #[test]
    fn a_platform_has_one_database_and_a_wrong_one_is_not_quoted() {
        let platform = |flags: &[&str]| {
            let usual = ["programmatic-users", "platform"];
            Cli::try_parse_from(usual.iter().chain(flags)).map_err(|e| e.to_string())
        };
        let url = "postgres://platform:hunter2@db.example/platform";
        assert!(platform(&["--data", "d"]).is_ok() && platform(&["--database", url]).is_ok());
        let none = platform(&[]).unwrap_err();
        assert!(none.contains("<--data <DIR>|--database <URL>>"), "{none}");
        assert!(
            platform(&["--data", "d", "--database", url])
                .unwrap_err()
                .contains("cannot be used with")
        );
        for wrong in ["mysql://u:hunter2@h/d", "postgres://u:hunter2@h", "hunter2"] {
            let Command::Platform(args) = platform(&["--database", wrong]).unwrap().command else {
                unreachable!()
            };
            assert!(!format!("{args:?}").contains("hunter2"));
            let told = args.into_config().err().unwrap();
            assert_eq!(told, "--database: write postgres://USER:PASSWORD@HOST/DATABASE");
        }
    }
}
