//! The outermost layer: gives every request an id, every reply its form, and writes the request log.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use super::auth::context::{Actor, RequestId};
use super::limit;
use super::metrics::Route;
use super::validate::{NUL, invalid};
use super::{App, console, metrics, reply, routes, secret};
use crate::connections::Contradictory;
use platform_api::{RequestInfo, format_time};

/// The longest that a request may take, its body included.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that the platform answers.
pub(super) fn service(app: App) -> Router {
    let numbers = Router::new().route(metrics::PATH, get(metrics::show));
    let api = routes::api(app.clone());
    let inner = api
        .clone()
        .merge(console::pages(app.clone(), api))
        .merge(numbers.with_state(app.clone()))
        .layer(DefaultBodyLimit::max(app.body_limit))
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            PATIENCE,
        ));
    // The inner router as a fallback, because the edge rewrites paths before they are routed.
    Router::new()
        .fallback_service(inner)
        .layer(middleware::from_fn_with_state(app, request_layer))
}

async fn request_layer(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let Ok(id) = secret::uuid() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", axum::http::uri::PathAndQuery::as_str)
        .to_owned();
    let info = RequestInfo {
        id: id.clone(),
        url: target.clone(),
        method: request.method().to_string(),
        timestamp: format_time(Timestamp::now()),
    };
    let verb = request.method().clone();
    let path = secret::redact(request.uri().path());
    let method = info.method.clone();
    if let Some(uri) = normal(request.uri()) {
        *request.uri_mut() = uri;
    }
    let is_page = console::is_page(request.uri().path());
    request.extensions_mut().insert(RequestId(id.clone()));

    let mut response = match refuse(&request, &target) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let actor = response.extensions_mut().remove::<Actor>();
    let route = match response.extensions_mut().remove::<Route>() {
        Some(Route(route)) => route,
        None if is_page => "console",
        None => "other",
    };
    if !is_page && route != metrics::PATH {
        response = reply::finish(response, info);
        if let Some(allowance) = app.limiter.untouched()
            && !response.headers().contains_key(&limit::LIMIT)
        {
            allowance.write_headers(&mut response);
        }
    }
    harden(&app, &mut response, is_page);
    app.metrics
        .answered(&verb, route, response.status(), started.elapsed());
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        request = id,
        method,
        path,
        status = response.status().as_u16(),
        actor = actor.as_ref().map_or("", |a| a.0.as_str()),
        milliseconds,
        "request"
    );
    response
}

/// The refusal of a request that nothing behind the edge may see.
fn refuse(request: &Request, target: &str) -> Option<Response> {
    if target.contains("%00") {
        return Some(invalid("url", NUL).into_response());
    }
    request.extensions().get::<Contradictory>()?;
    let what = "must not be sent with Transfer-Encoding";
    let mut response = invalid("headers.Content-Length", what).into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    Some(response)
}

/// Security headers of every reply: no caching, no content sniffing, no frames, no referrer.
fn harden(app: &App, response: &mut Response, is_page: bool) {
    let policy = if is_page {
        console::POLICY
    } else {
        "default-src 'none'; frame-ancestors 'none'"
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    if app.is_tls {
        let year = HeaderValue::from_static("max-age=31536000");
        response
            .headers_mut()
            .insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
}

/// Another spelling of the path, if it is not the one that is routed: clients differ in the trailing slash and in
/// the case of the mappings.
fn normal(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    let (head, last) = trimmed.rsplit_once('/')?;
    let spelled = ["policyMapping", "userGroupMapping", "userMapping"];
    let last = spelled
        .into_iter()
        .find(|s| s.eq_ignore_ascii_case(last))
        .unwrap_or(last);
    let wanted = format!("{head}/{last}");
    if wanted == path {
        return None;
    }
    let target = uri
        .query()
        .map_or_else(|| wanted.clone(), |query| format!("{wanted}?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn spellings() {
        let to = |s: &str| normal(&s.parse().unwrap_or_default()).map(|u| u.to_string());
        assert_eq!(to("/setup/user/?a=b").as_deref(), Some("/setup/user?a=b"));
        assert_eq!(
            to("/setup/user/pu-1/PolicyMapping").as_deref(),
            Some("/setup/user/pu-1/policyMapping")
        );
        assert_eq!(to("/setup/user"), None);
        assert_eq!(to("/"), None);
    }
}
