//! What a caller may do; by a token, together with who it is.

use std::sync::Arc;

use serde::Deserialize;
use sqlx::FromRow;

use super::Connection;
use super::credentials::Owner;
use crate::server::authz::{Grant, Reach, Statement};
use crate::server::catalog;
use crate::server::reply::ApiError;
use crate::server::secret;

/// One account of a grant.
#[derive(FromRow)]
struct Given {
    id: i64,
    policy_id: String,
    #[sqlx(rename = "type")]
    policy_type: String,
    content: String,
    account_id: Option<String>,
}

/// The owner of a token, with one account of a grant if there is one.
#[derive(FromRow)]
struct Holder {
    #[sqlx(flatten)]
    owner: Owner,
    id: Option<i64>,
    policy_id: Option<String>,
    #[sqlx(rename = "type")]
    policy_type: Option<String>,
    content: Option<String>,
    account_id: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    statements: Vec<Statement>,
}

/// All that a user may do, its groups' policies included. A policy that cannot be read denies everything: left
/// out, its denying statements would be missing.
pub(crate) async fn effective(conn: &mut Connection, user: &str) -> Result<Vec<Grant>, ApiError> {
    let rows: Vec<Given> = sqlx::query_as(
        "SELECT g.id, g.policy_id, p.type, p.content, a.account_id
         FROM (SELECT id, policy_id FROM policy_grant WHERE user_id = $1
               UNION ALL SELECT o.id, o.policy_id FROM group_member m JOIN policy_grant o ON o.group_id = m.group_id
               WHERE m.user_id = $1) g
         JOIN policy p ON p.id = g.policy_id LEFT JOIN grant_account a ON a.grant_id = g.id
         ORDER BY g.id, a.account_id",
    )
    .bind(user)
    .fetch_all(conn)
    .await?;
    grants(rows)
}

/// The owner of a token that is valid now, and what [`effective`] says of it: by one statement, since every call of the API
/// begins with it.
pub(crate) async fn holder(
    conn: &mut Connection,
    token: &str,
) -> Result<Option<(Owner, Vec<Grant>)>, ApiError> {
    let digest = secret::digest(token);
    let rows: Vec<Holder> = sqlx::query_as(
        "SELECT u.id AS user_id, u.name AS user_name, u.type AS user_type, t.last_digits, t.id AS token_id,
                t.last_used_at, t.hash, x.id, x.policy_id, x.type, x.content, x.account_id
         FROM token t JOIN platform_user u ON u.id = t.user_id
         LEFT JOIN (SELECT g.id, g.policy_id, p.type, p.content, a.account_id
                    FROM (SELECT id, policy_id FROM policy_grant
                          WHERE user_id = (SELECT user_id FROM token WHERE hash = $1)
                          UNION ALL SELECT o.id, o.policy_id
                          FROM group_member m JOIN policy_grant o ON o.group_id = m.group_id
                          WHERE m.user_id = (SELECT user_id FROM token WHERE hash = $1)) g
                    JOIN policy p ON p.id = g.policy_id LEFT JOIN grant_account a ON a.grant_id = g.id) x
         ON x.id IS NOT NULL
         WHERE t.hash = $1 ORDER BY x.id, x.account_id",
    )
    .bind(digest.as_slice())
    .fetch_all(conn)
    .await?;
    let mut owner = None;
    let mut given = Vec::new();
    for row in rows {
        owner = Some(row.owner);
        // Without a grant all of these are NULL.
        if let (Some(id), Some(policy_id), Some(policy_type), Some(content)) =
            (row.id, row.policy_id, row.policy_type, row.content)
        {
            given.push(Given {
                id,
                policy_id,
                policy_type,
                content,
                account_id: row.account_id,
            });
        }
    }
    let owner = owner.filter(|owner: &Owner| owner.has(&digest));
    owner.map(|owner| Ok((owner, grants(given)?))).transpose()
}

/// Each grant with all its accounts, from rows in the order of grants.
fn grants(rows: Vec<Given>) -> Result<Vec<Grant>, ApiError> {
    let mut found: Vec<(i64, Grant)> = Vec::new();
    for row in rows {
        if let Some((id, grant)) = found.last_mut()
            && *id == row.id
        {
            grant.accounts.extend(row.account_id);
            continue;
        }
        let document: Document = serde_json::from_str(&row.content)
            .map_err(|_| ApiError::Internal("a stored policy is broken"))?;
        let reach = if row.policy_type.ends_with("ORGANIZATION") {
            Reach::Organization
        } else {
            Reach::Account
        };
        let grant = Grant {
            administrator: row.policy_id == catalog::ADMIN,
            policy_id: row.policy_id,
            reach,
            accounts: row.account_id.into_iter().collect(),
            statements: Arc::from(document.statements),
        };
        found.push((row.id, grant));
    }
    Ok(found.into_iter().map(|(_, grant)| grant).collect())
}
