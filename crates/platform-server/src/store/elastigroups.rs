//! The resources that accounts hold, so that rights mean something: groups of machines by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::FromRow;

use super::{Connection, now, unused_id, written};
use crate::reply::ApiError;

/// A tag of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tag {
    pub(crate) tag_key: String,
    pub(crate) tag_value: String,
}

/// The tags of a group, stored as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Tags(Vec<Tag>);

impl TryFrom<String> for Tags {
    type Error = serde_json::Error;

    fn try_from(stored: String) -> Result<Self, Self::Error> {
        serde_json::from_str(&stored)
    }
}

#[derive(Debug, FromRow)]
pub(crate) struct Elastigroup {
    pub(crate) id: String,
    pub(crate) account_id: String,
    pub(crate) name: String,
    #[sqlx(try_from = "String")]
    pub(crate) tags: Tags,
    pub(crate) created_at: i64,
}

impl Elastigroup {
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "accountId": self.account_id, "createdAt": written(self.created_at),
            "compute": {"launchSpecification": {"tags": self.tags.0}},
        })
    }

    /// What conditions of policies can be about.
    pub(crate) fn attributes(&self) -> BTreeMap<String, String> {
        attributes(&self.name, &self.tags.0)
    }
}

/// The same of a group that does not exist yet.
pub(crate) fn attributes(name: &str, tags: &[Tag]) -> BTreeMap<String, String> {
    let tag = |t: &Tag| (format!("elastigroup:tags/{}", t.tag_key), t.tag_value.clone());
    let name = ("elastigroup:name".to_owned(), name.to_owned());
    std::iter::once(name).chain(tags.iter().map(tag)).collect()
}

pub(crate) async fn list(conn: &mut Connection, account: &str) -> Result<Vec<Elastigroup>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, account_id, name, tags, created_at FROM elastigroup WHERE account_id = $1 ORDER BY position",
    )
    .bind(account)
    .fetch_all(conn)
    .await
}

pub(crate) async fn find(
    conn: &mut Connection,
    account: &str,
    id: &str,
) -> Result<Option<Elastigroup>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, account_id, name, tags, created_at FROM elastigroup WHERE account_id = $1 AND id = $2",
    )
    .bind(account)
    .bind(id)
    .fetch_optional(conn)
    .await
}

pub(crate) async fn create(
    conn: &mut Connection,
    account: &str,
    name: &str,
    tags: Vec<Tag>,
) -> Result<Elastigroup, ApiError> {
    let id = unused_id(conn, "sig", "SELECT count(*) FROM elastigroup WHERE id = $1").await?;
    let group = Elastigroup {
        id,
        account_id: account.to_owned(),
        name: name.to_owned(),
        tags: Tags(tags),
        created_at: now(),
    };
    sqlx::query(
        "INSERT INTO elastigroup (id, account_id, name, tags, created_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&group.id)
    .bind(&group.account_id)
    .bind(&group.name)
    .bind(json!(group.tags).to_string())
    .bind(group.created_at)
    .execute(conn)
    .await?;
    Ok(group)
}

/// Deletes a group; false if the account has none of that id.
pub(crate) async fn delete(conn: &mut Connection, account: &str, id: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("DELETE FROM elastigroup WHERE account_id = $1 AND id = $2")
        .bind(account)
        .bind(id)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}
