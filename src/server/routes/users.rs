//! Users of both kinds.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Row as _;

use super::access::replace_grants;
use super::{Call, Handled, check_name};
use crate::platform::{AccountRole, CreateProgrammaticUser, GroupMapping, PolicyGrant, PolicyMapping};
use crate::server::auth::{ADMIN, EDITOR, VIEWER};
use crate::server::bootstrap::insert_token;
use crate::server::reply::{Failure, Output};
use crate::server::secret::{hash_password, new_id, new_token};
use crate::server::store::{Db, now, time};

const MISSING: &str = "USER_DOESNT_EXIST";

pub(super) async fn create_programmatic(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("create a programmatic user")?;
    let body: CreateProgrammaticUser = call.body()?;
    check_name(&body.name)?;
    let grants = match (body.accounts.is_empty(), body.policies.is_empty()) {
        (true, true) => {
            return Err(Failure::invalid(
                "accounts",
                "one of \"accounts\" and \"policies\" is required",
            ));
        }
        (false, false) => {
            return Err(Failure::invalid(
                "policies",
                "\"accounts\" and \"policies\" exclude each other",
            ));
        }
        (true, false) => body.policies,
        // A role has the shape of a built-in policy once the user exists.
        (false, true) => body
            .accounts
            .into_iter()
            .map(|account| PolicyGrant {
                policy_id: match account.role {
                    AccountRole::Viewer => VIEWER.to_owned(),
                    AccountRole::Editor => EDITOR.to_owned(),
                },
                account_ids: vec![account.id],
            })
            .collect(),
    };
    let (id, token) = (new_id("pu-"), new_token());
    sqlx::query(
        "INSERT INTO user (id, type, name, description, created_at) VALUES (?, 'programmatic', ?, ?, ?)",
    )
    .bind(&id)
    .bind(&body.name)
    .bind(&body.description)
    .bind(now())
    .execute(&mut *db)
    .await?;
    replace_grants(db, "user_id", &id, &grants).await?;
    insert_token(db, &id, &body.name, &token).await?;
    let item = json!({"token": *token, "name": body.name, "id": id});
    Ok(Handled {
        output: Output::Secret("spotinst:setup:programmaticUser", item),
        id,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreatePersonal {
    first_name: String,
    last_name: String,
    email: String,
    password: String,
    #[serde(default)]
    role: Option<String>,
}

pub(super) async fn create_personal(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("create a user")?;
    let body: CreatePersonal = call.body()?;
    if !body.email.contains('@') || body.email.len() > 254 {
        return Err(Failure::invalid("email", "\"email\" must be a valid email"));
    }
    if body.password.chars().count() < 12 {
        return Err(Failure::invalid(
            "password",
            "\"password\" length must be at least 12 characters long",
        ));
    }
    let taken: Option<(String,)> = sqlx::query_as("SELECT id FROM user WHERE email = ?")
        .bind(&body.email)
        .fetch_optional(&mut *db)
        .await?;
    if taken.is_some() {
        return Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "USER_ALREADY_EXISTS",
            "a user with this email exists",
        ));
    }
    let (id, name) = (new_id("u-"), format!("{} {}", body.first_name, body.last_name));
    sqlx::query("INSERT INTO user (id, type, name, email, created_at) VALUES (?, 'personal', ?, ?, ?)")
        .bind(&id)
        .bind(&name)
        .bind(&body.email)
        .bind(now())
        .execute(&mut *db)
        .await?;
    let hash = hash_password(&body.password).map_err(|_| {
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL",
            "the password cannot be stored",
        )
    })?;
    sqlx::query("INSERT INTO password (user_id, hash) VALUES (?, ?)")
        .bind(&id)
        .bind(hash)
        .execute(&mut *db)
        .await?;
    let policy = if body.role.as_deref() == Some("Admin") {
        ADMIN
    } else {
        VIEWER
    };
    let grant = PolicyGrant {
        policy_id: policy.to_owned(),
        account_ids: vec!["*".to_owned()],
    };
    replace_grants(db, "user_id", &id, &[grant]).await?;
    let mut item = json!({"userId": id, "displayName": name});
    if call.query.get("generateToken").is_some_and(|v| v == "true") {
        let token = new_token();
        insert_token(db, &id, "personal", &token).await?;
        item["personalAccessToken"] = json!(*token);
    }
    Ok(Handled {
        output: Output::Secret("spotinst:setup:user", item),
        id,
    })
}

pub(super) async fn list(call: &Call<'_>, db: &mut Db) -> Result<Output, Failure> {
    call.principal.may("setup:describeOrganizationUsers", "*", None)?;
    let rows = sqlx::query(
        "SELECT u.id, u.type, u.name, u.email, json_group_array(g.name) FILTER (WHERE g.name IS NOT NULL) AS groups \
         FROM user u LEFT JOIN group_member m ON m.user_id = u.id LEFT JOIN user_group g ON g.id = m.group_id GROUP BY u.id ORDER BY u.created_at, u.id",
    )
    .fetch_all(db)
    .await?;
    let item = |row: sqlx::sqlite::SqliteRow| {
        let groups: Value = serde_json::from_str(row.get::<&str, _>("groups")).unwrap_or_default();
        json!({
            "userId": row.get::<&str, _>("id"), "username": row.get::<&str, _>("name"), "type": row.get::<&str, _>("type"),
            "email": row.get::<Option<&str>, _>("email"), "mfa": false, "groupNames": groups,
        })
    };
    Ok(Output::Items(
        "spotinst:setup:organization:user",
        rows.into_iter().map(item).collect(),
    ))
}

pub(super) async fn read(call: &Call<'_>, db: &mut Db) -> Result<Output, Failure> {
    if call.principal.id != call.id {
        call.principal
            .may("setup:describeUser", &format!("user:{}", call.id), None)?;
    }
    let row = sqlx::query("SELECT id, type, name, email, description FROM user WHERE id = ?")
        .bind(call.id)
        .fetch_optional(&mut *db)
        .await?;
    let row = row.ok_or_else(|| Failure::missing(MISSING, "user", call.id))?;
    let groups: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT g.id, g.name, (SELECT json_group_array(p.name) FROM grant_entry e JOIN policy p ON p.id = e.policy_id WHERE e.group_id = g.id) \
         FROM group_member m JOIN user_group g ON g.id = m.group_id WHERE m.user_id = ? ORDER BY g.id",
    )
    .bind(call.id)
    .fetch_all(&mut *db)
    .await?;
    let groups: Vec<Value> = groups
        .into_iter()
        .map(|(id, name, policies)| json!({"id": id, "name": name, "policyNames": serde_json::from_str::<Value>(&policies).unwrap_or_default()}))
        .collect();
    let policies = super::access::grants_of(db, "user_id", call.id).await?;
    let tokens: Vec<(i64, String, String, i64)> =
        sqlx::query_as("SELECT id, name, last_digits, created_at FROM token WHERE user_id = ? ORDER BY id")
            .bind(call.id)
            .fetch_all(db)
            .await?;
    let tokens: Vec<Value> = tokens
        .into_iter()
        .map(|(id, name, digits, at)| json!({"tokenId": id, "name": name, "tokenLastDigits": digits, "createdAt": time(at)}))
        .collect();
    let item = json!({
        "userId": row.get::<&str, _>("id"), "username": row.get::<&str, _>("name"), "type": row.get::<&str, _>("type"),
        "email": row.get::<Option<&str>, _>("email"), "mfa": false, "description": row.get::<Option<&str>, _>("description"),
        "groups": groups, "policies": policies, "tokens": tokens,
    });
    Ok(Output::Items("spotinst:setup:access:user", vec![item]))
}

pub(super) async fn delete(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("delete a user")?;
    if call.principal.id == call.id {
        return Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "CANT_DELETE_SELF",
            "a user cannot delete itself",
        ));
    }
    let gone = sqlx::query("DELETE FROM user WHERE id = ?")
        .bind(call.id)
        .execute(db)
        .await?
        .rows_affected();
    if gone == 0 {
        Err(Failure::missing(MISSING, "user", call.id))
    } else {
        Ok(Handled::done(call.id))
    }
}

pub(super) async fn put_policies(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("change the policies of a user")?;
    let body: PolicyMapping = call.body()?;
    exists(call.id, db).await?;
    replace_grants(db, "user_id", call.id, &body.policies).await?;
    Ok(Handled::done(call.id))
}

pub(super) async fn put_groups(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("change the groups of a user")?;
    let body: GroupMapping = call.body()?;
    exists(call.id, db).await?;
    sqlx::query("DELETE FROM group_member WHERE user_id = ?")
        .bind(call.id)
        .execute(&mut *db)
        .await?;
    for (i, group) in body.user_group_ids.iter().enumerate() {
        let found: Option<(String,)> = sqlx::query_as("SELECT id FROM user_group WHERE id = ?")
            .bind(group)
            .fetch_optional(&mut *db)
            .await?;
        if found.is_none() {
            return Err(Failure::invalid(
                &format!("userGroupIds.{i}"),
                format!("user group {group} does not exist"),
            ));
        }
        sqlx::query("INSERT OR IGNORE INTO group_member VALUES (?, ?)")
            .bind(group)
            .bind(call.id)
            .execute(&mut *db)
            .await?;
    }
    Ok(Handled::done(call.id))
}

/// Refuses ids that no user has.
pub(super) async fn exists(id: &str, db: &mut Db) -> Result<(), Failure> {
    let found: Option<(String,)> = sqlx::query_as("SELECT id FROM user WHERE id = ?")
        .bind(id)
        .fetch_optional(db)
        .await?;
    found
        .map(drop)
        .ok_or_else(|| Failure::missing(MISSING, "user", id))
}
