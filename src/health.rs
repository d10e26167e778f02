//! Probes and metrics of the controller.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the probes ask.
pub trait Health: Send + Sync + 'static {
    /// Whether all caches are filled, or, while another process leads, whether this one could go on for it.
    fn is_ready(&self) -> bool;
    /// Prometheus text.
    fn metrics(&self) -> String;
}

/// Serves until `shutdown`.
pub async fn serve<H: Health>(listener: TcpListener, health: Arc<H>, shutdown: CancellationToken) {
    let router = Router::new()
        // Alive is who answers: a restart would mend nothing else.
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz::<H>))
        .route(
            "/metrics",
            get(|State(health): State<Arc<H>>| async move { health.metrics() }),
        )
        .with_state(health);
    if let Err(error) = axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
    {
        tracing::error!(%error, "probes are not served any more");
    }
}

async fn readyz<H: Health>(State(health): State<Arc<H>>) -> (StatusCode, &'static str) {
    if health.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: the caches are not filled, or the Lease cannot be read\n",
        )
    }
}
