//! What is known of a request before its caller is authenticated, and audit rows of refusals.

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, Uri, header};

use crate::peer::Peer;
use crate::store::audit;
use crate::store::batch::Batch;
use crate::{App, secret};

/// Bucket of the rate limit for callers without a valid credential, so that they cannot use up the organization's.
pub(crate) const ANONYMOUS: &str = "anonymous";

/// The id of a request, in its extensions.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// The authenticated caller, for the request log.
#[derive(Debug, Clone)]
pub(crate) struct Actor(pub(crate) String);

/// What is known of a request before its caller is authenticated.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext {
    pub(crate) request_id: String,
    pub(crate) method: String,
    /// Path without what could be a token.
    pub(crate) url: String,
    pub(crate) agent: String,
    pub(crate) peer: Option<Peer>,
    /// The same, written.
    from: Option<String>,
}

impl RequestContext {
    pub(crate) fn of(request: &Request) -> Self {
        Self::new(
            request.headers(),
            request.extensions(),
            request.method(),
            request.uri(),
        )
    }

    /// The same for a request without its body.
    pub(crate) fn of_parts(parts: &Parts) -> Self {
        Self::new(&parts.headers, &parts.extensions, &parts.method, &parts.uri)
    }

    fn new(headers: &HeaderMap, extensions: &Extensions, method: &Method, uri: &Uri) -> Self {
        let agent = headers
            .get(header::USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let id = extensions.get::<RequestId>();
        let peer = Peer::of(extensions);
        Self {
            request_id: id.map(|id| id.0.clone()).unwrap_or_default(),
            method: method.to_string(),
            url: secret::redact(uri.path()),
            agent: secret::redact(agent),
            peer,
            from: peer.map(|peer| peer.to_string()),
        }
    }

    /// The part of an audit row that the request gives.
    pub(crate) fn event(&self) -> audit::Event<'_> {
        audit::Event {
            agent: &self.agent,
            method: &self.method,
            url: &self.url,
            request_id: &self.request_id,
            peer: self.from.as_deref(),
            actor_type: ANONYMOUS,
            ..audit::Event::default()
        }
    }
}

/// Adds an audit row by itself. The answer does not wait for a broken disk: it is a refusal anyway.
pub(crate) async fn write(app: &App, event: &audit::Event<'_>) {
    let mut batch = Batch::default();
    audit::add(&mut batch, event);
    if let Err(error) = app.store.record(batch).await {
        app.metrics.unrecorded();
        tracing::error!(%error, request = event.request_id, "an audit row was not written");
    }
}
