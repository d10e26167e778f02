//! Flags of the embedded platform, and of what is done to its database.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::platform::Token;
use crate::server::{self, AccountSeed, Database, DatabaseUrl, Password, Platform, PlatformConfig, Tls};
use crate::shutdown;

/// How often certificates are looked at.
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
    use clap::Parser as _;

    use crate::cli::{Cli, Command};

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
