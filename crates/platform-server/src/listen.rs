//! Listens, by TLS if that is wanted, and ends without losing an answer.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};

use super::Error;
use super::metrics::Metrics;
use crate::connections::{Bounded, Checked};

/// How long a shutdown waits for requests that are under way.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a connection may take to say what it wants.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// How long a connection may be without a request, or take to send the head of the next one. Longer than clients keep one
/// that they do not use (90 s in `reqwest` and in Go): a POST that is sent as we close is not sent again.
const NEXT_REQUEST: Duration = Duration::from_mins(2);
/// Longest head of a request in bytes.
const HEAD: usize = 128 * 1024;
/// How often a connection of HTTP/2, where requests share one, is asked whether its client is still there.
const PING: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct Tls {
    /// PEM: the server's certificate, then those that lead to its issuer.
    pub certificate: PathBuf,
    /// PEM, PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
    /// Interval between reads of the files: new connections use a renewed pair.
    pub reload: Duration,
}

/// What was read from the files of a [`Tls`].
#[derive(PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
}

impl Tls {
    async fn read(&self) -> Result<Pair, Error> {
        let failed = |path: &PathBuf| {
            let path = path.clone();
            move |source| Error::Certificate { path, source }
        };
        let certificate = tokio::fs::read(&self.certificate)
            .await
            .map_err(failed(&self.certificate))?;
        let key = tokio::fs::read(&self.key).await.map_err(failed(&self.key))?;
        Ok(Pair {
            certificate,
            key: key.into(),
        })
    }

    /// The pair in the files, checked.
    pub(super) async fn load(self) -> Result<Loaded, Error> {
        let pair = self.read().await?;
        let config = RustlsConfig::from_pem(pair.certificate.clone(), pair.key.to_vec()).await;
        let config = config.map_err(|source| Error::Certificate {
            path: self.certificate.clone(),
            source,
        })?;
        Ok(Loaded {
            files: self,
            pair,
            config,
        })
    }
}

pub(super) struct Loaded {
    files: Tls,
    pair: Pair,
    config: RustlsConfig,
}

impl Loaded {
    /// Takes what is in the files, again and again. While that is no pair, the last one stays in use.
    async fn renew(mut self, metrics: &Metrics) {
        loop {
            tokio::time::sleep(self.files.reload).await;
            let Ok(pair) = self.files.read().await else {
                tracing::warn!("certificate or key cannot be read; those read before stay in use");
                continue;
            };
            if pair == self.pair {
                continue;
            }
            let (certificate, key) = (pair.certificate.clone(), pair.key.to_vec());
            match self.config.reload_from_pem(certificate, key).await {
                Ok(()) => {
                    tracing::info!("certificate and key were renewed");
                    metrics.renewed("renewed");
                }
                // Also in between the two files' changes.
                Err(error) => {
                    tracing::warn!(%error, "certificate and key cannot be used; those before stay in use");
                    metrics.renewed("unusable");
                }
            }
            self.pair = pair;
        }
    }
}

pub(super) struct Listening {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Loaded>,
    pub(super) max_connections: usize,
}

/// Closes a connection that does not say what it wants, the first time or, after `next_request`, any later time, and those
/// that are too many.
fn server(
    listener: TcpListener,
    next_request: Duration,
    bounded: Bounded,
) -> std::io::Result<Server<SocketAddr, Checked<Bounded>>> {
    let mut server = axum_server::from_tcp(listener)?
        .first_request_timeout(FIRST_REQUEST)
        .acceptor(Checked(bounded));
    let protocols = server.http_builder();
    protocols
        .http1()
        .header_read_timeout(next_request)
        .max_buf_size(HEAD);
    protocols.http2().keep_alive_interval(PING);
    Ok(server)
}

/// Answers until `shutdown` resolves. Then it accepts no more connections, and requests under way have [`DRAIN`] to end.
pub(super) async fn serve(
    listening: Listening,
    service: Router,
    metrics: &Metrics,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let handle = Handle::new();
    let most = listening.max_connections;
    let bounded = Bounded::new(most, most.div_ceil(2));
    let server = server(listening.listener, NEXT_REQUEST, bounded.clone())
        .map_err(Error::Serve)?
        .handle(handle.clone());
    let stopping = async {
        shutdown.await;
        tracing::info!("no new connections; requests under way may end");
        handle.graceful_shutdown(Some(DRAIN));
        std::future::pending::<()>().await;
    };
    let service = service.into_make_service_with_connect_info::<SocketAddr>();
    let serving = async {
        let Some(tls) = listening.tls else {
            return server.serve(service).await;
        };
        // Before the handshake, which takes time, for both sides.
        let acceptor = RustlsAcceptor::new(tls.config.clone()).acceptor(bounded);
        let server: Server<_, _> = server.acceptor(Checked(acceptor));
        tokio::select! {
            result = server.serve(service) => result,
            () = tls.renew(metrics) => Ok(()),
        }
    };
    tokio::select! {
        result = serving => result.map_err(Error::Serve),
        () = stopping => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    /// Whether nothing comes any more, or only half of a request.
    #[tokio::test]
    async fn a_connection_is_closed_also_after_its_first_request() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let server = server(listener, Duration::from_millis(500), Bounded::new(8, 8)).unwrap();
        let service = Router::new().route("/", get(async || "here"));
        let serving = tokio::spawn(server.serve(service.into_make_service()));
        for next in ["", "GET / HTTP/1.1\r\nhost: "] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let mut buffer = [0; 1024];
            for _ in 0..2 {
                stream
                    .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                    .await
                    .unwrap();
                let read = stream.read(&mut buffer).await.unwrap();
                assert!(
                    buffer[..read].ends_with(b"here"),
                    "{next}: it is kept for the next"
                );
            }
            stream.write_all(next.as_bytes()).await.unwrap();
            let end = timeout(Duration::from_secs(10), stream.read(&mut buffer)).await;
            assert_eq!(end.unwrap().unwrap(), 0, "{next}");
        }
        serving.abort();
    }
}
