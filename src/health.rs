//! Probes and metrics of the controller.
//!
//! `/livez` fails where only a restart helps: the process hangs. It does not fail because the API server or a platform
//! is away. `/readyz` tells whether this process does its part: as the leader with all caches filled, or as a standby
//! that could go on for it.

pub mod watchdog;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum_server::{Handle, Server};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

use crate::connections::{Bounded, Checked, Contradictory};
use watchdog::Watchdog;

/// Connections at once, and those of one network: kubelet and Prometheus need one each for a moment.
const CONNECTIONS: usize = 32;
const SHARE: usize = 16;
/// How long a connection may take to say what it wants, and an answer to be there.
const REQUEST: Duration = Duration::from_secs(10);
/// Longest head of a request in bytes.
const HEAD: usize = 16 * 1024;

/// What the probes ask.
pub trait Health: Send + Sync + 'static {
    /// Whether this process does its part, and which, in a few words; or why not.
    fn ready(&self) -> Result<&'static str, &'static str>;
    /// What Prometheus reads (`OpenMetrics`).
    fn metrics(&self) -> String;
}

/// What is served, from the first moment of the process on.
pub struct Probes<H> {
    /// Missing while the process has not come so far.
    health: OnceLock<Arc<H>>,
    watchdog: Arc<Watchdog>,
}

impl<H: Health> Probes<H> {
    /// Alive, and not ready.
    #[must_use]
    pub fn new(watchdog: Arc<Watchdog>) -> Self {
        Self {
            health: OnceLock::new(),
            watchdog,
        }
    }

    /// From now on `health` is asked.
    pub fn ask(&self, health: Arc<H>) {
        // There is one only, in each process.
        let _ = self.health.set(health);
    }

    /// Serves until `shutdown`.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) {
        let router = Router::new()
            .route("/livez", get(livez::<H>))
            .route("/readyz", get(readyz::<H>))
            .route("/metrics", get(metrics::<H>))
            .with_state(self);
        let handle = Handle::<SocketAddr>::new();
        let mut server = Server::from_listener(listener)
            .handle(handle.clone())
            .first_request_timeout(REQUEST)
            .acceptor(Checked(Bounded::new(CONNECTIONS, SHARE)));
        // A connection for each request: none is held by who does not ask.
        let mut http = server.http_builder().http1();
        http.keep_alive(false)
            .header_read_timeout(REQUEST)
            .max_buf_size(HEAD);
        let stopping = async {
            shutdown.cancelled_owned().await;
            handle.graceful_shutdown(Some(REQUEST));
            std::future::pending::<()>().await;
        };
        let router = router
            .layer(TimeoutLayer::with_status_code(
                StatusCode::REQUEST_TIMEOUT,
                REQUEST,
            ))
            .layer(middleware::from_fn(consistent));
        tokio::select! {
            result = server.serve(router.into_make_service()) => if let Err(error) = result {
                tracing::error!(%error, "probes are not served any more");
            },
            () = stopping => {}
        }
    }
}

/// Refuses a request whose length is given in two ways.
async fn consistent(request: Request, next: Next) -> Response {
    if request.extensions().get::<Contradictory>().is_some() {
        return said(
            StatusCode::BAD_REQUEST,
            "Content-Length and Transfer-Encoding contradict each other",
        );
    }
    next.run(request).await
}

async fn livez<H: Health>(State(probes): State<Arc<Probes<H>>>) -> Response {
    match probes.watchdog.check() {
        Ok(()) => said(StatusCode::OK, "ok"),
        Err(why) => said(StatusCode::SERVICE_UNAVAILABLE, &format!("hangs: {why}")),
    }
}

async fn readyz<H: Health>(State(probes): State<Arc<Probes<H>>>) -> Response {
    let Some(health) = probes.health.get() else {
        let why = "not ready: starting; the API server has not answered yet";
        return said(StatusCode::SERVICE_UNAVAILABLE, why);
    };
    match health.ready() {
        Ok(part) => said(StatusCode::OK, &format!("ok: {part}")),
        Err(why) => said(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {why}")),
    }
}

fn said(status: StatusCode, words: &str) -> Response {
    (status, format!("{words}\n")).into_response()
}

async fn metrics<H: Health>(State(probes): State<Arc<Probes<H>>>) -> Response {
    let text = probes
        .health
        .get()
        .map_or_else(|| "# EOF\n".to_owned(), |h| h.metrics());
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, form)], text).into_response()
}
