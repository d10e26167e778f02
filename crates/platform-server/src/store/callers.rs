//! Callers and their rights.

use std::sync::Arc;

use serde::Deserialize;
use sqlx::FromRow;

use super::Connection;
use super::batch::{Batch, require};
use super::credentials::Owner;
use crate::authz::{Grant, Reach, Statement};
use crate::catalog;
use crate::reply::ApiError;

#[derive(Debug, Clone)]
pub(crate) struct Rights {
    pub(crate) grants: Vec<Grant>,
    /// Changes with them, see [`require_unchanged`].
    mark: String,
}

/// One account of a grant.
#[derive(FromRow)]
struct Given {
    id: i64,
    policy_id: String,
    #[sqlx(rename = "type")]
    policy_type: String,
    content: String,
    account_id: Option<String>,
    mark: String,
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
    mark: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    statements: Vec<Statement>,
}

/// The grants of a user and of its groups, each with its policy and, one by one, its accounts.
macro_rules! given {
    ($user:literal) => {
        concat!(
            "(SELECT id, policy_id FROM policy_grant WHERE user_id = ",
            $user,
            " UNION ALL SELECT o.id, o.policy_id FROM group_member m JOIN policy_grant o ON o.group_id = m.group_id
              WHERE m.user_id = ",
            $user,
            ") g JOIN policy p ON p.id = g.policy_id LEFT JOIN grant_account a ON a.grant_id = g.id"
        )
    };
}

/// What changes of one of those with what it allows.
macro_rules! mark {
    () => {
        "g.id || ' ' || g.policy_id || ' ' || p.updated_at || ' ' || coalesce(a.account_id, '')"
    };
}

/// All that a user may do, its groups' policies included. A policy that cannot be read denies everything: left
/// out, its denying statements would be missing.
pub(crate) async fn effective(conn: &mut Connection, user: &str) -> Result<Rights, ApiError> {
    let rows: Vec<Given> = sqlx::query_as(concat!(
        "SELECT g.id, g.policy_id, p.type, p.content, a.account_id, ",
        mark!(),
        " AS mark FROM ",
        given!("$1"),
        " ORDER BY g.id, a.account_id",
    ))
    .bind(user)
    .fetch_all(conn)
    .await?;
    rights(rows)
}

/// The owner of a token that is valid now, by the token's hash, and what [`effective`] says of it: by one statement, since
/// every call of the API begins with it.
pub(crate) async fn holder(
    conn: &mut Connection,
    hash: &[u8; 32],
) -> Result<Option<(Owner, Rights)>, ApiError> {
    let rows: Vec<Holder> = sqlx::query_as(concat!(
        "SELECT u.id AS user_id, u.name AS user_name, u.type AS user_type, t.last_digits, t.id AS token_id,
                t.last_used_at, t.hash, x.id, x.policy_id, x.type, x.content, x.account_id, x.mark
         FROM token t JOIN platform_user u ON u.id = t.user_id
         LEFT JOIN (SELECT g.id, g.policy_id, p.type, p.content, a.account_id, ",
        mark!(),
        " AS mark FROM ",
        given!("(SELECT user_id FROM token WHERE hash = $1)"),
        ") x ON x.id IS NOT NULL
         WHERE t.hash = $1 ORDER BY x.id, x.account_id",
    ))
    .bind(hash.as_slice())
    .fetch_all(conn)
    .await?;
    let mut owner = None;
    let mut given = Vec::new();
    for row in rows {
        owner = Some(row.owner);
        // Without a grant all of these are NULL.
        if let (Some(id), Some(policy_id), Some(policy_type), Some(content), Some(mark)) =
            (row.id, row.policy_id, row.policy_type, row.content, row.mark)
        {
            given.push(Given {
                id,
                policy_id,
                policy_type,
                content,
                account_id: row.account_id,
                mark,
            });
        }
    }
    let owner = owner.filter(|owner: &Owner| owner.has(hash));
    owner.map(|owner| Ok((owner, rights(given)?))).transpose()
}

/// Fails with the batch unless a user has the very rights by then that were looked up.
pub(crate) fn require_unchanged(batch: &mut Batch, user: &str, rights: &Rights) {
    batch
        .statement(require!(
            "$2 = coalesce((SELECT string_agg(",
            mark!(),
            ", ',' ORDER BY g.id, a.account_id) FROM ",
            given!("$1"),
            "), '')",
        ))
        .bind(user)
        .bind(rights.mark.as_str());
}

/// Each grant with all its accounts, from rows in the order of grants.
fn rights(rows: Vec<Given>) -> Result<Rights, ApiError> {
    let marks: Vec<&str> = rows.iter().map(|row| row.mark.as_str()).collect();
    let mark = marks.join(",");
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
    let grants = found.into_iter().map(|(_, grant)| grant).collect();
    Ok(Rights { grants, mark })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{effective, require_unchanged};
    use crate::store::access::{self, Subject};
    use crate::store::batch::Batch;
    use crate::store::queue::is_overtaken;
    use crate::store::{Store, users};
    use platform_api::{PolicyGrant, UserType};

    /// Whatever changes of what a user may do, directly or by a group, a batch notices.
    #[tokio::test]
    async fn a_batch_fails_if_rights_have_changed() {
        let (store, _directory) = Store::scratch().await;
        let mut tx = store.write().await.unwrap();
        let allow = json!({"statements": [{"effect": "ALLOW", "actions": ["*"], "resources": ["*"]}]});
        let deny = json!({"statements": [{"effect": "DENY", "actions": ["*"], "resources": ["*"]}]});
        let policy = access::create_policy(&mut tx, Some("pol-1"), "p", None, "ORGANIZATION", &allow)
            .await
            .unwrap();
        let mut batch = Batch::default();
        let user = users::create(&mut tx, &mut batch, UserType::Programmatic, "u", None, None)
            .await
            .unwrap();
        batch.execute(&mut tx).await.unwrap();
        let group = access::create_group(&mut tx, "g", None).await.unwrap();
        tx.commit().await.unwrap();

        let grant = |accounts: &[&str]| PolicyGrant {
            policy_id: policy.clone(),
            account_ids: accounts.iter().map(|&a| a.to_owned()).collect(),
        };
        for step in 0..6 {
            let seen = effective(&mut store.acquire_reader().await.unwrap(), &user)
                .await
                .unwrap();
            let still = || {
                let mut batch = Batch::default();
                require_unchanged(&mut batch, &user, &seen);
                store.commit(batch)
            };
            still().await.unwrap();
            // So that a change is at another time than the one before.
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            let mut tx = store.write().await.unwrap();
            match step {
                0 => access::set_grants(&mut tx, Subject::User(&user), &[grant(&[])])
                    .await
                    .unwrap(),
                1 => access::set_grants(&mut tx, Subject::User(&user), &[grant(&["*"])])
                    .await
                    .unwrap(),
                2 => access::set_grants(&mut tx, Subject::Group(&group), &[grant(&[])])
                    .await
                    .unwrap(),
                3 => access::set_groups(&mut tx, &user, std::slice::from_ref(&group))
                    .await
                    .unwrap(),
                4 => access::update_policy(&mut tx, &policy, None, None, Some(&deny))
                    .await
                    .unwrap(),
                _ => assert!(users::delete(&mut tx, &user).await.unwrap()),
            }
            tx.commit().await.unwrap();
            let done = still().await;
            // The group's policies are not the user's before it is in the group.
            assert_eq!(done.is_err(), step != 2, "step {step}: {done:?}");
            assert!(done.as_ref().err().is_none_or(is_overtaken));
        }
    }
}
