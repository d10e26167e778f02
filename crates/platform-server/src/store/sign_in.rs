//! What opens the console: passwords and sessions; and the count of failures that closes it for a while.

mod attempts;

use sqlx::FromRow;

use super::batch::{Batch, require};
use super::{Connection, Store, now};
use crate::reply::ApiError;
use crate::secret;

pub(crate) use attempts::{
    Attempt, DEVICE_LASTS, Origin, begin, forgive, knows_device, remember_device, succeeded,
};

/// How long the number of a form that was sent is kept: longer than any page of a session.
const FORM_LASTS: i64 = 24 * 3_600_000;
/// The use of a session is written once in so many milliseconds.
const TOUCH: i64 = 60_000;

#[derive(Debug, Clone, FromRow)]
pub(crate) struct Session {
    pub(crate) user_id: String,
    pub(crate) user_name: String,
    pub(crate) email: String,
    pub(crate) csrf: String,
    last_used_at: i64,
}

impl Session {
    /// Whether this use of it is to be written.
    pub(crate) fn use_is_news(&self, idle: i64) -> bool {
        now() - self.last_used_at >= TOUCH.min(idle / 4)
    }
}

/// A session as its user sees it.
#[derive(Debug, FromRow)]
pub(crate) struct Listed {
    hash: Vec<u8>,
    pub(crate) created_at: i64,
    pub(crate) last_used_at: i64,
    pub(crate) peer: Option<String>,
    pub(crate) agent: String,
}

impl Listed {
    /// What names it: a part of the hash, which opens nothing.
    pub(crate) fn id(&self) -> String {
        secret::hex(self.hash.get(..8).unwrap_or_default())
    }

    /// Whether it is the session of a cookie.
    pub(crate) fn is_of(&self, cookie: &str) -> bool {
        self.hash == secret::digest(cookie)
    }
}

/// How long sessions last, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetime {
    pub(crate) lasts: i64,
    pub(crate) idle: i64,
}

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
/// which of these they take for one of its letters: such an address is unknown, and its answer takes as long.
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
pub(crate) async fn open(
    conn: &mut Connection,
    user: &str,
    lifetime: Lifetime,
    peer: Option<&str>,
    agent: &str,
) -> Result<String, ApiError> {
    let cookie = secret::random_hex::<32>()?;
    let csrf = secret::random_hex::<32>()?;
    sqlx::query("DELETE FROM console_session WHERE expires_at < $1 OR idle_at < $1")
        .bind(now())
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "INSERT INTO console_session (hash, user_id, csrf, created_at, expires_at, last_used_at, idle_at, peer, agent)
         VALUES ($1, $2, $3, $4, $5, $4, $6, $7, $8)",
    )
    .bind(secret::digest(&cookie).as_slice())
    .bind(user)
    .bind(csrf)
    .bind(now())
    .bind(now() + lifetime.lasts)
    .bind(now() + lifetime.idle)
    .bind(peer)
    .bind(super::audit::cut(agent))
    .execute(conn)
    .await?;
    Ok(cookie)
}

/// The session of a cookie.
pub(crate) async fn session(conn: &mut Connection, cookie: &str) -> Result<Option<Session>, sqlx::Error> {
    sqlx::query_as(
        "SELECT u.id AS user_id, u.name AS user_name, u.email, s.csrf, s.last_used_at
         FROM console_session s JOIN platform_user u ON u.id = s.user_id
         WHERE s.hash = $1 AND s.expires_at >= $2 AND s.idle_at >= $2",
    )
    .bind(secret::digest(cookie).as_slice())
    .bind(now())
    .fetch_optional(conn)
    .await
}

/// Writes that a session was used: the time without a use begins anew.
pub(crate) async fn extend_session(
    store: &Store,
    cookie: &str,
    lifetime: Lifetime,
) -> Result<(), sqlx::Error> {
    let mut batch = Batch::default();
    batch
        .statement(
            "UPDATE console_session SET last_used_at = $1, idle_at = $2 WHERE hash = $3 AND idle_at >= $1",
        )
        .bind(now())
        .bind(now() + lifetime.idle)
        .bind(secret::digest(cookie).as_slice());
    store.record(batch).await
}

/// Fails with the batch unless the session of a cookie goes on by then.
pub(crate) fn require(batch: &mut Batch, cookie: &str) {
    batch
        .statement(require!(
            "EXISTS (SELECT 1 FROM console_session WHERE hash = $1 AND expires_at >= $2 AND idle_at >= $2)"
        ))
        .bind(secret::digest(cookie).as_slice())
        .bind(now());
}

/// The sessions of a user, the newest first.
pub(crate) async fn list(conn: &mut Connection, user: &str) -> Result<Vec<Listed>, sqlx::Error> {
    sqlx::query_as(
        "SELECT hash, created_at, last_used_at, peer, agent FROM console_session
         WHERE user_id = $1 AND expires_at >= $2 AND idle_at >= $2 ORDER BY created_at DESC, hash",
    )
    .bind(user)
    .bind(now())
    .fetch_all(conn)
    .await
}

pub(crate) fn close_listed(batch: &mut Batch, session: &Listed) {
    batch
        .statement("DELETE FROM console_session WHERE hash = $1")
        .bind(session.hash.as_slice());
}

pub(crate) async fn close(conn: &mut Connection, cookie: &str) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM console_session WHERE hash = $1")
        .bind(secret::digest(cookie).as_slice())
        .execute(conn)
        .await?;
    Ok(())
}

pub(crate) fn close_all(batch: &mut Batch, user: &str) {
    batch
        .statement("DELETE FROM console_session WHERE user_id = $1")
        .bind(user);
}

/// Ends all sessions of a user but that of a cookie.
pub(crate) fn close_others(batch: &mut Batch, user: &str, cookie: &str) {
    batch
        .statement("DELETE FROM console_session WHERE user_id = $1 AND hash <> $2")
        .bind(user)
        .bind(secret::digest(cookie).as_slice());
}

/// The password hash of a console user.
pub(crate) async fn password_of(conn: &mut Connection, user: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT hash FROM console_password WHERE user_id = $1")
        .bind(user)
        .fetch_optional(conn)
        .await
}

/// Notes that a form was sent; `false` if it was sent before.
pub(crate) async fn take_form(conn: &mut Connection, number: &str) -> Result<bool, sqlx::Error> {
    sqlx::query("DELETE FROM console_form WHERE at < $1")
        .bind(now() - FORM_LASTS)
        .execute(&mut *conn)
        .await?;
    let done = sqlx::query("INSERT INTO console_form (hash, at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(secret::digest(number).as_slice())
        .bind(now())
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}

#[cfg(test)]
mod tests {
    use super::{Lifetime, close_all, open, require};
    use crate::store::batch::Batch;
    use crate::store::queue::is_overtaken;
    use crate::store::{Store, credentials, users};
    use platform_api::{Token, UserType};

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
        let (text, hash) = ("ab".repeat(32), crate::secret::digest(&"ab".repeat(32)));
        credentials::add(&mut batch, &user, "ann", &Token::new(&text).unwrap());
        batch.execute(&mut tx).await.unwrap();
        let lifetime = Lifetime {
            lasts: 60_000,
            idle: 60_000,
        };
        let cookie = open(&mut tx, &user, lifetime, None, "").await.unwrap();
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
