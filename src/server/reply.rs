//! Answers and refusals, in the platform's envelopes.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::limit::Allowance;
use crate::platform::{ErrorItem, format_time};

/// A successful answer.
pub(super) enum Output {
    /// Objects of a kind.
    Items(&'static str, Vec<Value>),
    /// An object that must not be kept by anybody on the way: it holds a token.
    Secret(&'static str, Value),
    /// Status alone.
    Done,
}

/// A refusal.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) field: Option<String>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            field: None,
        }
    }

    /// A body or query that breaks a rule; `field` is a dotted path.
    pub(super) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "ValidationError",
            message: message.into(),
            field: Some(field.to_owned()),
        }
    }

    pub(super) fn required(field: &str) -> Self {
        let name = field.rsplit('.').next().unwrap_or(field);
        Self::invalid(field, format!("\"{name}\" is required"))
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    /// The same words for a token that never existed and for one that was revoked.
    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "UNAUTHORIZED",
            "the token is missing, unknown or revoked",
        )
    }

    /// The one place that says how a missing object is answered.
    pub(super) fn missing(code: &'static str, what: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, format!("{what} {id} does not exist"))
    }
}

/// Details stay in the log: an error of the store may quote what it was given.
impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "the store failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL",
            "the platform failed; try again",
        )
    }
}

/// What a request was, for the `request` part of the envelope.
pub(super) struct About<'a> {
    pub(super) id: &'a str,
    pub(super) url: &'a str,
    pub(super) method: &'a str,
    pub(super) allowance: Allowance,
}

/// The HTTP response for an outcome.
pub(super) fn respond(about: &About, outcome: Result<Output, Failure>) -> Response<Body> {
    let status = outcome.as_ref().map_or_else(|f| f.status, |_| StatusCode::OK);
    let line = json!({"code": status.as_u16(), "message": status.canonical_reason().unwrap_or_default()});
    let secret = matches!(outcome, Ok(Output::Secret(..)));
    let response = match outcome {
        Ok(Output::Items(kind, items)) => {
            json!({"status": line, "kind": kind, "count": items.len(), "items": items})
        }
        Ok(Output::Secret(kind, item)) => json!({"status": line, "kind": kind, "count": 1, "items": [item]}),
        Ok(Output::Done) => json!({"status": line}),
        Err(failure) if status == StatusCode::TOO_MANY_REQUESTS => {
            json!({"status": line, "data": failure.message})
        }
        Err(Failure {
            code, message, field, ..
        }) => {
            json!({"status": line, "errors": [ErrorItem { code: code.to_owned(), message, field }]})
        }
    };
    let body = json!({
        "request": {"id": about.id, "url": about.url, "method": about.method, "timestamp": format_time(Timestamp::now())},
        "response": response,
    });
    let mut reply = Response::new(Body::from(body.to_string()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if secret {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    about.allowance.write(headers);
    reply
}
