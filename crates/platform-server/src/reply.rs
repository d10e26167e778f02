//! Answers of handlers, and the one function that puts them into the envelope.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use platform_api::{Envelope, ErrorItem, Reply, RequestInfo, StatusLine};

/// What a missing object is answered with. The real service is not known to differ between 400 and 404 here.
const MISSING: StatusCode = StatusCode::NOT_FOUND;

/// `Retry-After` in seconds when the hashing queue is full: it is empty by then.
pub(super) const BUSY_FOR: &str = "5";

#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// Status only: mappings, updates and deletions.
    Done,
    /// Objects of a kind.
    Items(&'static str, Vec<Value>),
}

impl Answer {
    /// The objects as the wire types write them.
    pub(super) fn list<T: Serialize>(kind: &'static str, items: &[T]) -> Result<Self, ApiError> {
        let items = items.iter().map(serde_json::to_value).collect::<Result<_, _>>();
        items
            .map(|items| Self::Items(kind, items))
            .map_err(|_| ApiError::Internal("an answer cannot be written"))
    }

    pub(super) fn one(kind: &'static str, item: Value) -> Self {
        Self::Items(kind, vec![item])
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("the request is not valid")]
    Invalid(Vec<ErrorItem>),
    /// The request names something in its body or query that does not exist.
    #[error("{1}")]
    Unknown(&'static str, String, String),
    /// The object of the path does not exist.
    #[error("{1}")]
    Missing(&'static str, String),
    /// The request contradicts what there is.
    #[error("{1}")]
    Conflict(&'static str, String),
    #[error("{0}")]
    Unauthorized(&'static str),
    #[error("{0}")]
    Forbidden(String),
    #[error("rate limit exceeded")]
    RateLimited,
    /// Too many passwords wait to be hashed.
    #[error("too many sign-ins at once")]
    Busy,
    #[error("the store failed: {0}")]
    Store(#[from] sqlx::Error),
    /// Something that should not happen.
    #[error("{0}")]
    Internal(&'static str),
}

impl From<super::Error> for ApiError {
    fn from(_: super::Error) -> Self {
        Self::Internal("no randomness or no password hash")
    }
}

impl ApiError {
    /// One word for log and audit.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "Invalid",
            Self::Unknown(..) => "UnknownReference",
            Self::Missing(..) => "NotFound",
            Self::Conflict(..) => "Conflict",
            Self::Unauthorized(_) => "Unauthorized",
            Self::Forbidden(_) => "Forbidden",
            Self::RateLimited => "RateLimited",
            Self::Busy => "Busy",
            Self::Store(_) => "StoreFailed",
            Self::Internal(_) => "Internal",
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::Unknown(..) | Self::Conflict(..) => StatusCode::BAD_REQUEST,
            Self::Missing(..) => MISSING,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::RateLimited | Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Store(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn items(self) -> Vec<ErrorItem> {
        let item = |code: &str, message: String, field| {
            vec![ErrorItem {
                code: code.into(),
                message,
                field,
            }]
        };
        match self {
            Self::Invalid(items) => items,
            Self::Unknown(code, message, field) => item(code, message, Some(field)),
            Self::Missing(code, message) | Self::Conflict(code, message) => item(code, message, None),
            Self::Unauthorized(message) => item("UNAUTHORIZED", message.into(), None),
            Self::Forbidden(message) => item("FORBIDDEN", message, None),
            Self::RateLimited | Self::Busy => Vec::new(),
            Self::Store(_) | Self::Internal(_) => item(
                "INTERNAL_ERROR",
                "The platform failed; the request id finds it in its log".into(),
                None,
            ),
        }
    }
}

/// The answer of a handler, in the extensions of its response, for [`finish`].
#[derive(Debug, Clone)]
enum Outcome {
    Answer(Answer),
    Errors(Vec<ErrorItem>),
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = StatusCode::OK.into_response();
        response.extensions_mut().insert(Outcome::Answer(self));
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Store(_) | Self::Internal(_) = &self {
            tracing::error!(reason = self.reason(), error = %self, "request failed");
        }
        let mut response = self.status().into_response();
        if matches!(self, Self::Busy) {
            let wait = HeaderValue::from_static(BUSY_FOR);
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        response.extensions_mut().insert(Outcome::Errors(self.items()));
        response
    }
}

/// Gives a response its body. Whatever did not come from our handlers (routing, body limit, time limit, a panic)
/// gets an error of its status, because clients fail on anything that is not an envelope.
pub(super) fn finish(mut response: Response, request: RequestInfo) -> Response {
    let outcome = response.extensions_mut().remove::<Outcome>();
    let code = match &outcome {
        // A success that is not ours would be a body that we are about to throw away.
        None if response.status().is_success() => StatusCode::INTERNAL_SERVER_ERROR,
        _ => response.status(),
    };
    let mut reply = Reply {
        status: StatusLine {
            code: code.as_u16(),
            message: code.canonical_reason().unwrap_or("Unknown").to_owned(),
        },
        kind: None,
        items: None,
        count: None,
        errors: None,
        data: None,
    };
    match outcome {
        Some(Outcome::Answer(Answer::Done)) => {}
        Some(Outcome::Answer(Answer::Items(kind, items))) => {
            reply.kind = Some(kind.to_owned());
            reply.count = Some(items.len());
            reply.items = Some(items);
        }
        _ if code == StatusCode::TOO_MANY_REQUESTS => reply.data = Some("Rate limit exceeded".to_owned()),
        Some(Outcome::Errors(errors)) => reply.errors = Some(errors),
        None => reply.errors = Some(vec![foreign(code)]),
    }
    let body = serde_json::to_vec(&Envelope {
        request: Some(request),
        response: reply,
    })
    .unwrap_or_default();
    let (mut parts, _) = response.into_parts();
    parts.status = code;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    Response::from_parts(parts, body.into())
}

fn foreign(code: StatusCode) -> ErrorItem {
    let (word, message) = match code {
        StatusCode::NOT_FOUND => ("NOT_FOUND", "There is no such route"),
        StatusCode::METHOD_NOT_ALLOWED => ("METHOD_NOT_ALLOWED", "This route does not take this method"),
        StatusCode::PAYLOAD_TOO_LARGE => ("PAYLOAD_TOO_LARGE", "The body is too large"),
        StatusCode::REQUEST_TIMEOUT => ("REQUEST_TIMEOUT", "The request took too long"),
        c if c.is_client_error() => ("BAD_REQUEST", "The request cannot be read"),
        _ => (
            "INTERNAL_ERROR",
            "The platform failed; the request id finds it in its log",
        ),
    };
    ErrorItem {
        code: word.into(),
        message: message.into(),
        field: None,
    }
}
