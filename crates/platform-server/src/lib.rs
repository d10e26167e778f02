//! The embedded platform: users of both kinds, roles, policies, groups, accounts, tokens and an audit log behind the
//! administration API, with a small console, over `SQLite` or `PostgreSQL`.
//!
//! A request passes `edge` (request id, envelope, log), then `auth` (credential, rate limit, right, audit of refusals) and
//! then its handler in `routes`, which reads and writes through `store`. One table, `rules`, names the right to a route, and
//! one pure function, [`authz::decide`], decides it.

#![forbid(unsafe_code)]
// Names speak here; docs are where they say more.
#![allow(missing_docs)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod auth;
pub mod authz;
mod bootstrap;
mod catalog;
pub mod connections;
mod console;
mod edge;
mod hashing;
mod limit;
mod listen;
mod metrics;
mod peer;
mod recovery;
mod refusals;
mod reply;
mod resource;
mod retention;
mod routes;
mod rules;
mod secret;
mod store;
mod validate;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use platform_api::Token;

pub use bootstrap::FirstStart;
pub use listen::Tls;
pub use recovery::{Recovered, recover_admin};
pub use retention::AuditConfig;
pub use secret::Password;

pub struct PlatformConfig {
    /// Where users, tokens and the audit log are kept.
    pub database: Database,
    /// Where to listen; port 0 takes a free one, see [`Platform::address`].
    pub listen: SocketAddr,
    /// Display name of the organization. First start only.
    pub organization_name: String,
    /// Address with which the first administrator signs in. First start only.
    pub admin_email: String,
    /// That administrator's password; generated if not given. First start only.
    pub admin_password: Option<Password>,
    /// That administrator's API token; generated if not given, 64 hexadecimal digits. First start only.
    pub admin_token: Option<Token>,
    /// Accounts of the organization. First start only.
    pub accounts: Vec<AccountSeed>,
    /// Requests a minute of each organization, route and method; 0 is without limit and without its headers.
    pub requests_per_minute: u32,
    pub body_limit: usize,
    /// Certificate and key; without them it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Whether browsers may send console cookies by https only; of itself with [`Self::tls`].
    pub secure_cookies: bool,
    /// How long a session of the console lasts.
    pub session_lasts: Duration,
    /// How long a session of the console may be without a use.
    pub session_idle: Duration,
    /// How long the audit log is kept, and how refusals without a credential are counted in it.
    pub audit: AuditConfig,
    /// Most connections at once; those beyond are closed. One peer has half of them at most.
    pub max_connections: usize,
}

/// A database: one of its own, or one that several platforms share.
#[derive(Debug, Clone)]
pub enum Database {
    /// `SQLite`, in this directory; created if it is not there.
    Directory(PathBuf),
    Postgres(DatabaseUrl),
}

/// URL of a `PostgreSQL` database. It may hold a password, so that it is not printable.
#[derive(Clone)]
pub struct DatabaseUrl(url::Url);

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseUrl")
    }
}

impl std::str::FromStr for DatabaseUrl {
    type Err = &'static str;

    /// What is wrong is not quoted: it may hold a password.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "write postgres://USER:PASSWORD@HOST/DATABASE";
        let url: url::Url = text.trim().parse().map_err(|_| WANTED)?;
        let named = url.path().len() > 1;
        (matches!(url.scheme(), "postgres" | "postgresql") && named)
            .then_some(Self(url))
            .ok_or(WANTED)
    }
}

impl DatabaseUrl {
    fn expose(&self) -> &url::Url {
        &self.0
    }
}

/// An account that the first start creates.
#[derive(Debug, Clone)]
pub struct AccountSeed {
    /// `act-` and more; generated if not given.
    pub id: Option<String>,
    pub name: String,
}

impl Default for PlatformConfig {
    fn default() -> Self {
        let account = |name: &str| AccountSeed {
            id: None,
            name: name.to_owned(),
        };
        Self {
            database: Database::Directory(PathBuf::from("data")),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8700)),
            organization_name: "acme".to_owned(),
            admin_email: "admin@example.com".to_owned(),
            admin_password: None,
            admin_token: None,
            accounts: vec![account("production"), account("staging")],
            requests_per_minute: 600,
            body_limit: 256 * 1024,
            tls: None,
            secure_cookies: false,
            session_lasts: Duration::from_hours(12),
            session_idle: Duration::from_mins(30),
            audit: AuditConfig::default(),
            max_connections: 512,
        }
    }
}

/// Why the platform cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use the data directory {}: {source}", path.display())]
    DataDirectory { path: PathBuf, source: std::io::Error },
    #[error("cannot use the certificate {} with its key: {source}", path.display())]
    Certificate { path: PathBuf, source: std::io::Error },
    #[error("cannot connect to the database at {host}: {source}")]
    Connect {
        /// Its host, or the folder of its socket.
        host: String,
        source: sqlx::Error,
    },
    #[error("cannot make a backup: {}: {source}", path.display())]
    Backup {
        /// Of or to which file.
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot restore: {}: {why}", path.display())]
    Restore {
        /// Of or to which file.
        path: PathBuf,
        why: String,
    },
    #[error("cannot recover the administrator: {0}")]
    Recovery(String),
    #[error("the database failed: {0}")]
    Store(#[from] sqlx::Error),
    #[error("the database cannot be migrated: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("serving failed: {0}")]
    Serve(std::io::Error),
    #[error("the first start cannot use its settings: {0}")]
    Settings(String),
    #[error("the operating system gives no random bytes")]
    Randomness,
    #[error("a password cannot be hashed")]
    PasswordHash,
}

impl Error {
    /// One word for metrics and logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DataDirectory { .. } => "DataDirectory",
            Self::Certificate { .. } => "Certificate",
            Self::Connect { .. } => "Connect",
            Self::Backup { .. } => "Backup",
            Self::Restore { .. } => "Restore",
            Self::Store(_) => "Store",
            Self::Migration(_) => "Migration",
            Self::Listen { .. } => "Listen",
            Self::Serve(_) => "Serve",
            Self::Settings(_) => "Settings",
            Self::Randomness => "Randomness",
            Self::PasswordHash => "PasswordHash",
            Self::Recovery(_) => "Recovery",
        }
    }
}

/// What every request shares.
#[derive(Debug, Clone)]
struct App(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: store::Store,
    limiter: limit::Limiter,
    organization: store::accounts::Organization,
    body_limit: usize,
    secure_cookies: bool,
    metrics: metrics::Metrics,
    is_tls: bool,
    sessions: store::sign_in::Lifetime,
    refusals: refusals::Refusals,
    hashing: hashing::Hashing,
    health: routes::Health,
}

impl std::ops::Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// A platform that has its database and its address, but does not answer yet.
pub struct Platform {
    app: App,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<listen::Loaded>,
    first_start: Option<FirstStart>,
    audit: AuditConfig,
    max_connections: usize,
}

fn milliseconds(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 2)
}

impl Platform {
    /// Opens the database, creates the organization on the first start, and binds the address.
    pub async fn bind(config: PlatformConfig) -> Result<Self, Error> {
        let secure_cookies = config.secure_cookies || config.tls.is_some();
        let tls = match &config.tls {
            Some(files) => Some(files.clone().load().await?),
            None => None,
        };
        secret::prepare();
        let store = store::Store::open(&config.database).await?;
        let failed = |source| Error::Listen {
            address: config.listen,
            source,
        };
        // Before the first start generates its secrets: a port in use must not lose them.
        let listener = TcpListener::bind(config.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (organization, first_start) = bootstrap::bootstrap(&store, &config).await?;
        let app = App(Arc::new(Shared {
            store,
            limiter: limit::Limiter::new(config.requests_per_minute),
            organization,
            body_limit: config.body_limit,
            secure_cookies,
            metrics: metrics::Metrics::default(),
            is_tls: tls.is_some(),
            sessions: store::sign_in::Lifetime {
                lasts: milliseconds(config.session_lasts),
                idle: milliseconds(config.session_idle),
            },
            refusals: refusals::Refusals::new(config.audit.refusals),
            hashing: hashing::Hashing::default(),
            health: routes::Health::default(),
        }));
        let mut audit = config.audit;
        if let Database::Directory(directory) = &config.database {
            audit.export.get_or_insert_with(|| directory.join("audit-export"));
        }
        Ok(Self {
            app,
            listener,
            address,
            tls,
            first_start,
            audit,
            max_connections: config.max_connections,
        })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Id of the organization: 12 digits.
    #[must_use]
    pub fn organization_id(&self) -> &str {
        &self.app.organization.id
    }

    /// The results of the first start, once: `None` on the second call and on every later start.
    pub fn take_first_start(&mut self) -> Option<FirstStart> {
        self.first_start.take()
    }

    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Answers until `shutdown` resolves, then lets requests under way end.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let service = edge::service(self.app.clone());
        let listening = listen::Listening {
            listener: self.listener,
            tls: self.tls,
            max_connections: self.max_connections,
        };
        let app = &self.app;
        let result = tokio::select! {
            result = listen::serve(listening, service, &app.metrics, shutdown) => result,
            () = refusals::run(app) => Ok(()),
            () = retention::run(app, &self.audit) => Ok(()),
        };
        refusals::flush(app).await;
        self.app.store.close().await;
        result
    }
}

/// Copies the database in `data_dir`, as of one moment, to the new file `to`, while a platform may be running on it.
///
/// # Errors
/// If there is no database, if `to` exists already, or if either cannot be read or written.
pub async fn backup(data_dir: &Path, to: &Path) -> Result<(), Error> {
    store::backup::backup(data_dir, to).await
}

/// Makes `data_dir`, which holds no database, the folder of a platform that knows what the copy `from` knows.
///
/// # Errors
///
/// When there is a database, when `from` is no copy of one, or when the file cannot be written.
pub async fn restore(from: &Path, data_dir: &Path) -> Result<(), Error> {
    store::backup::restore(from, data_dir).await
}
