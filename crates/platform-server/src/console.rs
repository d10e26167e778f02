//! The console: server-rendered pages for console users. Programmatic users have no access to it.

mod client;
mod form;
mod own;
mod page;
mod programmatic;
mod settings;
mod sign_in;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};

use super::auth::context::{ANONYMOUS, RequestContext, write};
use super::auth::session::{cookie_name, session_cookie};
use super::auth::{Caller, bearer};
use super::limit::Allowance;
use super::reply::{self, ApiError};
use super::store::batch::Batch;
use super::store::requests::Key;
use super::store::sign_in as store;
use super::store::{Connection, audit, credentials};
use super::{App, refusals, secret};
use client::{Api, Client};

const SIGN_IN: &str = "/console/sign-in";
const STYLE: &str = include_str!("console/style.css");
const SCRIPT: &str = include_str!("console/copy.js");

/// The console's routes.
/// `api` is where they send their calls.
pub(super) fn pages(app: App, api: Router) -> Router {
    Router::new()
        .route("/console", get(home))
        .route(SIGN_IN, get(sign_in::form).post(sign_in::sign_in_with_password))
        .route("/console/sign-out", post(sign_in::sign_out))
        .merge(settings::pages())
        .merge(own::pages())
        .route("/console/{*rest}", get(nothing).post(nothing))
        .layer(Extension(Api(api)))
        .route_layer(middleware::from_fn_with_state(app.clone(), browser_only))
        .route("/console/style.css", get(style))
        .route("/console/copy.js", get(script))
        .with_state(app)
}

/// Whether a path is a page, not a route of the API.
pub(super) fn is_page(path: &str) -> bool {
    path == "/console" || path.starts_with("/console/")
}

/// One script of our own, no frames, nothing from elsewhere.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Sets a cookie, for the whole site as its name may demand; the API has to see that of a session to refuse it in clear words.
fn set_cookie(app: &App, response: &mut Response, name: &str, value: &str, seconds: i64) {
    let secure = if app.secure_cookies { "; Secure" } else { "" };
    let name = cookie_name(app, name);
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// Refuses requests with a token.
async fn browser_only(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(value) = request.headers().get(header::AUTHORIZATION) else {
        return next.run(request).await;
    };
    // All methods share one count.
    if is_flooded(&app, ANONYMOUS, "*", "/console").await {
        return too_many();
    }
    let context = RequestContext::of(&request);
    let token = value
        .to_str()
        .ok()
        .and_then(bearer)
        .unwrap_or_default()
        .to_owned();
    match holder(&app, &token).await {
        Ok((holder, is_valid)) => refuse_token(&app, &context, holder.as_ref(), is_valid).await,
        Err(error) => failed(&error),
    }
}

/// Whether a caller has used up the rate limit of a console route whose refusals cost a write each.
async fn is_flooded(app: &App, caller: &str, method: &'static str, route: &'static str) -> bool {
    let caller = caller.to_owned();
    let key = Key {
        caller,
        method,
        route,
    };
    blocked(app.limiter.count(&app.store, key).await)
}

fn blocked(counted: Result<Option<Allowance>, sqlx::Error>) -> bool {
    match counted {
        Ok(allowance) => allowance.is_some_and(|a| a.blocked),
        Err(error) => {
            tracing::error!(%error, "requests of the console cannot be counted");
            true
        }
    }
}

fn too_many() -> Response {
    let what = "Too many requests. Wait a minute, and try again.";
    let wait = [(header::RETRY_AFTER, "60")];
    (
        StatusCode::TOO_MANY_REQUESTS,
        wait,
        page::message("Refused", what),
    )
        .into_response()
}

/// The answer when the hashing queue is full.
fn busy() -> Response {
    let what = "Too many people sign in at this moment. Wait some seconds, and try again.";
    let wait = [(header::RETRY_AFTER, reply::BUSY_FOR)];
    (
        StatusCode::TOO_MANY_REQUESTS,
        wait,
        page::message("Refused", what),
    )
        .into_response()
}

/// The holder, or former holder, of a token for the audit log, and whether the token is valid: a revoked one gets the answer
/// of an unknown one.
async fn holder(app: &App, token: &str) -> Result<(Option<Caller>, bool), ApiError> {
    let mut tx = app.store.read().await?;
    let hash = secret::digest(token);
    let owner = credentials::owner(&mut tx, &hash).await?;
    if let Some(caller) = owner.as_ref().map(Caller::by_token) {
        return Ok((Some(caller), true));
    }
    let former = credentials::former_owner(&mut tx, &hash).await?;
    Ok((former.as_ref().map(Caller::by_token), false))
}

async fn refuse_token(
    app: &App,
    context: &RequestContext,
    holder: Option<&Caller>,
    is_valid: bool,
) -> Response {
    let is_person = is_valid && holder.is_some_and(|h| h.kind == "ui");
    let answer = (StatusCode::FORBIDDEN, page::no_access(is_person)).into_response();
    if is_valid {
        record(app, context, holder, "openConsole", StatusCode::FORBIDDEN).await;
    } else {
        record_stranger(app, context, holder, "openConsole", StatusCode::FORBIDDEN).await;
    }
    answer
}

/// Records a refusal of a caller with a valid credential.
async fn record(app: &App, context: &RequestContext, who: Option<&Caller>, action: &str, status: StatusCode) {
    write(app, &event(context, who, action, status)).await;
}

/// Records a refusal without a valid credential; `who` is the user that it concerns.
async fn record_stranger(
    app: &App,
    context: &RequestContext,
    who: Option<&Caller>,
    action: &str,
    status: StatusCode,
) {
    refusals::record(app, context, &event(context, who, action, status), "/console").await;
}

/// Records a change, in its transaction.
async fn audit(
    conn: &mut Connection,
    context: &RequestContext,
    who: &Caller,
    action: &str,
) -> Result<(), sqlx::Error> {
    let mut batch = Batch::default();
    audit::add(&mut batch, &event(context, Some(who), action, StatusCode::OK));
    batch.execute(conn).await
}

fn event<'a>(
    context: &'a RequestContext,
    who: Option<&'a Caller>,
    action: &'a str,
    status: StatusCode,
) -> audit::Event<'a> {
    let mut event = context.event();
    event.actor_name = "anonymous";
    if let Some(who) = who {
        who.sign(&mut event);
    }
    // A token comes here by the API's header, but to the console.
    event.source = "UI";
    event.action = action;
    event.resource_type = "console";
    event.result = if status.as_u16() < 400 {
        "success"
    } else {
        "refused"
    };
    event.status = status.as_u16();
    event
}

fn failed(error: &ApiError) -> Response {
    tracing::error!(reason = error.reason(), %error, "a page failed");
    let what = "The platform failed. The request is in its log.";
    (StatusCode::INTERNAL_SERVER_ERROR, page::message("Failure", what)).into_response()
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

/// The signed-in user; other requests are redirected to the sign-in form.
struct Visitor(Client);

impl FromRequestParts<App> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        match session(app, &parts.headers).await {
            Ok(Some(session)) => {
                let cookie = session_cookie(app, &parts.headers).unwrap_or_default();
                let Some(api) = parts.extensions.get::<Api>() else {
                    return Err(failed(&ApiError::Internal("the page has no API")));
                };
                let context = RequestContext::of_parts(parts);
                Ok(Self(Client::new(app, api, session, cookie, context)))
            }
            Ok(None) => Err(Redirect::to(SIGN_IN).into_response()),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// Refuses a form that no page of the session sent.
async fn csrf_failed(
    app: &App,
    context: &RequestContext,
    session: &store::Session,
    action: &str,
) -> Response {
    let who = Caller::by_session(session);
    if is_flooded(app, &who.id, "POST", "/console").await {
        return too_many();
    }
    record(app, context, Some(&who), action, StatusCode::FORBIDDEN).await;
    let body = maud::html! {
        h1 { "Refused" }
        p role="alert" { "This form did not come from the console, or is too old. Nothing was done." }
    };
    let page = page::signed_in("Refused", &app.organization.name, session, &body);
    (StatusCode::FORBIDDEN, page).into_response()
}

async fn nothing() -> Response {
    (
        StatusCode::NOT_FOUND,
        page::message("Not found", "There is no such page."),
    )
        .into_response()
}

/// The session of a request. Each use restarts its idle timeout.
async fn session(app: &App, headers: &HeaderMap) -> Result<Option<store::Session>, ApiError> {
    let Some(cookie) = session_cookie(app, headers) else {
        return Ok(None);
    };
    let session = store::session(&mut *app.store.acquire_reader().await?, &cookie).await?;
    if session.as_ref().is_some_and(|s| s.use_is_news(app.sessions.idle))
        && let Err(error) = store::extend_session(&app.store, &cookie, app.sessions).await
    {
        // No reason to fail a page.
        tracing::error!(%error, "the time of a session's use was not written");
    }
    Ok(session)
}

async fn home(State(app): State<App>, headers: HeaderMap) -> Response {
    match session(&app, &headers).await {
        Ok(Some(session)) => page::home(&app.organization.name, &session).into_response(),
        Ok(None) => Redirect::to(SIGN_IN).into_response(),
        Err(error) => failed(&error),
    }
}
