//! Probes and metrics of the controller.
//!
//! `/livez` fails where only a restart helps: the process hangs. It does not fail because the API server or a platform
//! is away. `/readyz` tells whether this process does its part: as the leader with all caches filled, or as a standby
//! that could go on for it.

pub mod watchdog;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use watchdog::Watchdog;

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
        if let Err(error) = axum::serve(listener, router)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
        {
            tracing::error!(%error, "probes are not served any more");
        }
    }
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
