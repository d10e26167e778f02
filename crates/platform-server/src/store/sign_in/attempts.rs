//! Attempts to sign in: how many fail, from where, and from which browsers a user has signed in before.

use crate::reply::ApiError;
use crate::secret;
use crate::store::{Connection, now};

/// Failures of one origin after which an address is locked for it.
const FAILURES: i64 = 5;
/// For how long, in milliseconds.
const LOCKED_FOR: i64 = 15 * 60_000;
/// Failures of all unknown origins after which there is one attempt in [`SLOW`] milliseconds for an address.
const FAILURES_OF_ALL: i64 = 50;
const SLOW: i64 = 20_000;
/// How long a browser is known after its last sign-in, in milliseconds.
pub(crate) const DEVICE_LASTS: i64 = 180 * 24 * 3_600_000;
/// Browsers of one user that are known; the one that signed in the longest time ago is forgotten first.
const DEVICES: i64 = 20;
/// Where an attempt to sign in comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) network: String,
    /// The cookie of a browser in which the user of the address has signed in before.
    pub(crate) device: Option<String>,
}

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    Open,
    /// Not for so many seconds.
    Locked(i64),
}

/// Whether the user has signed in from the browser that has this cookie.
pub(crate) async fn knows_device(
    conn: &mut Connection,
    user: &str,
    cookie: &str,
) -> Result<bool, sqlx::Error> {
    let known: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM console_device WHERE hash = $1 AND user_id = $2 AND last_at > $3",
    )
    .bind(secret::digest(cookie).as_slice())
    .bind(user)
    .bind(now() - DEVICE_LASTS)
    .fetch_one(conn)
    .await?;
    Ok(known > 0)
}

/// Makes the browser known in which a user signed in: what its cookie holds. A browser that was known has a new one.
pub(crate) async fn remember_device(
    conn: &mut Connection,
    user: &str,
    before: Option<&str>,
) -> Result<String, ApiError> {
    let cookie = secret::random_hex::<32>()?;
    sqlx::query("DELETE FROM console_device WHERE last_at <= $1 OR (user_id = $2 AND hash = $3)")
        .bind(now() - DEVICE_LASTS)
        .bind(user)
        .bind(secret::digest(before.unwrap_or_default()).as_slice())
        .execute(&mut *conn)
        .await?;
    sqlx::query("INSERT INTO console_device (hash, user_id, last_at) VALUES ($1, $2, $3)")
        .bind(secret::digest(&cookie).as_slice())
        .bind(user)
        .bind(now())
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "DELETE FROM console_device WHERE user_id = $1 AND hash NOT IN
         (SELECT hash FROM console_device WHERE user_id = $1 ORDER BY last_at DESC, hash LIMIT $2)",
    )
    .bind(user)
    .bind(DEVICES)
    .execute(conn)
    .await?;
    Ok(cookie)
}

/// Counts an attempt before it is known how it ends, so that many at once are not more than a few one after the other.
/// Each origin has a count of its own for an address, known or not, so that a stranger's failures lock the stranger out and not
/// the address. All unknown origins share one that slows them: browsers that are known do not wait for it.
pub(crate) async fn begin(
    conn: &mut Connection,
    email: &str,
    origin: &Origin,
) -> Result<Attempt, sqlx::Error> {
    if failures(&mut *conn, &own_key(email, origin), LOCKED_FOR).await? >= FAILURES {
        return Ok(Attempt::Locked(LOCKED_FOR / 1000));
    }
    let all = key(&["all", email]);
    let is_known = origin.device.is_some();
    if !is_known && failures(&mut *conn, &all, SLOW).await? >= FAILURES_OF_ALL {
        return Ok(Attempt::Locked(SLOW / 1000));
    }
    sqlx::query("DELETE FROM console_failure WHERE last_at <= $1")
        .bind(now() - LOCKED_FOR)
        .execute(&mut *conn)
        .await?;
    failed(&mut *conn, email, &own_key(email, origin)).await?;
    if !is_known {
        failed(conn, email, &all).await?;
    }
    Ok(Attempt::Open)
}

/// Failures of a key, if the last one is no longer ago.
async fn failures(conn: &mut Connection, key: &[u8; 32], ago: i64) -> Result<i64, sqlx::Error> {
    let failures: Option<i64> =
        sqlx::query_scalar("SELECT failures FROM console_failure WHERE hash = $1 AND last_at > $2")
            .bind(key.as_slice())
            .bind(now() - ago)
            .fetch_optional(conn)
            .await?;
    Ok(failures.unwrap_or_default())
}

/// Counts a failure, which an attempt is until it has succeeded.
async fn failed(conn: &mut Connection, email: &str, hash: &[u8; 32]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO console_failure (hash, address, failures, last_at) VALUES ($1, $2, 1, $3)
         ON CONFLICT (hash) DO UPDATE SET failures = console_failure.failures + 1, last_at = excluded.last_at",
    )
    .bind(hash.as_slice())
    .bind(key(&["address", email]).as_slice())
    .bind(now())
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets the failures of the origin from which an address signed in, and its part in those of all.
pub(crate) async fn succeeded(
    conn: &mut Connection,
    email: &str,
    origin: &Origin,
) -> Result<(), sqlx::Error> {
    let own = own_key(email, origin);
    let counted = failures(&mut *conn, &own, LOCKED_FOR).await?;
    sqlx::query("DELETE FROM console_failure WHERE hash = $1")
        .bind(own.as_slice())
        .execute(&mut *conn)
        .await?;
    if origin.device.is_none() {
        sqlx::query("UPDATE console_failure SET failures = failures - $1 WHERE hash = $2")
            .bind(counted)
            .bind(key(&["all", email]).as_slice())
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Forgets all failures of an address.
pub(crate) async fn forgive(conn: &mut Connection, email: &str) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM console_failure WHERE address = $1")
        .bind(key(&["address", email]).as_slice())
        .execute(conn)
        .await?;
    Ok(())
}

/// What counts the failures of one origin.
fn own_key(email: &str, origin: &Origin) -> [u8; 32] {
    match &origin.device {
        Some(device) => key(&["device", email, device]),
        None => key(&["network", email, &origin.network]),
    }
}

/// The same for all spellings that [`by_email`] takes for one. No part can hold the separator.
fn key(parts: &[&str]) -> [u8; 32] {
    let parts: Vec<String> = parts.iter().map(|p| p.trim().to_ascii_lowercase()).collect();
    secret::digest(&parts.join("\0"))
}
