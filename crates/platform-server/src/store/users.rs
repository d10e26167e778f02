//! Users of both kinds.

use std::collections::{BTreeSet, HashMap};

use sqlx::FromRow;

use super::access::{self, Subject};
use super::batch::Batch;
use super::callers;
use super::{Connection, credentials, now, unused_id};
use crate::authz;
use crate::reply::ApiError;
use platform_api::{UserDetails, UserGroupRef, UserSummary, UserType};

const EXISTS: &str = "SELECT count(*) FROM platform_user WHERE id = $1";

#[derive(FromRow)]
struct Row {
    id: String,
    #[sqlx(rename = "type")]
    user_type: String,
    name: String,
    description: Option<String>,
    email: Option<String>,
}

/// How the database writes a type.
pub(crate) fn type_word(user_type: UserType) -> &'static str {
    match user_type {
        UserType::Personal => "personal",
        UserType::Programmatic => "programmatic",
    }
}

/// The type that the database writes so.
pub(crate) fn type_of(word: &str) -> UserType {
    if word == "personal" {
        UserType::Personal
    } else {
        UserType::Programmatic
    }
}

/// All users, the oldest first.
pub(crate) async fn list(conn: &mut Connection) -> Result<Vec<UserSummary>, sqlx::Error> {
    let mut groups = HashMap::<String, Vec<String>>::new();
    let pairs: Vec<(String, String)> = sqlx::query_as(
        "SELECT m.user_id, g.name FROM group_member m JOIN user_group g ON g.id = m.group_id ORDER BY g.position",
    )
    .fetch_all(&mut *conn)
    .await?;
    for (user, group) in pairs {
        groups.entry(user).or_default().push(group);
    }
    let rows: Vec<Row> =
        sqlx::query_as("SELECT id, type, name, description, email FROM platform_user ORDER BY position")
            .fetch_all(conn)
            .await?;
    let summary = |r: Row| UserSummary {
        group_names: groups.remove(&r.id).unwrap_or_default(),
        user_id: r.id,
        username: r.name,
        user_type: type_of(&r.user_type),
        email: r.email,
        mfa: false,
    };
    Ok(rows.into_iter().map(summary).collect())
}

/// How many users there are of each type.
pub(crate) async fn count(conn: &mut Connection) -> Result<[(&'static str, i64); 2], sqlx::Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT type, count(*) FROM platform_user GROUP BY type")
        .fetch_all(conn)
        .await?;
    let of = |user_type| {
        let word = type_word(user_type);
        (word, rows.iter().find(|(t, _)| t == word).map_or(0, |(_, n)| *n))
    };
    Ok([of(UserType::Personal), of(UserType::Programmatic)])
}

/// The accounts in which each user has a policy that holds there, directly or by a group; `*` for all of them.
pub(crate) async fn accounts(
    conn: &mut Connection,
) -> Result<HashMap<String, BTreeSet<String>>, sqlx::Error> {
    let pairs: Vec<(String, String)> = sqlx::query_as(
        "SELECT g.user_id, coalesce(a.account_id, '*') FROM policy_grant g
         LEFT JOIN grant_account a ON a.grant_id = g.id WHERE g.user_id IS NOT NULL
         UNION SELECT m.user_id, coalesce(a.account_id, '*') FROM group_member m
         JOIN policy_grant g ON g.group_id = m.group_id LEFT JOIN grant_account a ON a.grant_id = g.id",
    )
    .fetch_all(conn)
    .await?;
    let mut found = HashMap::<String, BTreeSet<String>>::new();
    for (user, account) in pairs {
        found.entry(user).or_default().insert(account);
    }
    Ok(found)
}

/// The number of a user that is there, in the order of their creation.
pub(crate) async fn number(conn: &mut Connection, id: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT position FROM platform_user WHERE id = $1")
        .bind(id)
        .fetch_one(conn)
        .await
}

/// Everything about a user but its secrets.
pub(crate) async fn details(conn: &mut Connection, id: &str) -> Result<Option<UserDetails>, sqlx::Error> {
    let row: Option<Row> =
        sqlx::query_as("SELECT id, type, name, description, email FROM platform_user WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut *conn)
            .await?;
    let Some(row) = row else { return Ok(None) };
    let in_groups: Vec<(String, String)> = sqlx::query_as(
        "SELECT g.id, g.name FROM group_member m JOIN user_group g ON g.id = m.group_id
         WHERE m.user_id = $1 ORDER BY g.position",
    )
    .bind(id)
    .fetch_all(&mut *conn)
    .await?;
    let mut groups = Vec::with_capacity(in_groups.len());
    for (group, name) in in_groups {
        let policies = access::grants(&mut *conn, Subject::Group(&group)).await?;
        let policy_names = policies.into_iter().map(|p| p.policy_name).collect();
        groups.push(UserGroupRef {
            id: group,
            name,
            policy_names,
        });
    }
    Ok(Some(UserDetails {
        policies: access::grants(&mut *conn, Subject::User(id)).await?,
        tokens: credentials::tokens(conn, id).await?,
        user_id: row.id,
        username: row.name,
        user_type: type_of(&row.user_type),
        email: row.email,
        mfa: false,
        description: row.description,
        groups,
    }))
}

/// The e-mail address of a user; programmatic ones have none.
pub(crate) async fn email(conn: &mut Connection, id: &str) -> Result<Option<String>, sqlx::Error> {
    let found: Option<Option<String>> = sqlx::query_scalar("SELECT email FROM platform_user WHERE id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await?;
    Ok(found.flatten())
}

/// The console user of an e-mail address, however it is spelled.
pub(crate) async fn by_email(conn: &mut Connection, email: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM platform_user WHERE lower(email) = lower($1)")
        .bind(email)
        .fetch_optional(conn)
        .await
}

/// The id of a new user, which the batch makes, without rights and without credentials.
pub(crate) async fn create(
    conn: &mut Connection,
    batch: &mut Batch,
    user_type: UserType,
    name: &str,
    description: Option<&str>,
    email: Option<&str>,
) -> Result<String, ApiError> {
    let prefix = match user_type {
        UserType::Personal => "u",
        UserType::Programmatic => "pu",
    };
    let id = unused_id(conn, prefix, EXISTS).await?;
    batch
        .statement(
            "INSERT INTO platform_user (id, type, name, description, email, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id.as_str())
        .bind(type_word(user_type))
        .bind(name)
        .bind(description)
        .bind(email)
        .bind(now());
    Ok(id)
}

/// Deletes a user with its credentials and rights; false if there is none.
pub(crate) async fn delete(conn: &mut Connection, id: &str) -> Result<bool, sqlx::Error> {
    credentials::mark_deleted(&mut *conn, id).await?;
    let done = sqlx::query("DELETE FROM platform_user WHERE id = $1")
        .bind(id)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Fails unless a user administers the organization: checked at the end of every change that could take the right from the
/// last administrator, since no caller could give it back.
pub(crate) async fn require_administrator(conn: &mut Connection) -> Result<(), ApiError> {
    let candidates: Vec<String> = sqlx::query_scalar(
        "SELECT user_id FROM policy_grant WHERE policy_id = $1 AND user_id IS NOT NULL
         UNION SELECT m.user_id FROM policy_grant g JOIN group_member m ON m.group_id = g.group_id
         WHERE g.policy_id = $1",
    )
    .bind(crate::catalog::ADMIN)
    .fetch_all(&mut *conn)
    .await?;
    for user in candidates {
        if authz::administers(&callers::effective(&mut *conn, &user).await?.grants) {
            return Ok(());
        }
    }
    let message = "This would leave the organization without an administrator";
    Err(ApiError::Conflict("LAST_ADMINISTRATOR", message.into()))
}
