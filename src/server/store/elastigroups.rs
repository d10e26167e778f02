//! The resources that accounts hold, so that rights mean something: groups of machines by name.

use serde_json::{Value, json};
use sqlx::{FromRow, SqliteConnection};

use super::{now, unused_id, written};
use crate::server::reply::ApiError;

/// A group of machines.
#[derive(Debug, FromRow)]
pub(crate) struct Elastigroup {
    pub(crate) id: String,
    pub(crate) account_id: String,
    pub(crate) name: String,
    pub(crate) created_at: i64,
}

impl Elastigroup {
    /// As the wire has it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "accountId": self.account_id, "createdAt": written(self.created_at),
        })
    }
}

/// The groups of an account.
pub(crate) async fn list(
    conn: &mut SqliteConnection,
    account: &str,
) -> Result<Vec<Elastigroup>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, account_id, name, created_at FROM elastigroup WHERE account_id = ? ORDER BY position",
    )
    .bind(account)
    .fetch_all(conn)
    .await
}

/// A group of that account.
pub(crate) async fn find(
    conn: &mut SqliteConnection,
    account: &str,
    id: &str,
) -> Result<Option<Elastigroup>, sqlx::Error> {
    sqlx::query_as("SELECT id, account_id, name, created_at FROM elastigroup WHERE account_id = ? AND id = ?")
        .bind(account)
        .bind(id)
        .fetch_optional(conn)
        .await
}

/// Makes a group.
pub(crate) async fn create(
    conn: &mut SqliteConnection,
    account: &str,
    name: &str,
) -> Result<Elastigroup, ApiError> {
    let id = unused_id(
        conn,
        "sig",
        "SELECT EXISTS (SELECT 1 FROM elastigroup WHERE id = ?)",
    )
    .await?;
    let group = Elastigroup {
        id,
        account_id: account.to_owned(),
        name: name.to_owned(),
        created_at: now(),
    };
    sqlx::query("INSERT INTO elastigroup (id, account_id, name, created_at) VALUES (?, ?, ?, ?)")
        .bind(&group.id)
        .bind(&group.account_id)
        .bind(&group.name)
        .bind(group.created_at)
        .execute(conn)
        .await?;
    Ok(group)
}

/// Deletes a group; false if the account has none of that id.
pub(crate) async fn delete(
    conn: &mut SqliteConnection,
    account: &str,
    id: &str,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("DELETE FROM elastigroup WHERE account_id = ? AND id = ?")
        .bind(account)
        .bind(id)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}
