//! What console users do with their own password and sessions. These routes are ours.

use axum::body::Bytes;
use axum::extract::{Extension, State};
use serde_json::json;

use super::{Admitted, Outcome};
use crate::hashing::Line;
use crate::reply::{Answer, ApiError};
use crate::store::batch::Batch;
use crate::store::sign_in::{self, Attempt, Origin};
use crate::store::written;
use crate::validate::{Object, Problems, invalid};
use crate::{App, secret};

/// Replaces the caller's password, and ends all other sessions. Wrong guesses at the current one are counted as at the sign-in:
/// a token alone, or an open browser, does not give the password away.
pub(super) async fn change_password(
    State(app): State<App>,
    Extension(call): Admitted,
    bytes: Bytes,
) -> Outcome {
    let user = call.person()?.to_owned();
    let body = Object::parse(&bytes)?;
    let mut problems = Problems::default();
    body.only(&["currentPassword", "newPassword"], &mut problems);
    let current = secret::Password::new(body.required("currentPassword", &mut problems));
    let new = body.password("newPassword", &mut problems);
    problems.check()?;

    let turn = app.hashing.join(Line::Known)?;
    let (counted, origin) = guesses_of(&user);
    let mut tx = app.store.write().await?;
    let attempt = sign_in::begin(&mut tx, &counted, &origin).await?;
    let before = sign_in::password_of(&mut tx, &user).await?;
    tx.commit().await?;
    if matches!(attempt, Attempt::Locked(_)) {
        return Err(ApiError::RateLimited);
    }
    let hash = before.clone();
    let replace = move || {
        let right = secret::password_matches(current.expose(), hash.as_deref());
        right.then(|| secret::hash_password(new.expose())).transpose()
    };
    let Some(hash) = app.hashing.hashed(turn, replace).await?? else {
        return Err(invalid("currentPassword", "is not the password"));
    };
    let (call, mut tx) = call.begin().await?;
    // Another change may have come first.
    if sign_in::password_of(&mut tx, &user).await? != before {
        return Err(invalid("currentPassword", "is not the password"));
    }
    sign_in::succeeded(&mut tx, &counted, &origin).await?;
    let mut batch = Batch::default();
    sign_in::set_password(&mut batch, &user, &hash);
    sign_in::close_others(&mut batch, &user, call.session());
    batch.execute(&mut tx).await?;
    call.done(tx, &user).await
}

/// Under what the guesses at a user's current password are counted: not with those at the sign-in.
fn guesses_of(user: &str) -> (String, Origin) {
    let origin = Origin {
        network: "change of password".to_owned(),
        device: None,
    };
    (format!("user {user}"), origin)
}

/// The caller's sessions, the newest first.
pub(super) async fn sessions(State(app): State<App>, Extension(call): Admitted) -> Outcome {
    let user = call.person()?;
    let listed = sign_in::list(&mut *app.store.acquire_reader().await?, user).await?;
    let shown = listed.iter().map(|session| {
        json!({
            "id": session.id(), "createdAt": written(session.created_at),
            "lastUsedAt": written(session.last_used_at), "peer": session.peer, "agent": session.agent,
            "isCurrent": session.is_of(call.session()),
        })
    });
    Ok(Answer::Items("spotinst:setup:user:session", shown.collect()))
}

pub(super) async fn end_session(Extension(call): Admitted) -> Outcome {
    let (call, mut tx) = call.begin().await?;
    let id = call.id();
    let listed = sign_in::list(&mut tx, call.person()?).await?;
    let Some(session) = listed.iter().find(|session| session.id() == id) else {
        let message = format!("Session {id} does not exist");
        return Err(ApiError::Missing("SESSION_DOESNT_EXIST", message));
    };
    let mut batch = Batch::default();
    sign_in::close_listed(&mut batch, session);
    batch.execute(&mut tx).await?;
    call.done(tx, id).await
}

/// Ends all sessions of the caller but the one in which the console asks.
pub(super) async fn end_other_sessions(Extension(call): Admitted) -> Outcome {
    let (call, mut tx) = call.begin().await?;
    let user = call.person()?.to_owned();
    let mut batch = Batch::default();
    sign_in::close_others(&mut batch, &user, call.session());
    batch.execute(&mut tx).await?;
    call.done(tx, &user).await
}
