//! Flags of the embedded platform, and of what is done to its database.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::platform::Token;
use crate::server::{
    self, AccountSeed, AuditConfig, Database, DatabaseUrl, Password, Platform, PlatformConfig, Tls,
};
use crate::shutdown;

/// How often certificates are checked.
const RELOAD: Duration = Duration::from_mins(1);

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

/// Flags of `restore`.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// Copy that `backup` made
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// Folder to make, or one that holds no database
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
}

/// Where the platform keeps what it knows.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct StoreArgs {
    /// Folder of an SQLite database; `platform` makes it if it is missing
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
    /// File with the first admin's password; without it one is generated and printed once
    #[arg(long, value_name = "FILE")]
    pub admin_password_file: Option<PathBuf>,
    /// File with the first admin's token, 64 hex characters; without it one is generated and printed once
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Requests a minute for each route and method; 0: no limit. Refusals without a credential and sign-ins stay bounded
    #[arg(long, default_value_t = 6000, value_name = "N")]
    pub rate_limit: u32,
    /// Speak TLS with this certificate (PEM, the chain after it); checked every minute, so that it can be renewed
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// Key of the certificate (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// Send the console's cookie over TLS only: for a platform behind a proxy that speaks it; with --tls-certificate it
    /// is so anyway
    #[arg(long)]
    pub secure_cookies: bool,
    /// How long a console session lasts, such as 12h
    #[arg(long, default_value = "12h", value_name = "SPAN", value_parser = span)]
    pub session_lasts: Duration,
    /// How long a console session may be without a use, such as 30m
    #[arg(long, default_value = "30m", value_name = "SPAN", value_parser = span)]
    pub session_idle: Duration,
    /// How long the audit log is kept, such as 400d; older rows are written to a file and then deleted. 0 or forever: nothing is
    /// deleted
    #[arg(long, default_value = "400d", value_name = "SPAN", value_parser = Retention::parse)]
    pub audit_retention: Retention,
    /// Folder for the files with old rows of the audit log [default: audit-export in --data; with --database nothing is deleted
    /// without it]
    #[arg(long, value_name = "DIR")]
    pub audit_export: Option<PathBuf>,
    /// Most connections at once; more are closed. One peer has half of them at most
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = connections)]
    pub max_connections: usize,
}

/// How long the audit log is kept; for ever if there is no span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention(Option<Duration>);

impl Retention {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "0" | "forever" => Ok(Self(None)),
            text => span(text).map(|span| Self(Some(span))),
        }
    }
}

/// A span longer than nothing: days, or what the API takes.
fn span(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|d| d.parse::<u64>().ok());
    let span = match days {
        Some(days) => days.checked_mul(86_400).map(Duration::from_secs),
        None => crate::api::Duration::parse(text).map(crate::api::Duration::get),
    };
    let span = span.filter(|span| !span.is_zero());
    span.ok_or_else(|| "write a span longer than 0, such as 30m, 12h or 400d".to_owned())
}

/// At least one for each of two peers.
fn connections(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| *n >= 2);
    number.ok_or_else(|| "write a number of at least 2".to_owned())
}

impl PlatformArgs {
    /// Runs the platform. What the first start generated is shown once, here.
    pub async fn run(self) -> Result<(), String> {
        let mut platform = Platform::bind(self.into_config()?)
            .await
            .map_err(|e| e.to_string())?;
        if let Some(first) = platform.take_first_start() {
            if let Some(password) = &first.admin_password {
                show_password(&first.admin_email, password);
            }
            if let Some(token) = &first.admin_token {
                show_token(token);
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
            session_lasts,
            session_idle,
            audit_retention,
            audit_export,
            max_connections,
        } = self;
        let tls = tls_certificate.zip(tls_key).map(|(certificate, key)| Tls {
            certificate,
            key,
            reload: RELOAD,
        });
        let admin_token = admin_token_file.as_deref().map(read_token).transpose()?;
        let admin_password = admin_password_file.as_deref().map(read_password).transpose()?;
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
            session_lasts,
            session_idle,
            audit: AuditConfig {
                retention: audit_retention.0,
                export: audit_export,
                ..AuditConfig::default()
            },
            max_connections,
            ..PlatformConfig::default()
        })
    }
}

/// Flags of `recover-admin`.
#[derive(Debug, clap::Args)]
pub struct RecoverAdminArgs {
    /// Where the platform keeps what it knows
    #[command(flatten)]
    pub store: StoreArgs,
    /// E-mail address of a console user; an organization admin afterwards, if none before
    #[arg(long, value_name = "ADDRESS", default_value = "admin@example.com")]
    pub admin_email: String,
    /// Make a new token too; all that the user has end at once
    #[arg(long)]
    pub token: bool,
}

impl RecoverAdminArgs {
    /// Does it, and shows what was made, once.
    pub async fn run(self) -> Result<(), String> {
        let database = self.store.database()?;
        let made = server::recover_admin(&database, &self.admin_email, self.token)
            .await
            .map_err(|e| e.to_string())?;
        show_password(&self.admin_email, &made.password);
        if let Some(token) = &made.token {
            show_token(token);
        }
        Ok(())
    }
}

fn show_password(email: &str, password: &Password) {
    println!("password of {email} (shown once): {}", password.expose());
}

fn show_token(token: &Token) {
    println!("admin token (shown once): {}", token.expose());
}

fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))
}

fn read_token(path: &Path) -> Result<Token, String> {
    Token::new(&read(path)?)
        .ok_or_else(|| format!("{} holds no token: write 64 hex characters", path.display()))
}

fn read_password(path: &Path) -> Result<Password, String> {
    Ok(Password::new(
        read(path)?.trim_end_matches(['\r', '\n']).to_owned(),
    ))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser as _;

    use super::{Retention, connections, span};
    use crate::cli::{Cli, Command};

    #[test]
    fn spans_and_numbers_are_longer_than_nothing() {
        assert_eq!(span("400d"), Ok(Duration::from_hours(400 * 24)));
        assert_eq!(span("30m"), Ok(Duration::from_mins(30)));
        for wrong in ["", "0d", "0s", "d", "-1d", "99999999999999999999d", "soon"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
        for forever in ["0", "forever"] {
            assert_eq!(Retention::parse(forever), Ok(Retention(None)));
        }
        assert!(connections("1").is_err() && connections("2").is_ok());
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
            let message = args.into_config().err().unwrap();
            assert_eq!(
                message,
                "--database: write postgres://USER:PASSWORD@HOST/DATABASE"
            );
        }
    }
}
