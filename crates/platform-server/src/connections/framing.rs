//! Finds requests with both `Content-Length` and `Transfer-Encoding`. Hyper goes by the latter and removes the former before
//! a handler sees the request; a proxy before us may have gone by the other one, and take the rest for another request.
//!
//! The lines that begin with `Content-Length:` are counted in what is read from a connection. A request that hyper shows with
//! that header has taken one of them. If there is one left when a request with `Transfer-Encoding` comes, the two are of the
//! same request, or the client has sent a second request before the answer to the first one: both are refused.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::http::{Request, header};
use axum_server::accept::Accept;
use futures::future::BoxFuture;
use tokio::io::AsyncRead;
use tokio_util::io::InspectReader;
use tower::Service;

use super::OnRead;

/// In the extensions of a request whose length is given in two ways.
#[derive(Debug, Clone, Copy)]
pub struct Contradictory;

const NAME: &[u8] = b"content-length:";

/// Lines that no request has taken yet.
type Lines = Arc<AtomicUsize>;

/// Counts the lines of connections that another acceptor has let in.
#[derive(Debug, Clone)]
pub struct Checked<A>(pub A);

impl<A, I, S> Accept<I, S> for Checked<A>
where
    A: Accept<I, S>,
    A::Stream: AsyncRead,
    A::Future: Send + 'static,
{
    type Stream = InspectReader<A::Stream, OnRead>;
    type Service = Marking<A::Service>;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let inner = self.0.accept(stream, service);
        Box::pin(async move {
            let (stream, service) = inner.await?;
            let lines = Lines::default();
            let (mut found, counter) = (Found::default(), lines.clone());
            let count: OnRead = Box::new(move |bytes| {
                counter.fetch_add(found.count(bytes), Ordering::Relaxed);
            });
            Ok((InspectReader::new(stream, count), Marking { service, lines }))
        })
    }
}

/// How much of [`NAME`] the current line begins with; nothing once it differs.
#[derive(Debug)]
struct Found(Option<usize>);

impl Default for Found {
    fn default() -> Self {
        Self(Some(0))
    }
}

impl Found {
    /// How many lines with the name there are in what comes next.
    fn count(&mut self, bytes: &[u8]) -> usize {
        let mut lines = 0;
        for byte in bytes {
            self.0 = match self.0 {
                _ if *byte == b'\n' => Some(0),
                Some(at) if byte.eq_ignore_ascii_case(&NAME[at]) => {
                    if at + 1 < NAME.len() {
                        Some(at + 1)
                    } else {
                        lines += 1;
                        None
                    }
                }
                _ => None,
            };
        }
        lines
    }
}

/// Marks the requests of a connection that are [`Contradictory`].
#[derive(Debug, Clone)]
pub struct Marking<S> {
    service: S,
    lines: Lines,
}

impl<S, B> Service<Request<B>> for Marking<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let has = |name| request.headers().contains_key(name);
        let left = self.lines.load(Ordering::Relaxed);
        if has(header::TRANSFER_ENCODING) {
            if left > 0 {
                request.extensions_mut().insert(Contradictory);
            }
        } else if has(header::CONTENT_LENGTH) {
            // A connection of HTTP/2 has no lines.
            self.lines.store(left.saturating_sub(1), Ordering::Relaxed);
        }
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::Found;

    /// However the bytes come.
    #[test]
    fn lines_are_found_across_reads() {
        let text = b"POST / HTTP/1.1\r\nhost: x\r\nCONTENT-length: 3\r\nx: content-length: 4\r\ncontent-lengthy: 5\n\
            content-length:6\n\n content-length: 7\r\n\r\n{}";
        for size in 1..text.len() {
            let mut found = Found::default();
            let lines: usize = text.chunks(size).map(|part| found.count(part)).sum();
            assert_eq!(lines, 2, "{size}");
        }
    }
}
