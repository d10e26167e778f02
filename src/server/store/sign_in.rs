//! What opens the console: passwords and sessions; and the count of failures that closes it for a while.

use sqlx::FromRow;

use super::batch::{Batch, require};
use super::{Connection, now};
use crate::server::reply::ApiError;
use crate::server::secret;

const SESSION_LASTS: i64 = 12 * 3_600_000;
/// Failures after which an address is locked.
pub(crate) const FAILURES: i64 = 5;
/// For how long, in milliseconds.
pub(crate) const LOCKED_FOR: i64 = 15 * 60_000;

/// Who is signed in.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Session {
    pub(crate) user_id: String,
    pub(crate) user_name: String,
    pub(crate) email: String,
    pub(crate) csrf: String,
}

/// Sets a console user's password.
pub(crate) fn set_password(batch: &mut Batch, user: &str, hash: &str) {
    batch
        .statement(
            "INSERT INTO console_password (user_id, hash) VALUES ($1, $2)
             ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash",
        )
        .bind(user)
        .bind(hash);
}

/// Id, name and password hash of a console user. No address has other characters than those of ASCII, and databases differ in
/// which of these they take for one of its letters: whoever types one is nobody, and waits as long to hear so.
pub(crate) async fn by_email(
    conn: &mut Connection,
    email: &str,
) -> Result<Option<(String, String, String)>, sqlx::Error> {
    let email = if email.is_ascii() { email } else { "" };
    sqlx::query_as(
        "SELECT u.id, u.name, p.hash FROM platform_user u JOIN console_password p ON p.user_id = u.id 
         WHERE lower(u.email) = lower($1)",
    )
    .bind(email)
    .fetch_optional(conn)
    .await
}

/// Starts a session: what the cookie holds. Only its hash is stored.
pub(crate) async fn open(conn: &mut Connection, user: &str) -> Result<String, ApiError> {
    let cookie = secret::random_hex::<32>()?;
    let csrf = secret::random_hex::<32>()?;
    sqlx::query("DELETE FROM console_session WHERE expires_at < $1")
        .bind(now())
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "INSERT INTO console_session (hash, user_id, csrf, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(secret::digest(&cookie).as_slice())
    .bind(user)
    .bind(csrf)
    .bind(now())
    .bind(now() + SESSION_LASTS)
    .execute(conn)
    .await?;
    Ok(cookie)
}

/// The session of a cookie.
pub(crate) async fn session(conn: &mut Connection, cookie: &str) -> Result<Option<Session>, sqlx::Error> {
    sqlx::query_as(
        "SELECT u.id AS user_id, u.name AS user_name, u.email, s.csrf
         FROM console_session s JOIN platform_user u ON u.id = s.user_id WHERE s.hash = $1 AND s.expires_at >= $2",
    )
    .bind(secret::digest(cookie).as_slice())
    .bind(now())
    .fetch_optional(conn)
    .await
}

/// Fails with the batch unless the session of a cookie goes on by then.
pub(crate) fn require(batch: &mut Batch, cookie: &str) {
    batch
        .statement(require!(
            "EXISTS (SELECT 1 FROM console_session WHERE hash = $1 AND expires_at >= $2)"
        ))
        .bind(secret::digest(cookie).as_slice())
        .bind(now());
}

/// Ends a session.
pub(crate) async fn close(conn: &mut Connection, cookie: &str) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM console_session WHERE hash = $1")
        .bind(secret::digest(cookie).as_slice())
        .execute(conn)
        .await?;
    Ok(())
}

/// Ends all sessions of a user.
pub(crate) fn close_all(batch: &mut Batch, user: &str) {
    batch
        .statement("DELETE FROM console_session WHERE user_id = $1")
        .bind(user);
}

/// Counts an attempt before it is known how it ends, so that many at once are not more than a few one after the other;
/// `false` if the address, known or not, failed too often of late.
pub(crate) async fn begin(conn: &mut Connection, email: &str) -> Result<bool, sqlx::Error> {
    if is_locked(&mut *conn, email).await? {
        return Ok(false);
    }
    failed(conn, email).await?;
    Ok(true)
}

async fn is_locked(conn: &mut Connection, email: &str) -> Result<bool, sqlx::Error> {
    let locked: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM console_failure WHERE hash = $1 AND failures >= $2 AND last_at > $3",
    )
    .bind(key(email).as_slice())
    .bind(FAILURES)
    .bind(now() - LOCKED_FOR)
    .fetch_one(conn)
    .await?;
    Ok(locked > 0)
}

/// Counts a failure, which an attempt is until it has succeeded.
async fn failed(conn: &mut Connection, email: &str) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM console_failure WHERE last_at <= $1")
        .bind(now() - LOCKED_FOR)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "INSERT INTO console_failure (hash, failures, last_at) VALUES ($1, 1, $2)
         ON CONFLICT (hash) DO UPDATE SET failures = console_failure.failures + 1, last_at = excluded.last_at",
    )
    .bind(key(email).as_slice())
    .bind(now())
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets the failures of an address that signed in.
pub(crate) async fn succeeded(conn: &mut Connection, email: &str) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM console_failure WHERE hash = $1")
        .bind(key(email).as_slice())
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes that a form was sent; `false` if it was sent before.
pub(crate) async fn take_form(conn: &mut Connection, number: &str) -> Result<bool, sqlx::Error> {
    sqlx::query("DELETE FROM console_form WHERE at < $1")
        .bind(now() - SESSION_LASTS)
        .execute(&mut *conn)
        .await?;
    let done = sqlx::query("INSERT INTO console_form (hash, at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(secret::digest(number).as_slice())
        .bind(now())
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// The same for all spellings that [`by_email`] takes for one.
fn key(email: &str) -> [u8; 32] {
    secret::digest(&email.trim().to_ascii_lowercase())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{close_all, open, require};
    use crate::platform::{Token, UserType};
    use crate::server::store::batch::Batch;
    use crate::server::store::queue::is_overtaken;
    use crate::server::store::{Store, credentials, users};

    /// The session of a form, or the token of a call, that was answered for when it had not ended yet.
    #[tokio::test]
    async fn a_batch_fails_if_the_credential_has_ended() {
        let (store, _directory) = Store::scratch().await;
        let mut tx = store.write().await.unwrap();
        let mut batch = Batch::default();
        let email = Some("ann@example.com");
        let user = users::create(&mut tx, &mut batch, UserType::Personal, "ann", None, email)
            .await
            .unwrap();
        let (text, hash) = ("ab".repeat(32), crate::server::secret::digest(&"ab".repeat(32)));
        credentials::add(&mut batch, &user, "ann", &Token::new(&text).unwrap());
        batch.execute(&mut tx).await.unwrap();
        let cookie = open(&mut tx, &user).await.unwrap();
        tx.commit().await.unwrap();

        let session = || {
            let mut batch = Batch::default();
            require(&mut batch, &cookie);
            store.commit(batch)
        };
        let token = || {
            let mut batch = Batch::default();
            credentials::require(&mut batch, &hash);
            store.commit(batch)
        };
        session().await.unwrap();
        token().await.unwrap();

        let mut tx = store.write().await.unwrap();
        let mut batch = Batch::default();
        close_all(&mut batch, &user);
        batch.execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        assert!(is_overtaken(&session().await.unwrap_err()));
        token().await.unwrap();

        let mut tx = store.write().await.unwrap();
        credentials::revoke(&mut tx, &user).await.unwrap();
        tx.commit().await.unwrap();
        assert!(is_overtaken(&token().await.unwrap_err()));
    }
}
