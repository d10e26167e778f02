//! The console: server-rendered pages for people. Programmatic users have no access to it.

mod client;
mod form;
mod page;
mod programmatic;
mod settings;

use axum::Router;
use axum::extract::{Form, FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::gate::{self, Caller, Trace, bearer};
use super::hashing::hashed;
use super::limit::Key;
use super::reply::ApiError;
use super::store::batch::Batch;
use super::store::{Connection, audit, credentials, sign_in};
use super::{App, secret};
use client::Client;
pub(super) use client::SignedIn;

const SESSION: &str = "session";
/// Of the sign-in form, before there is a session that could hold its token.
const FORM: &str = "sign-in-form";
const SIGN_IN: &str = "/console/sign-in";
const STYLE: &str = include_str!("console/style.css");
const SCRIPT: &str = include_str!("console/copy.js");

/// The console's routes.
pub(super) fn pages(app: App) -> Router {
    Router::new()
        .route("/console", get(home))
        .route(SIGN_IN, get(form).post(sign_in_with_password))
        .route("/console/sign-out", post(sign_out))
        .merge(settings::pages())
        .route("/console/{*rest}", get(nothing).post(nothing))
        .route_layer(middleware::from_fn_with_state(app.clone(), people_only))
        .route("/console/style.css", get(style))
        .route("/console/copy.js", get(script))
        .with_state(app)
}

/// Whether a path is a page, not a route of the API.
pub(super) fn is_page(path: &str) -> bool {
    path == "/console" || path.starts_with("/console/")
}

/// Headers of every page: one script of our own, no frames, nothing from elsewhere, nothing kept.
pub(super) fn harden(response: &mut Response) {
    const HEADERS: [(HeaderName, &str); 5] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
}

/// The cookie of a console session, if the request has one.
pub(super) fn session_cookie(headers: &HeaderMap) -> Option<String> {
    cookie(headers, SESSION)
}

/// The person behind a session.
pub(super) fn caller(session: &sign_in::Session) -> Caller {
    person(&session.user_id, &session.user_name)
}

fn person(id: &str, name: &str) -> Caller {
    Caller {
        id: id.to_owned(),
        name: name.to_owned(),
        kind: "ui",
        last_digits: None,
        source: "UI",
    }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok());
    let mut pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

fn set_cookie(app: &App, response: &mut Response, name: &str, value: &str, path: &str, seconds: u32) {
    let secure = if app.secure_cookies { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// Refuses whoever comes with a token.
async fn people_only(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(value) = request.headers().get(header::AUTHORIZATION) else {
        return next.run(request).await;
    };
    // A knock is refused by whatever method it comes.
    if is_flooded(&app, gate::ANONYMOUS, "*", "/console").await {
        return too_many();
    }
    let trace = Trace::of(&request);
    let token = value
        .to_str()
        .ok()
        .and_then(bearer)
        .unwrap_or_default()
        .to_owned();
    match holder(&app, &token).await {
        Ok((holder, personal)) => refuse_token(&app, &trace, holder.as_ref(), personal).await,
        Err(error) => failed(&error),
    }
}

/// Whether there were too many of what costs a write each time, and a sign-in a password hash: as many as of any route are let
/// through, and those beyond are not on record, which would let a flood fill the disk.
async fn is_flooded(app: &App, caller: &str, method: &'static str, route: &'static str) -> bool {
    let key = Key {
        caller: caller.to_owned(),
        method,
        route,
    };
    match app.limiter.count(&app.store, key).await {
        Ok(allowance) => allowance.is_some_and(|a| a.blocked),
        Err(error) => {
            tracing::error!(%error, "requests of the console cannot be counted");
            true
        }
    }
}

fn too_many() -> Response {
    let what = "Too many requests. Wait a minute, and try again.";
    (StatusCode::TOO_MANY_REQUESTS, page::message("Refused", what)).into_response()
}

/// Who holds, or held, a token: for the audit log. And whether it is a person's and valid, which is all that may be shown: a
/// revoked one is answered as an unknown one is.
async fn holder(app: &App, token: &str) -> Result<(Option<Caller>, bool), ApiError> {
    let mut tx = app.store.read().await?;
    let hash = secret::digest(token);
    let owner = credentials::owner(&mut tx, &hash).await?;
    if let Some(caller) = owner.as_ref().map(Caller::by_token) {
        let personal = caller.kind == "ui";
        return Ok((Some(caller), personal));
    }
    let former = credentials::former_owner(&mut tx, &hash).await?;
    Ok((former.as_ref().map(Caller::by_token), false))
}

async fn refuse_token(app: &App, trace: &Trace, holder: Option<&Caller>, personal: bool) -> Response {
    record(app, trace, holder, "openConsole", StatusCode::FORBIDDEN).await;
    (StatusCode::FORBIDDEN, page::no_access(personal)).into_response()
}

/// Records what changes nothing.
async fn record(app: &App, trace: &Trace, who: Option<&Caller>, action: &str, status: StatusCode) {
    gate::write(app, &event(trace, who, action, status)).await;
}

/// Records a change, in its transaction.
async fn tell(conn: &mut Connection, trace: &Trace, who: &Caller, action: &str) -> Result<(), sqlx::Error> {
    let mut batch = Batch::default();
    audit::add(&mut batch, &event(trace, Some(who), action, StatusCode::OK));
    batch.execute(conn).await
}

fn event<'a>(
    trace: &'a Trace,
    who: Option<&'a Caller>,
    action: &'a str,
    status: StatusCode,
) -> audit::Event<'a> {
    let mut event = trace.event();
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

/// Whoever is signed in; everybody else is sent to the sign-in form.
struct Visitor(Client);

impl FromRequestParts<App> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        match session(app, &parts.headers).await {
            Ok(Some(session)) => {
                let cookie = session_cookie(&parts.headers).unwrap_or_default();
                Ok(Self(Client::new(app, session, cookie, Trace::of_parts(parts))))
            }
            Ok(None) => Err(Redirect::to(SIGN_IN).into_response()),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// Refuses a form that no page of the session sent.
async fn forged(app: &App, trace: &Trace, session: &sign_in::Session, action: &str) -> Response {
    let who = caller(session);
    if is_flooded(app, &who.id, "POST", "/console").await {
        return too_many();
    }
    record(app, trace, Some(&who), action, StatusCode::FORBIDDEN).await;
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

async fn session(app: &App, headers: &HeaderMap) -> Result<Option<sign_in::Session>, ApiError> {
    let Some(cookie) = session_cookie(headers) else {
        return Ok(None);
    };
    let mut tx = app.store.read().await?;
    Ok(sign_in::session(&mut tx, &cookie).await?)
}

async fn home(State(app): State<App>, headers: HeaderMap) -> Response {
    match session(&app, &headers).await {
        Ok(Some(session)) => page::home(&app.organization.name, &session).into_response(),
        Ok(None) => Redirect::to(SIGN_IN).into_response(),
        Err(error) => failed(&error),
    }
}

/// The form, with a fresh value that only our own page can send back.
async fn form(State(app): State<App>) -> Response {
    show_form(&app, StatusCode::OK, None)
}

fn show_form(app: &App, status: StatusCode, problem: Option<&str>) -> Response {
    let Ok(csrf) = secret::random_hex::<32>() else {
        return failed(&ApiError::Internal("no randomness"));
    };
    let mut response = (status, page::sign_in(&csrf, problem)).into_response();
    set_cookie(app, &mut response, FORM, &csrf, SIGN_IN, 3600);
    response
}

#[derive(Deserialize)]
struct Credentials {
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    csrf: String,
}

async fn sign_in_with_password(State(app): State<App>, request: Request) -> Response {
    let trace = Trace::of(&request);
    let expected = cookie(request.headers(), FORM).unwrap_or_default();
    let Ok(Form(given)) = Form::<Credentials>::from_request(request, &()).await else {
        return show_form(&app, StatusCode::BAD_REQUEST, Some("The form could not be read."));
    };
    if expected.is_empty() || !secret::same(expected.as_bytes(), given.csrf.as_bytes()) {
        // Not counted below: it costs nothing, and other sites could make their visitors' browsers use that up.
        app.metrics.signed_in("refused");
        let problem = "The form was too old. Please try again.";
        return show_form(&app, StatusCode::FORBIDDEN, Some(problem));
    }
    if is_flooded(&app, gate::ANONYMOUS, "POST", SIGN_IN).await {
        return too_many();
    }
    let response = match try_sign_in(&app, &trace, given).await {
        Ok(response) => response,
        Err(error) => failed(&error),
    };
    app.metrics.signed_in(match response.status() {
        StatusCode::SEE_OTHER => "success",
        StatusCode::TOO_MANY_REQUESTS => "locked",
        status if status.is_server_error() => "failed",
        _ => "refused",
    });
    response
}

async fn try_sign_in(app: &App, trace: &Trace, given: Credentials) -> Result<Response, ApiError> {
    // A token pasted into the form: say what is wrong instead of letting people guess. A revoked one is as good as unknown.
    for field in [given.password.trim(), given.email.trim()] {
        let owner = credentials::owner(&mut *app.store.look().await?, &secret::digest(field)).await?;
        if let Some(holder) = owner.as_ref().map(Caller::by_token) {
            return Ok(refuse_token(app, trace, Some(&holder), holder.kind == "ui").await);
        }
    }
    // No address has this character, and not every database can be asked for it.
    let email = given.email.trim().replace('\0', "");
    let mut tx = app.store.write().await?;
    let open = sign_in::begin(&mut tx, &email).await?;
    let known = sign_in::by_email(&mut tx, &email).await?;
    tx.commit().await?;
    let who = known.as_ref().map(|(id, name, _)| person(id, name));
    if !open {
        record(app, trace, who.as_ref(), "signIn", StatusCode::TOO_MANY_REQUESTS).await;
        let problem = "Too many failed attempts for this address. Try again in 15 minutes.";
        return Ok(show_form(app, StatusCode::TOO_MANY_REQUESTS, Some(problem)));
    }
    let password = secret::Password::new(given.password);
    let hash = known.as_ref().map(|(_, _, hash)| hash.clone());
    let check = move || secret::password_matches(password.expose(), hash.as_deref());
    let right = hashed(app, check).await?;
    let mut opened = None;
    if right {
        let mut tx = app.store.write().await?;
        // Another one may have taken its place while it was compared.
        if sign_in::by_email(&mut tx, &email).await? == known {
            opened = Some(tx);
        }
    }
    let (Some(mut tx), Some(who)) = (opened, who.as_ref()) else {
        record(app, trace, who.as_ref(), "signIn", StatusCode::UNAUTHORIZED).await;
        let problem = "The e-mail address or the password is wrong.";
        return Ok(show_form(app, StatusCode::UNAUTHORIZED, Some(problem)));
    };
    sign_in::succeeded(&mut tx, &email).await?;
    let cookie = sign_in::open(&mut tx, &who.id).await?;
    tell(&mut tx, trace, who, "signIn").await?;
    tx.commit().await?;
    let mut response = Redirect::to("/console").into_response();
    // For the whole site and not only for the console: the API must see it to refuse it in clear words.
    set_cookie(app, &mut response, SESSION, &cookie, "/", 12 * 3600);
    set_cookie(app, &mut response, FORM, "", SIGN_IN, 0);
    Ok(response)
}

#[derive(Deserialize)]
struct Intent {
    #[serde(default)]
    csrf: String,
}

async fn sign_out(State(app): State<App>, request: Request) -> Response {
    let trace = Trace::of(&request);
    let cookie = session_cookie(request.headers()).unwrap_or_default();
    let current = match session(&app, request.headers()).await {
        Ok(Some(session)) => session,
        Ok(None) => return Redirect::to(SIGN_IN).into_response(),
        Err(error) => return failed(&error),
    };
    let given = Form::<Intent>::from_request(request, &())
        .await
        .map(|Form(i)| i.csrf)
        .unwrap_or_default();
    if !secret::same(given.as_bytes(), current.csrf.as_bytes()) {
        return forged(&app, &trace, &current, "signOut").await;
    }
    let closed = async {
        let mut tx = app.store.write().await?;
        sign_in::close(&mut tx, &cookie).await?;
        tell(&mut tx, &trace, &caller(&current), "signOut").await?;
        tx.commit().await?;
        Ok::<_, ApiError>(())
    };
    if let Err(error) = closed.await {
        return failed(&error);
    }
    let mut response = Redirect::to(SIGN_IN).into_response();
    set_cookie(&app, &mut response, SESSION, "", "/", 0);
    response
}
