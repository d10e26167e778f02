//! Policies, groups and grants.

use serde_json::Value;
use sqlx::FromRow;

use super::batch::Batch;
use super::{Connection, exists, now, unused_id, written};
use crate::reply::ApiError;
use platform_api::{Policy, PolicyGrant, UserGroup, UserPolicy};

const GROUP_EXISTS: &str = "SELECT count(*) FROM user_group WHERE id = $1";

/// The holder of a grant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    User(&'a str),
    Group(&'a str),
}

impl<'a> Subject<'a> {
    /// Unlike any id of the other kind.
    fn id(self) -> &'a str {
        match self {
            Self::User(id) | Self::Group(id) => id,
        }
    }

    /// Values of the columns `user_id` and `group_id`.
    fn columns(self) -> (Option<&'a str>, Option<&'a str>) {
        match self {
            Self::User(id) => (Some(id), None),
            Self::Group(id) => (None, Some(id)),
        }
    }
}

#[derive(FromRow)]
struct PolicyRow {
    id: String,
    name: String,
    description: Option<String>,
    #[sqlx(rename = "type")]
    policy_type: String,
    content: String,
    created_at: i64,
    updated_at: i64,
}

#[derive(FromRow)]
struct GrantRow {
    id: i64,
    policy_id: String,
    name: String,
    #[sqlx(rename = "type")]
    policy_type: String,
    account_id: Option<String>,
}

/// All policies, the built-in ones first.
pub(crate) async fn policies(conn: &mut Connection) -> Result<Vec<Policy>, sqlx::Error> {
    select_policies(conn, None).await
}

/// Those for accounts that every account has, and those that are given in this one.
pub(crate) async fn policies_of(conn: &mut Connection, account: &str) -> Result<Vec<Policy>, sqlx::Error> {
    select_policies(conn, Some(account)).await
}

async fn select_policies(conn: &mut Connection, account: Option<&str>) -> Result<Vec<Policy>, sqlx::Error> {
    let rows: Vec<PolicyRow> = sqlx::query_as(
        "SELECT id, name, description, type, content, created_at, updated_at FROM policy
         WHERE $1 IS NULL OR type = 'SPOT_MANAGED_ACCOUNT' OR type = 'ACCOUNT' AND id IN
         (SELECT g.policy_id FROM policy_grant g JOIN grant_account a ON a.grant_id = g.id
          WHERE a.account_id = $1 OR a.account_id = '*')
         ORDER BY id LIKE 'pol-%', created_at, id",
    )
    .bind(account)
    .fetch_all(conn)
    .await?;
    let policy = |r: PolicyRow| Policy {
        id: r.id,
        name: r.name,
        description: r.description,
        policy_type: r.policy_type,
        policy_content: serde_json::from_str(&r.content).unwrap_or_default(),
        created_at: Some(written(r.created_at)),
        updated_at: Some(written(r.updated_at)),
    };
    Ok(rows.into_iter().map(policy).collect())
}

/// The type of a policy, if there is such a policy.
pub(crate) async fn policy_type(conn: &mut Connection, id: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT type FROM policy WHERE id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await
}

/// Adds a policy; generates its id unless given.
pub(crate) async fn create_policy(
    conn: &mut Connection,
    id: Option<&str>,
    name: &str,
    description: Option<&str>,
    policy_type: &str,
    content: &Value,
) -> Result<String, ApiError> {
    let id = match id {
        Some(id) => id.to_owned(),
        None => unused_id(conn, "pol", "SELECT count(*) FROM policy WHERE id = $1").await?,
    };
    let at = now();
    sqlx::query(
        "INSERT INTO policy (id, name, description, type, content, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&id)
    .bind(name)
    .bind(description)
    .bind(policy_type)
    .bind(content.to_string())
    .bind(at)
    .bind(at)
    .execute(conn)
    .await?;
    Ok(id)
}

/// Changes what is given of a policy.
pub(crate) async fn update_policy(
    conn: &mut Connection,
    id: &str,
    name: Option<&str>,
    description: Option<&str>,
    content: Option<&Value>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE policy SET name = coalesce($1, name), description = coalesce($2, description),
         content = coalesce($3, content), updated_at = $4 WHERE id = $5",
    )
    .bind(name)
    .bind(description)
    .bind(content.map(Value::to_string))
    .bind(now())
    .bind(id)
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether a user or group has the policy.
pub(crate) async fn policy_in_use(conn: &mut Connection, id: &str) -> Result<bool, sqlx::Error> {
    exists(conn, "SELECT count(*) FROM policy_grant WHERE policy_id = $1", id).await
}

/// Removes a policy that is not in use.
pub(crate) async fn delete_policy(conn: &mut Connection, id: &str) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM policy WHERE id = $1")
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Replaces the direct policies of a user or group.
pub(crate) async fn set_grants(
    conn: &mut Connection,
    subject: Subject<'_>,
    grants: &[PolicyGrant],
) -> Result<(), sqlx::Error> {
    let mut batch = Batch::default();
    batch
        .statement("DELETE FROM policy_grant WHERE user_id = $1 OR group_id = $1")
        .bind(subject.id());
    give(&mut batch, subject, grants);
    batch.execute(conn).await
}

/// Gives policies, each once, to a user or group that has none.
pub(crate) fn give(batch: &mut Batch, subject: Subject<'_>, grants: &[PolicyGrant]) {
    let (user, group) = subject.columns();
    // By the one column or by the other: for "or" SQLite would scan all grants of the policy. An account that is
    // not there is no value, which the table refuses.
    let account_too = match subject {
        Subject::User(_) => {
            "INSERT INTO grant_account (grant_id, account_id)
             SELECT id, CASE $1 WHEN '*' THEN '*' ELSE (SELECT id FROM account WHERE id = $1) END
             FROM policy_grant WHERE policy_id = $2 AND user_id = $3 ON CONFLICT DO NOTHING"
        }
        Subject::Group(_) => {
            "INSERT INTO grant_account (grant_id, account_id)
             SELECT id, CASE $1 WHEN '*' THEN '*' ELSE (SELECT id FROM account WHERE id = $1) END
             FROM policy_grant WHERE policy_id = $2 AND group_id = $3 ON CONFLICT DO NOTHING"
        }
    };
    for grant in grants {
        let policy = grant.policy_id.as_str();
        batch
            .statement("INSERT INTO policy_grant (policy_id, user_id, group_id) VALUES ($1, $2, $3)")
            .bind(policy)
            .bind(user)
            .bind(group);
        for account in &grant.account_ids {
            batch
                .statement(account_too)
                .bind(account.as_str())
                .bind(policy)
                .bind(subject.id());
        }
    }
}

/// The direct policies of a user or group.
pub(crate) async fn grants(
    conn: &mut Connection,
    subject: Subject<'_>,
) -> Result<Vec<UserPolicy>, sqlx::Error> {
    let rows: Vec<GrantRow> = sqlx::query_as(
        "SELECT g.id, g.policy_id, p.name, p.type, a.account_id
         FROM policy_grant g JOIN policy p ON p.id = g.policy_id LEFT JOIN grant_account a ON a.grant_id = g.id
         WHERE g.user_id = $1 OR g.group_id = $1 ORDER BY g.id, a.account_id",
    )
    .bind(subject.id())
    .fetch_all(conn)
    .await?;
    let mut found: Vec<(i64, UserPolicy)> = Vec::new();
    for row in rows {
        match found.last_mut() {
            Some((id, policy)) if *id == row.id => policy.account_ids.extend(row.account_id),
            _ => found.push((
                row.id,
                UserPolicy {
                    policy_id: row.policy_id,
                    policy_name: row.name,
                    policy_type: row.policy_type,
                    account_ids: row.account_id.into_iter().collect(),
                },
            )),
        }
    }
    Ok(found.into_iter().map(|(_, policy)| policy).collect())
}

#[derive(FromRow)]
struct GroupRow {
    id: String,
    name: String,
    description: Option<String>,
    created_at: i64,
    users_count: i64,
}

pub(crate) async fn groups(conn: &mut Connection) -> Result<Vec<UserGroup>, sqlx::Error> {
    select_groups(conn, None).await
}

pub(crate) async fn group(conn: &mut Connection, id: &str) -> Result<Option<UserGroup>, sqlx::Error> {
    Ok(select_groups(conn, Some(id)).await?.pop())
}

async fn select_groups(conn: &mut Connection, id: Option<&str>) -> Result<Vec<UserGroup>, sqlx::Error> {
    let rows: Vec<GroupRow> = sqlx::query_as(
        "SELECT id, name, description, created_at,
         (SELECT count(*) FROM group_member m WHERE m.group_id = g.id) AS users_count
         FROM user_group g WHERE $1 IS NULL OR id = $1 ORDER BY position",
    )
    .bind(id)
    .fetch_all(&mut *conn)
    .await?;
    let mut names = std::collections::HashMap::<String, Vec<String>>::new();
    let pairs: Vec<(String, String)> = sqlx::query_as(
        "SELECT g.group_id, p.name FROM user_group u JOIN policy_grant g ON g.group_id = u.id
         JOIN policy p ON p.id = g.policy_id WHERE $1 IS NULL OR u.id = $1 ORDER BY g.id",
    )
    .bind(id)
    .fetch_all(conn)
    .await?;
    for (group, name) in pairs {
        names.entry(group).or_default().push(name);
    }
    let group = |r: GroupRow| UserGroup {
        policy_names: names.remove(&r.id).unwrap_or_default(),
        id: r.id,
        name: r.name,
        description: r.description,
        created_at: Some(written(r.created_at)),
        users_count: r.users_count,
    };
    Ok(rows.into_iter().map(group).collect())
}

/// Makes a group; the result is its id.
pub(crate) async fn create_group(
    conn: &mut Connection,
    name: &str,
    description: Option<&str>,
) -> Result<String, ApiError> {
    let id = unused_id(conn, "ugr", GROUP_EXISTS).await?;
    sqlx::query("INSERT INTO user_group (id, name, description, created_at) VALUES ($1, $2, $3, $4)")
        .bind(&id)
        .bind(name)
        .bind(description)
        .bind(now())
        .execute(conn)
        .await?;
    Ok(id)
}

/// Changes what is given of a group.
pub(crate) async fn update_group(
    conn: &mut Connection,
    id: &str,
    name: Option<&str>,
    description: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE user_group SET name = coalesce($1, name), description = coalesce($2, description) WHERE id = $3",
    )
    .bind(name)
    .bind(description)
    .bind(id)
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes a group; its members stay users.
pub(crate) async fn delete_group(conn: &mut Connection, id: &str) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM user_group WHERE id = $1")
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Id, name and type of each member of a group.
pub(crate) async fn members(
    conn: &mut Connection,
    group: &str,
) -> Result<Vec<(String, String, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT u.id, u.name, u.type FROM group_member m JOIN platform_user u ON u.id = m.user_id
         WHERE m.group_id = $1 ORDER BY u.position",
    )
    .bind(group)
    .fetch_all(conn)
    .await
}

pub(crate) async fn set_members(
    conn: &mut Connection,
    group: &str,
    users: &[String],
) -> Result<(), sqlx::Error> {
    let mut batch = Batch::default();
    let all = "DELETE FROM group_member WHERE group_id = $1";
    batch.statement(all).bind(group);
    for user in users {
        join(&mut batch, group, user);
    }
    batch.execute(conn).await
}

pub(crate) async fn set_groups(
    conn: &mut Connection,
    user: &str,
    groups: &[String],
) -> Result<(), sqlx::Error> {
    let mut batch = Batch::default();
    let all = "DELETE FROM group_member WHERE user_id = $1";
    batch.statement(all).bind(user);
    for group in groups {
        join(&mut batch, group, user);
    }
    batch.execute(conn).await
}

fn join(batch: &mut Batch, group: &str, user: &str) {
    let one = "INSERT INTO group_member (group_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    batch.statement(one).bind(group).bind(user);
}
