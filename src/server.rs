//! The embedded platform: the administration API over SQLite, and the door of its console.
//!
//! Never uses `kube`, `api`, `plan` or `controller`: it is the other side of the wire.

mod api;
mod auth;
pub mod authz;
mod bootstrap;
mod console;
mod limit;
mod reply;
mod routes;
mod secret;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

pub use bootstrap::Made;

/// No body of this API is larger.
const MAX_BODY: usize = 256 * 1024;

/// What the platform is told at its start.
pub struct PlatformConfig {
    /// Where the database is.
    pub data: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Name of the organization that the first start makes.
    pub organization: String,
    /// Accounts that the first start makes: id, or one is made up, and name.
    pub accounts: Vec<(Option<String>, String)>,
    /// E-mail of the first admin.
    pub admin_email: String,
    /// Password of the first admin; made up if not given.
    pub admin_password: Option<Zeroizing<String>>,
    /// Token of the first admin; made up if not given.
    pub admin_token: Option<Zeroizing<String>>,
    /// Requests a minute, route and method; 0: no limit.
    pub rate_limit: usize,
    /// Send the console's cookie over TLS only.
    pub secure_cookies: bool,
}

/// Why the platform cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data folder.
    #[error("cannot use the data folder {0}: {1}")]
    Data(PathBuf, std::io::Error),
    /// The database.
    #[error("cannot open the database: {0}")]
    Store(#[from] sqlx::Error),
    /// The address.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
}

/// What all requests share.
struct App {
    store: store::Store,
    limiter: limit::Limiter,
    secure_cookies: bool,
}

/// Runs until `shutdown`; `listening` is told the address, and what the first start made.
pub async fn run(
    config: PlatformConfig,
    shutdown: CancellationToken,
    listening: impl FnOnce(SocketAddr, Made),
) -> Result<(), Error> {
    std::fs::create_dir_all(&config.data).map_err(|e| Error::Data(config.data.clone(), e))?;
    let store = store::Store::open(&config.data).await?;
    let mut first = store.write().await?;
    let made = bootstrap::bootstrap(&mut first, &config).await?;
    first.commit().await?;
    let failed = |e| Error::Listen(config.listen, e);
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    listening(listener.local_addr().map_err(failed)?, made);
    let app = Arc::new(App {
        store,
        limiter: limit::Limiter::new(config.rate_limit),
        secure_cookies: config.secure_cookies,
    });
    axum::serve(listener, router(app.clone()))
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .map_err(failed)?;
    app.store.close().await;
    Ok(())
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", axum::routing::get(|| async { "ok\n" }))
        .nest("/console", console::guarded(app.clone()))
        .fallback(api::serve)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}
