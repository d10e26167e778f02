//! The console's door: people sign in with e-mail and password; programmatic users are refused.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Form, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::App;
use super::auth::{Principal, by_session, by_token};
use super::reply::Failure;
use super::secret::{digest, new_token, new_uuid, verify_password};
use super::store::{AuditRow, audit, now};

const SESSION_MS: i64 = 8 * 3600 * 1000;
const MAX_FAILURES: i64 = 5;
const LOCK_MS: i64 = 60 * 1000;
const REFUSED: &str = "Programmatic users have no access to the console: they use the API";

fn router() -> Router<Arc<App>> {
    // Cookies' names differ so that a session of plain http never stands for one of https.
    Router::new()
        .route("/", get(home))
        .route("/sign-in", get(sign_in_page).post(sign_in))
        .route("/sign-out", post(sign_out))
        .fallback(|| async {
            page(
                StatusCode::NOT_FOUND,
                "Not found",
                &html! { p { "There is no such page." } },
            )
        })
        .layer(axum::middleware::map_response(secure))
}

/// Refuses requests with a token before anything else looks at them.
async fn refuse_tokens(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let header = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok());
    let Some(token) = header.map(|h| h.strip_prefix("Bearer ").unwrap_or(h).trim().to_owned()) else {
        return next.run(request).await;
    };
    refuse(&app, &Zeroizing::new(token))
        .await
        .unwrap_or_else(|failure| broken(&failure))
}

/// The refusal of a token, and its line in the audit log.
async fn refuse(app: &App, token: &str) -> Result<Response, Failure> {
    let found = {
        let mut db = app.store.read().await?;
        by_token(&mut db, token).await.ok()
    };
    let message = match &found {
        Some(p) if p.is_programmatic => REFUSED,
        _ => "A token is no credential for the console: sign in with e-mail and password",
    };
    note(app, found.as_ref(), "console:access", 403).await?;
    Ok(page(
        StatusCode::FORBIDDEN,
        "No access",
        &html! { p { (message) "." } },
    ))
}

async fn note(app: &App, who: Option<&Principal>, action: &str, status: u16) -> Result<(), Failure> {
    let request_id = new_uuid();
    let mut tx = app.store.write().await?;
    let row = AuditRow {
        request_id: &request_id,
        actor_type: who.map_or("unknown", Principal::actor_type),
        actor_id: who.map_or("", |p| &p.id),
        token_last_digits: who.map_or("", |p| &p.last_digits),
        source: "UI",
        action,
        resource_type: "console",
        resource_id: "",
        account_id: None,
        status,
    };
    audit(&mut tx, &row).await?;
    tx.commit().await?;
    Ok(())
}

async fn home(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Response> {
    let Some((_, name, csrf)) = session(&app, &headers).await.map_err(|f| broken(&f))? else {
        return Ok(Redirect::to("/console/sign-in").into_response());
    };
    let body = html! {
        p { "Signed in as " strong { (name) } "." }
        form method="post" action="/console/sign-out" {
            input type="hidden" name="csrf" value=(csrf);
            button { "Sign out" }
        }
    };
    Ok(page(StatusCode::OK, "Console", &body))
}

async fn sign_in_page() -> Response {
    page(StatusCode::OK, "Sign in", &sign_in_form(None))
}

fn sign_in_form(error: Option<&str>) -> Markup {
    html! {
        @if let Some(error) = error { p role="alert" { (error) } }
        form method="post" action="/console/sign-in" {
            p { label { "E-mail " input type="email" name="email" autocomplete="username" required; } }
            p { label { "Password " input type="password" name="password" autocomplete="current-password" required; } }
            button { "Sign in" }
        }
    }
}

#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: Zeroizing<String>,
}

async fn sign_in(State(app): State<Arc<App>>, Form(form): Form<Credentials>) -> Response {
    try_sign_in(&app, form)
        .await
        .unwrap_or_else(|failure| broken(&failure))
}

async fn try_sign_in(app: &App, form: Credentials) -> Result<Response, Failure> {
    // A token in either field belongs to somebody who is at the wrong door.
    for field in [form.email.trim(), form.password.trim()] {
        let mut db = app.store.read().await?;
        let found = by_token(&mut db, field).await.is_ok();
        drop(db);
        if found {
            return refuse(app, field).await;
        }
    }
    let row: Option<(String, String, i64, i64)> = {
        let mut db = app.store.read().await?;
        sqlx::query_as("SELECT u.id, p.hash, p.failures, p.locked_until FROM user u JOIN password p ON p.user_id = u.id WHERE u.email = ?")
            .bind(&form.email)
            .fetch_optional(&mut *db)
            .await?
    };
    // An unknown e-mail costs the same work as a wrong password.
    let hash = row
        .as_ref()
        .map_or_else(|| DUMMY_HASH.to_owned(), |r| r.1.clone());
    let password = form.password;
    let right = tokio::task::spawn_blocking(move || verify_password(&password, &hash))
        .await
        .unwrap_or(false);
    let open = row.as_ref().is_some_and(|r| r.3 <= now());
    let Some((id, ..)) = row.as_ref().filter(|_| right && open) else {
        if let Some((id, _, failures, _)) = &row {
            let locked = if *failures + 1 >= MAX_FAILURES {
                now() + LOCK_MS
            } else {
                0
            };
            let mut tx = app.store.write().await?;
            sqlx::query("UPDATE password SET failures = failures + 1, locked_until = max(locked_until, ?) WHERE user_id = ?")
                .bind(locked)
                .bind(id)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        }
        note(app, None, "console:signIn", 401).await?;
        let form = sign_in_form(Some(
            "E-mail or password is wrong, or there were too many tries: wait a minute.",
        ));
        return Ok(page(StatusCode::UNAUTHORIZED, "Sign in", &form));
    };
    let (session, csrf) = (new_token(), new_token());
    let mut tx = app.store.write().await?;
    sqlx::query("UPDATE password SET failures = 0, locked_until = 0 WHERE user_id = ?")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    sqlx::query("DELETE FROM session WHERE expires_at <= ?")
        .bind(now())
        .execute(&mut *tx)
        .await?;
    sqlx::query("INSERT INTO session VALUES (?, ?, ?, ?)")
        .bind(digest(&session))
        .bind(id)
        .bind(csrf.as_str())
        .bind(now() + SESSION_MS)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    let mut response = Redirect::to("/console").into_response();
    let secure = if app.secure_cookies { "; Secure" } else { "" };
    let cookie = format!(
        "session={}; HttpOnly; SameSite=Strict; Path=/console{secure}",
        session.as_str()
    );
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Of a password that nobody has.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[derive(Deserialize)]
struct SignOut {
    csrf: String,
}

async fn sign_out(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Form(form): Form<SignOut>,
) -> Result<Response, Response> {
    let Some((principal, _, csrf)) = session(&app, &headers).await.map_err(|f| broken(&f))? else {
        return Ok(Redirect::to("/console/sign-in").into_response());
    };
    if form.csrf != csrf {
        return Ok(page(
            StatusCode::FORBIDDEN,
            "Refused",
            &html! { p { "This form was not made by the console: go back and try again." } },
        ));
    }
    let mut tx = app.store.write().await.map_err(|e| broken(&e.into()))?;
    let ended = sqlx::query("DELETE FROM session WHERE user_id = ?")
        .bind(&principal.id)
        .execute(&mut *tx)
        .await;
    ended.map_err(|e| broken(&e.into()))?;
    tx.commit().await.map_err(|e| broken(&e.into()))?;
    Ok(Redirect::to("/console/sign-in").into_response())
}

async fn session(app: &App, headers: &HeaderMap) -> Result<Option<(Principal, String, String)>, Failure> {
    let cookies = headers
        .get(header::COOKIE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let Some(session) = cookies.split(';').find_map(|c| c.trim().strip_prefix("session=")) else {
        return Ok(None);
    };
    let mut db = app.store.read().await?;
    by_session(&mut db, session).await
}

fn broken(failure: &Failure) -> Response {
    page(
        failure.status,
        "Something failed",
        &html! { p { "The platform failed; try again." } },
    )
}

fn page(status: StatusCode, title: &str, body: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; meta name="viewport" content="width=device-width"; title { (title) } }
            body { main { h1 { (title) } (body) } }
        }
    };
    (status, markup).into_response()
}

async fn secure(mut response: Response) -> Response {
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The routes with the guard before them.
pub(super) fn guarded(app: Arc<App>) -> Router<Arc<App>> {
    router().layer(from_fn_with_state(app, refuse_tokens))
}
