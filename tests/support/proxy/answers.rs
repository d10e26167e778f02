//! Answers that the other side never gave.

use std::convert::Infallible;
use std::time::Duration;

use futures::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::fault::Lie;

/// Any error of a body.
pub type Fails = Box<dyn std::error::Error + Send + Sync>;
/// What the proxy answers with.
pub type Answer = Response<UnsyncBoxBody<Bytes, Fails>>;

/// A whole body.
#[must_use]
pub fn whole(bytes: Bytes) -> UnsyncBoxBody<Bytes, Fails> {
    Full::new(bytes)
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(whole(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    let json = "application/json".parse().expect("a media type");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// A refusal as the API server words it.
#[must_use]
pub fn kubernetes(code: u16) -> Answer {
    kubernetes_saying(code, "a fault of the test")
}

/// The same, in these words.
#[must_use]
pub fn kubernetes_saying(code: u16, words: &str) -> Answer {
    let status = StatusCode::from_u16(code).expect("a status code");
    let reason = match code {
        403 => "Forbidden",
        409 => "Conflict",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "Unknown",
    };
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": words, "reason": reason, "code": code});
    let mut answer = json_answer(status, &body);
    if matches!(code, 429 | 503) {
        answer
            .headers_mut()
            .insert(RETRY_AFTER, "1".parse().expect("a number"));
    }
    answer
}

/// A refusal as the platform words it.
#[must_use]
pub fn platform(code: u16) -> Answer {
    platform_saying(code, "a fault of the test")
}

/// The same, in these words.
#[must_use]
pub fn platform_saying(code: u16, words: &str) -> Answer {
    let status = StatusCode::from_u16(code).expect("a status code");
    let line = json!({"code": code, "message": status.canonical_reason().unwrap_or_default()});
    let errors = json!([{"code": "FAULT", "message": words}]);
    let body = if code == 429 {
        json!({"response": {"status": line, "data": "Rate limit exceeded"}})
    } else {
        json!({"response": {"status": line, "errors": errors}})
    };
    let mut answer = json_answer(status, &body);
    if code == 429 {
        let reset = HeaderName::from_static("x-ratelimit-reset");
        answer.headers_mut().insert(reset, "1".parse().expect("a number"));
    }
    answer
}

/// The platform's good answer made a bad one.
#[must_use]
pub fn lie(lie: Lie, good: Answer, bytes: &Bytes) -> Answer {
    let (mut parts, _) = good.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    let half = bytes.slice(..bytes.len() / 2);
    let body = match lie {
        Lie::Missing => return platform(404),
        Lie::NoItems => {
            return json_answer(
                StatusCode::OK,
                &json!({"response": {"status": {"code": 200, "message": "OK"}}}),
            );
        }
        Lie::Html => whole(Bytes::from_static(
            b"<!doctype html><title>Be right back</title><p>We are upgrading.",
        )),
        Lie::FarFuture => {
            let end = HeaderValue::from_static("Thu, 31 Dec 9998 23:59:59 GMT");
            parts.headers.insert(DATE, end);
            whole(bytes.clone())
        }
        Lie::Padded(size) => {
            let mut list: Value = serde_json::from_slice(bytes).unwrap_or_default();
            let field = if list["response"]["items"][0]["policyContent"].is_null() {
                "padding"
            } else {
                "policyContent"
            };
            list["response"]["items"][0][field] = "@".into();
            let zeros = format!("[{}0]", "0,".repeat(size / 2));
            whole(Bytes::from(list.to_string().replace("\"@\"", &zeros)))
        }
        Lie::Truncated => whole(half),
        Lie::Unfinished => whole(bytes.slice(..bytes.len().saturating_sub(1))),
        Lie::LacksNewest => {
            let mut list: Value = serde_json::from_slice(bytes).unwrap_or_default();
            if let Some(items) = list["response"]["items"].as_array_mut() {
                items.pop();
            }
            whole(Bytes::from(list.to_string()))
        }
        Lie::Slow => {
            let chunks: Vec<Bytes> = (0..bytes.len())
                .step_by(bytes.len().div_ceil(8).max(1))
                .map(|i| bytes.slice(i..(i + bytes.len().div_ceil(8)).min(bytes.len())))
                .collect();
            trickle(chunks, false)
        }
        Lie::Stalls => trickle(vec![half], true),
    };
    Response::from_parts(parts, body)
}

/// Piece by piece, and then perhaps never the end.
fn trickle(pieces: Vec<Bytes>, stalls: bool) -> UnsyncBoxBody<Bytes, Fails> {
    let pieces = futures::stream::iter(pieces).then(|piece| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(Frame::data(piece))
    });
    let end = futures::stream::once(std::future::pending::<Result<Frame<Bytes>, Fails>>());
    if stalls {
        StreamBody::new(pieces.chain(end)).boxed_unsync()
    } else {
        StreamBody::new(pieces).boxed_unsync()
    }
}
