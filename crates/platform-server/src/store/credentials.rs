//! What opens the API: tokens. Stored as hashes only.

use sqlx::FromRow;

use super::batch::{Batch, require};
use super::{Connection, now, written};
use crate::reply::ApiError;
use crate::secret;
use platform_api::{Token, TokenInfo};

/// How exact the time of last use is: writing it for every request would make each read a write.
const LAST_USED_STEP: i64 = 60_000;

#[derive(Debug, Clone, FromRow)]
pub(crate) struct Owner {
    pub(crate) user_id: String,
    pub(crate) user_name: String,
    pub(crate) user_type: String,
    pub(crate) last_digits: String,
    #[sqlx(default)]
    pub(crate) token_id: Option<i64>,
    #[sqlx(default)]
    pub(crate) last_used_at: Option<i64>,
    #[sqlx(default)]
    hash: Vec<u8>,
}

impl Owner {
    /// Whether its token has this hash. The index finds by hash, whose prefix no caller can choose; this comparison, in constant
    /// time, decides.
    pub(crate) fn has(&self, hash: &[u8]) -> bool {
        secret::same(&self.hash, hash)
    }

    /// Whether the time of last use is due to be written.
    pub(crate) fn use_is_news(&self) -> bool {
        self.last_used_at.is_none_or(|at| now() - at >= LAST_USED_STEP)
    }
}

/// A new token: 256 random bits.
pub(crate) fn generate() -> Result<Token, ApiError> {
    let text = secret::random_hex::<32>()?;
    Token::new(&text).ok_or(ApiError::Internal("a generated token is unusable"))
}

pub(crate) fn add(batch: &mut Batch, user: &str, name: &str, token: &Token) {
    batch
        .statement(
            "INSERT INTO token (user_id, name, hash, last_digits, created_at) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(user)
        .bind(name)
        .bind(secret::digest(token.expose()).as_slice())
        .bind(token.last_digits())
        .bind(now());
}

/// What the API shows of a user's tokens.
pub(crate) async fn tokens(conn: &mut Connection, user: &str) -> Result<Vec<TokenInfo>, sqlx::Error> {
    let rows: Vec<(i64, String, String, i64, Option<i64>)> = sqlx::query_as(
        "SELECT id, name, last_digits, created_at, last_used_at FROM token WHERE user_id = $1 ORDER BY id",
    )
    .bind(user)
    .fetch_all(conn)
    .await?;
    let info =
        |(token_id, name, token_last_digits, created_at, last_used_at): (i64, _, _, i64, Option<i64>)| {
            TokenInfo {
                name,
                created_at: written(created_at),
                token_id,
                token_last_digits,
                last_used_at: last_used_at.map(written),
            }
        };
    Ok(rows.into_iter().map(info).collect())
}

/// The owner of a token that is valid now, by its hash.
pub(crate) async fn owner(conn: &mut Connection, hash: &[u8; 32]) -> Result<Option<Owner>, sqlx::Error> {
    let owner: Option<Owner> = sqlx::query_as(
        "SELECT u.id AS user_id, u.name AS user_name, u.type AS user_type, t.last_digits, t.id AS token_id,
         t.last_used_at, t.hash
         FROM token t JOIN platform_user u ON u.id = t.user_id WHERE t.hash = $1",
    )
    .bind(hash.as_slice())
    .fetch_optional(conn)
    .await?;
    Ok(owner.filter(|o| o.has(hash)))
}

/// The former owner of a token that was revoked, by its hash: for the audit log only.
pub(crate) async fn former_owner(
    conn: &mut Connection,
    hash: &[u8; 32],
) -> Result<Option<Owner>, sqlx::Error> {
    sqlx::query_as("SELECT user_id, user_name, user_type, last_digits FROM revoked_token WHERE hash = $1")
        .bind(hash.as_slice())
        .fetch_optional(conn)
        .await
}

/// Fails with the batch unless a token is valid by then.
pub(crate) fn require(batch: &mut Batch, hash: &[u8; 32]) {
    batch
        .statement(require!("EXISTS (SELECT 1 FROM token WHERE hash = $1)"))
        .bind(hash.as_slice());
}

/// Keeps the hashes of a user's tokens when they go, see [`former_owner`].
pub(crate) async fn mark_deleted(conn: &mut Connection, user: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO revoked_token (hash, user_id, user_name, user_type, last_digits)
         SELECT t.hash, u.id, u.name, u.type, t.last_digits FROM token t JOIN platform_user u ON u.id = t.user_id
         WHERE u.id = $1 ON CONFLICT DO NOTHING",
    )
    .bind(user)
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn revoke(conn: &mut Connection, user: &str) -> Result<(), sqlx::Error> {
    mark_deleted(&mut *conn, user).await?;
    sqlx::query("DELETE FROM token WHERE user_id = $1")
        .bind(user)
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes the time of last use.
pub(crate) fn update_last_used(batch: &mut Batch, token: i64) {
    batch
        .statement("UPDATE token SET last_used_at = $1 WHERE id = $2")
        .bind(now())
        .bind(token);
}
