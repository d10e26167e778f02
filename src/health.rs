//! Probes and metrics of the controller.
//!
//! `/livez` fails where only a restart helps: the process hangs. It does not fail because the API server or a platform
//! is away. `/readyz` says whether this process does its part: as the leader with all caches filled, or as a standby
//! that could take over.

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

use crate::server::connections::{Bounded, Checked, Contradictory};
use watchdog::Watchdog;

/// Connections at once, and those of one network: kubelet and Prometheus need one each for a moment.
const CONNECTIONS: usize = 32;
const SHARE: usize = 16;
/// How long a connection may take to say what it wants, and an answer to be there.
const REQUEST: Duration = Duration::from_secs(10);
/// Longest head of a request in bytes.
const HEAD: usize = 16 * 1024;

/// The state that the probes report.
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

    /// From now on the probes report `health`.
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
        // A connection for each request: an idle client holds none.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;

    use super::watchdog::Watchdog;
    use super::{Health, Probes, REQUEST, SHARE};

    const SOON: Duration = Duration::from_secs(20);

    struct Ready;

    impl Health for Ready {
        fn ready(&self) -> Result<&'static str, &'static str> {
            Ok("leads")
        }
        fn metrics(&self) -> String {
            "# EOF\n".to_owned()
        }
    }

    async fn connect(from: [u8; 4], to: std::net::SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((IpAddr::from(from), 0).into()).unwrap();
        socket.connect(to).await.unwrap()
    }

    /// What is said to raw bytes, until the connection is closed.
    async fn said(stream: &mut TcpStream, bytes: &str) -> String {
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut reply = String::new();
        timeout(SOON, stream.read_to_string(&mut reply))
            .await
            .unwrap()
            .unwrap();
        reply
    }

    /// Connections that never finish their request have their share for a while, and a probe is answered meanwhile.
    #[tokio::test]
    async fn slow_connections_do_not_stop_a_probe() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let probes = Arc::new(Probes::new(Arc::new(Watchdog::new(SOON))));
        probes.ask(Arc::new(Ready));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(probes.serve(listener, stop.clone()));
        let mut slow = Vec::new();
        for _ in 0..2 * SHARE {
            let mut stream = connect([127, 0, 0, 9], address).await;
            // It may be closed already.
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: ").await;
            slow.push(stream);
        }
        for stream in &mut slow[SHARE..] {
            let closed = timeout(SOON, stream.read(&mut [0; 1])).await.unwrap();
            assert!(matches!(closed, Ok(0) | Err(_)), "more than a share");
        }
        // Kept by no client: the answer ends the connection.
        let mut probe = connect([127, 0, 0, 1], address).await;
        let reply = said(&mut probe, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(
            reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("ok: leads\n"),
            "{reply}"
        );
        let mut both = connect([127, 0, 0, 1], address).await;
        let lengths = "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let reply = said(&mut both, lengths).await;
        assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
        for stream in &mut slow[..SHARE] {
            let end = timeout(REQUEST + SOON, stream.read(&mut [0; 64])).await;
            assert!(matches!(end.unwrap(), Ok(0) | Err(_)), "its time is over");
        }
        stop.cancel();
        timeout(SOON, serving).await.unwrap().unwrap();
    }
}
