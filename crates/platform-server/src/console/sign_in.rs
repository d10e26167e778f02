//! Signing in and out.

use axum::extract::{Form, FromRequest, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::{
    SIGN_IN, audit, busy, csrf_failed, failed, page, record_stranger, refuse_token, session, set_cookie,
    too_many,
};
use crate::auth::Caller;
use crate::auth::context::RequestContext;
use crate::auth::session::{COOKIE as SESSION, cookie, session_cookie};
use crate::hashing::Line;
use crate::peer::Peer;
use crate::reply::ApiError;
use crate::store::requests::Key;
use crate::store::sign_in::{self as store, Attempt, Origin};
use crate::store::{Transaction, credentials};
use crate::{App, secret};

/// Of the sign-in form, before there is a session that could hold its token.
const FORM: &str = "sign-in-form";
/// Of a browser in which a user has signed in. It opens nothing.
const DEVICE: &str = "device";
/// Attempts of one network, or of one known browser, in a minute: each costs a password hash.
const ATTEMPTS: u32 = 60;

/// The form, with a fresh value that only our own page can send back.
pub(super) async fn form(State(app): State<App>) -> Response {
    show_form(&app, StatusCode::OK, None)
}

fn show_form(app: &App, status: StatusCode, problem: Option<&str>) -> Response {
    let Ok(csrf) = secret::random_hex::<32>() else {
        return failed(&ApiError::Internal("no randomness"));
    };
    let mut response = (status, page::sign_in(&csrf, problem)).into_response();
    set_cookie(app, &mut response, FORM, &csrf, 3600);
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

pub(super) async fn sign_in_with_password(State(app): State<App>, request: Request) -> Response {
    let context = RequestContext::of(&request);
    let expected = cookie(&app, request.headers(), FORM).unwrap_or_default();
    let device = cookie(&app, request.headers(), DEVICE);
    let Ok(Form(given)) = Form::<Credentials>::from_request(request, &()).await else {
        return show_form(&app, StatusCode::BAD_REQUEST, Some("The form could not be read."));
    };
    if expected.is_empty() || !secret::same(expected.as_bytes(), given.csrf.as_bytes()) {
        // Not counted below: it costs nothing, and other sites could make their visitors' browsers use that up.
        app.metrics.signed_in("refused");
        let problem = "The form was too old. Please try again.";
        return show_form(&app, StatusCode::FORBIDDEN, Some(problem));
    }
    let response = match try_sign_in(&app, &context, given, device).await {
        Ok(response) => response,
        Err(ApiError::Busy) => busy(),
        Err(ApiError::RateLimited) => too_many(),
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

/// The user of the given address, and the origin of the attempt.
struct Attempted {
    email: String,
    known: Option<(String, String, String)>,
    origin: Origin,
}

impl Attempted {
    async fn of(
        app: &App,
        context: &RequestContext,
        given: &Credentials,
        device: Option<String>,
    ) -> Result<Self, ApiError> {
        // No address has this character, and not every database can be asked for it.
        let email = given.email.trim().replace('\0', "");
        let mut conn = app.store.acquire_reader().await?;
        let known = store::by_email(&mut conn, &email).await?;
        let user = known.as_ref().map_or("", |(id, ..)| id);
        // A browser in which another user signed in is as unknown as any.
        let cookie = device.as_deref().unwrap_or_default();
        let is_known = store::knows_device(&mut conn, user, cookie).await?;
        let origin = Origin {
            network: context.peer.map(Peer::network).unwrap_or_default(),
            device: device.filter(|_| is_known),
        };
        Ok(Self { email, known, origin })
    }

    fn line(&self) -> Line {
        match self.origin.device {
            Some(_) => Line::Known,
            None => Line::Strangers,
        }
    }

    /// Fails if there were too many attempts of late: of this browser if it is known, or else of its network.
    async fn count(&self, app: &App) -> Result<(), ApiError> {
        let caller = match &self.origin.device {
            Some(device) => format!("device {}", secret::hex(&secret::digest(device))),
            None => format!("network {}", self.origin.network),
        };
        let key = Key {
            caller,
            method: "POST",
            route: SIGN_IN,
        };
        let allowance = app.limiter.count_up_to(ATTEMPTS, &app.store, key).await?;
        if allowance.blocked {
            return Err(ApiError::RateLimited);
        }
        Ok(())
    }
}

async fn try_sign_in(
    app: &App,
    context: &RequestContext,
    given: Credentials,
    device: Option<String>,
) -> Result<Response, ApiError> {
    let attempted = Attempted::of(app, context, &given, device).await?;
    attempted.count(app).await?;
    // A token pasted into the form: the answer says so. A revoked token gets the answer of an unknown one.
    for field in [given.password.trim(), given.email.trim()] {
        let owner =
            credentials::owner(&mut *app.store.acquire_reader().await?, &secret::digest(field)).await?;
        if let Some(holder) = owner.as_ref().map(Caller::by_token) {
            return Ok(refuse_token(app, context, Some(&holder), true).await);
        }
    }
    // Before the attempt counts: a full queue compares no password.
    let turn = app.hashing.join(attempted.line())?;
    let (email, origin) = (&attempted.email, &attempted.origin);
    let mut tx = app.store.write().await?;
    let attempt = store::begin(&mut tx, email, origin).await?;
    tx.commit().await?;
    let known = &attempted.known;
    let who = known.as_ref().map(|(id, name, _)| Caller::of_person(id, name));
    if let Attempt::Locked(seconds) = attempt {
        record_stranger(
            app,
            context,
            who.as_ref(),
            "signIn",
            StatusCode::TOO_MANY_REQUESTS,
        )
        .await;
        return Ok(locked(app, seconds));
    }
    let password = secret::Password::new(given.password);
    let hash = known.as_ref().map(|(_, _, hash)| hash.clone());
    let check = move || secret::password_matches(password.expose(), hash.as_deref());
    let right = app.hashing.hashed(turn, check).await?;
    let mut opened = None;
    if right {
        let mut tx = app.store.write().await?;
        // The password may have been replaced while it was compared.
        if store::by_email(&mut tx, email).await? == *known {
            opened = Some(tx);
        }
    }
    let (Some(tx), Some(who)) = (opened, who.as_ref()) else {
        record_stranger(app, context, who.as_ref(), "signIn", StatusCode::UNAUTHORIZED).await;
        let problem = "The e-mail address or the password is wrong.";
        return Ok(show_form(app, StatusCode::UNAUTHORIZED, Some(problem)));
    };
    open(app, context, &attempted, who, tx).await
}

fn locked(app: &App, seconds: i64) -> Response {
    let wait = match seconds {
        60.. => format!("{} minutes", seconds / 60),
        _ => format!("{seconds} seconds"),
    };
    let problem = format!("Too many failed attempts for this address. Try again in {wait}.");
    let mut response = show_form(app, StatusCode::TOO_MANY_REQUESTS, Some(&problem));
    let wait = HeaderValue::from(seconds);
    response.headers_mut().insert(header::RETRY_AFTER, wait);
    response
}

/// Begins the session, in the transaction that has checked the password, with its row in the audit log.
async fn open(
    app: &App,
    context: &RequestContext,
    attempted: &Attempted,
    who: &Caller,
    mut tx: Transaction,
) -> Result<Response, ApiError> {
    let origin = &attempted.origin;
    store::succeeded(&mut tx, &attempted.email, origin).await?;
    let peer = context.peer.map(|peer| peer.to_string());
    let session = store::open(&mut tx, &who.id, app.sessions, peer.as_deref(), &context.agent).await?;
    let device = store::remember_device(&mut tx, &who.id, origin.device.as_deref()).await?;
    audit(&mut tx, context, who, "signIn").await?;
    tx.commit().await?;
    let mut response = Redirect::to("/console").into_response();
    set_cookie(app, &mut response, SESSION, &session, app.sessions.lasts / 1000);
    set_cookie(app, &mut response, DEVICE, &device, store::DEVICE_LASTS / 1000);
    set_cookie(app, &mut response, FORM, "", 0);
    Ok(response)
}

#[derive(Deserialize)]
struct Intent {
    #[serde(default)]
    csrf: String,
}

pub(super) async fn sign_out(State(app): State<App>, request: Request) -> Response {
    let context = RequestContext::of(&request);
    let cookie = session_cookie(&app, request.headers()).unwrap_or_default();
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
        return csrf_failed(&app, &context, &current, "signOut").await;
    }
    let closed = async {
        let mut tx = app.store.write().await?;
        store::close(&mut tx, &cookie).await?;
        audit(&mut tx, &context, &Caller::by_session(&current), "signOut").await?;
        tx.commit().await?;
        Ok::<_, ApiError>(())
    };
    if let Err(error) = closed.await {
        return failed(&error);
    }
    let mut response = Redirect::to(SIGN_IN).into_response();
    set_cookie(&app, &mut response, SESSION, "", 0);
    response
}
