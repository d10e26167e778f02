//! Policies and groups.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Handled, check_name, users};
use crate::platform::{PolicyGrant, PolicyMapping};
use crate::server::authz::Document;
use crate::server::reply::{Failure, Output};
use crate::server::secret::new_id;
use crate::server::store::{Db, now, time};

const POLICY_MISSING: &str = "POLICY_DOESNT_EXIST";
const GROUP_MISSING: &str = "USER_GROUP_DOESNT_EXIST";
const ACTIONS: [(&str, &str); 9] = [
    ("describeGroup", "elastigroup"),
    ("createGroup", "elastigroup"),
    ("deleteGroup", "elastigroup"),
    ("describeOrganizationUsers", "setup"),
    ("describeUser", "setup"),
    ("describePolicy", "setup"),
    ("describeUserGroup", "setup"),
    ("describeAllAuditEvents", "setup"),
    ("describeAllAccounts", "setup"),
];

/// The policies of a user or a group.
pub(super) async fn grants_of(db: &mut Db, holder: &'static str, id: &str) -> Result<Vec<Value>, Failure> {
    let sql = match holder {
        "user_id" => {
            "SELECT p.id, p.name, p.type, e.accounts FROM grant_entry e JOIN policy p ON p.id = e.policy_id WHERE e.user_id = ? ORDER BY e.id"
        }
        _ => {
            "SELECT p.id, p.name, p.type, e.accounts FROM grant_entry e JOIN policy p ON p.id = e.policy_id WHERE e.group_id = ? ORDER BY e.id"
        }
    };
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(sql).bind(id).fetch_all(db).await?;
    let item = |(id, name, kind, accounts): (String, String, String, String)| {
        let accounts: Value = serde_json::from_str(&accounts).unwrap_or_default();
        json!({"policyId": id, "policyName": name, "policyType": kind, "accountIds": accounts})
    };
    Ok(rows.into_iter().map(item).collect())
}

/// Replaces the policies of a user or a group, after looking each of them up.
pub(super) async fn replace_grants(
    db: &mut Db,
    holder: &'static str,
    id: &str,
    grants: &[PolicyGrant],
) -> Result<(), Failure> {
    let (clear, insert) = match holder {
        "user_id" => (
            "DELETE FROM grant_entry WHERE user_id = ?",
            "INSERT INTO grant_entry (user_id, policy_id, accounts) VALUES (?, ?, ?)",
        ),
        _ => (
            "DELETE FROM grant_entry WHERE group_id = ?",
            "INSERT INTO grant_entry (group_id, policy_id, accounts) VALUES (?, ?, ?)",
        ),
    };
    sqlx::query(clear).bind(id).execute(&mut *db).await?;
    for (i, grant) in grants.iter().enumerate() {
        let kind: Option<(String,)> = sqlx::query_as("SELECT type FROM policy WHERE id = ?")
            .bind(&grant.policy_id)
            .fetch_optional(&mut *db)
            .await?;
        let Some((kind,)) = kind else {
            return Err(Failure::invalid(
                &format!("policies.{i}.policyId"),
                format!("policy {} does not exist", grant.policy_id),
            ));
        };
        for account in grant.account_ids.iter().filter(|a| *a != "*") {
            let known: Option<(String,)> = sqlx::query_as("SELECT id FROM account WHERE id = ?")
                .bind(account)
                .fetch_optional(&mut *db)
                .await?;
            if known.is_none() {
                return Err(Failure::invalid(
                    &format!("policies.{i}.accountIds"),
                    format!("account {account} does not exist"),
                ));
            }
        }
        let accounts = match (grant.account_ids.is_empty(), kind.ends_with("ORGANIZATION")) {
            (true, false) => return Err(Failure::required(&format!("policies.{i}.accountIds"))),
            (true, true) => json!(["*"]),
            (false, _) => json!(grant.account_ids),
        };
        sqlx::query(insert)
            .bind(id)
            .bind(&grant.policy_id)
            .bind(accounts.to_string())
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

pub(super) async fn list_policies(call: &Call<'_>, db: &mut Db) -> Result<Output, Failure> {
    call.principal.may("setup:describePolicy", "*", None)?;
    type Row = (String, String, Option<String>, String, String, i64, i64);
    let rows: Vec<Row> = sqlx::query_as("SELECT id, name, description, type, content, created_at, updated_at FROM policy ORDER BY created_at, id").fetch_all(db).await?;
    Ok(Output::Items(
        "spotinst:setup:organization:policy",
        rows.into_iter().map(policy).collect(),
    ))
}

fn policy(
    (id, name, description, kind, content, created, updated): (
        String,
        String,
        Option<String>,
        String,
        String,
        i64,
        i64,
    ),
) -> Value {
    let content: Value = serde_json::from_str(&content).unwrap_or_default();
    json!({"id": id, "name": name, "description": description, "type": kind, "policyContent": content, "createdAt": time(created), "updatedAt": time(updated)})
}

#[derive(Deserialize)]
struct PolicyBody {
    policy: PolicyFields,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PolicyFields {
    name: Option<String>,
    description: Option<String>,
    policy_content: Option<Document>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

fn check_document(document: &Document) -> Result<(), Failure> {
    if document.statements.is_empty() {
        return Err(Failure::invalid(
            "policy.policyContent.statements",
            "\"statements\" must contain at least 1 items",
        ));
    }
    for (i, statement) in document.statements.iter().enumerate() {
        for (field, list) in [
            ("actions", &statement.actions),
            ("resources", &statement.resources),
        ] {
            if list.is_empty() || list.iter().any(|entry| entry != "*" && !entry.contains(':')) {
                let field = format!("policy.policyContent.statements.{i}.{field}");
                return Err(Failure::invalid(
                    &field,
                    "each entry is \"*\" or \"service:name\"",
                ));
            }
        }
    }
    Ok(())
}

pub(super) async fn create_policy(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("create a policy")?;
    let fields = call.body::<PolicyBody>()?.policy;
    let name = fields.name.ok_or_else(|| Failure::required("policy.name"))?;
    check_name(&name)?;
    let document = fields
        .policy_content
        .ok_or_else(|| Failure::required("policy.policyContent"))?;
    check_document(&document)?;
    let kind = fields.kind.unwrap_or_else(|| "ACCOUNT".to_owned());
    if kind != "ACCOUNT" && kind != "ORGANIZATION" {
        return Err(Failure::invalid(
            "policy.type",
            "\"type\" must be one of [ACCOUNT, ORGANIZATION]",
        ));
    }
    let (id, at, content) = (new_id("pol-"), now(), json!(document).to_string());
    sqlx::query("INSERT INTO policy VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(&id)
        .bind(&name)
        .bind(&fields.description)
        .bind(&kind)
        .bind(&content)
        .bind(at)
        .bind(at)
        .execute(db)
        .await?;
    let item = policy((id.clone(), name, fields.description, kind, content, at, at));
    Ok(Handled {
        output: Output::Items("spotinst:setup:access:policy", vec![item]),
        id,
    })
}

pub(super) async fn update_policy(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("change a policy")?;
    let fields = call.body::<PolicyBody>()?.policy;
    if let Some(name) = &fields.name {
        check_name(name)?;
    }
    if let Some(document) = &fields.policy_content {
        check_document(document)?;
    }
    custom(call.id, db).await?;
    let content = fields.policy_content.map(|d| json!(d).to_string());
    sqlx::query("UPDATE policy SET name = COALESCE(?, name), description = COALESCE(?, description), content = COALESCE(?, content), updated_at = ? WHERE id = ?")
        .bind(fields.name)
        .bind(fields.description)
        .bind(content)
        .bind(now())
        .bind(call.id)
        .execute(db)
        .await?;
    Ok(Handled::done(call.id))
}

pub(super) async fn delete_policy(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("delete a policy")?;
    custom(call.id, db).await?;
    let used: Option<(i64,)> = sqlx::query_as("SELECT id FROM grant_entry WHERE policy_id = ? LIMIT 1")
        .bind(call.id)
        .fetch_optional(&mut *db)
        .await?;
    if used.is_some() {
        return Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "POLICY_IN_USE",
            "detach the policy from all users and groups first",
        ));
    }
    sqlx::query("DELETE FROM policy WHERE id = ?")
        .bind(call.id)
        .execute(db)
        .await?;
    Ok(Handled::done(call.id))
}

async fn custom(id: &str, db: &mut Db) -> Result<(), Failure> {
    let kind: Option<(String,)> = sqlx::query_as("SELECT type FROM policy WHERE id = ?")
        .bind(id)
        .fetch_optional(db)
        .await?;
    match kind {
        None => Err(Failure::missing(POLICY_MISSING, "policy", id)),
        Some((kind,)) if kind.starts_with("SPOT_MANAGED") => Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "POLICY_IS_BUILT_IN",
            "a built-in policy cannot be changed",
        )),
        Some(_) => Ok(()),
    }
}

pub(super) fn list_actions(call: &Call<'_>) -> Result<Output, Failure> {
    call.principal.may("setup:describePolicy", "*", None)?;
    let item = |(name, service): &(&str, &str)| json!({"name": name, "service": service, "resourcePattern": format!("{service}:*"), "scope": "ACCOUNT", "category": "General"});
    Ok(Output::Items(
        "spotinst:setup:policyAction",
        ACTIONS.iter().map(item).collect(),
    ))
}

pub(super) async fn list_groups(call: &Call<'_>, db: &mut Db) -> Result<Output, Failure> {
    call.principal.may("setup:describeUserGroup", "*", None)?;
    let rows: Vec<(String, String, Option<String>, i64, i64, String)> = sqlx::query_as(
        "SELECT g.id, g.name, g.description, g.created_at, (SELECT count(*) FROM group_member m WHERE m.group_id = g.id), \
         (SELECT json_group_array(p.name) FROM grant_entry e JOIN policy p ON p.id = e.policy_id WHERE e.group_id = g.id) FROM user_group g ORDER BY g.created_at, g.id",
    )
    .fetch_all(db)
    .await?;
    let item = |(id, name, description, at, users, policies): (
        String,
        String,
        Option<String>,
        i64,
        i64,
        String,
    )| {
        let policies: Value = serde_json::from_str(&policies).unwrap_or_default();
        json!({"id": id, "name": name, "description": description, "createdAt": time(at), "usersCount": users, "policyNames": policies})
    };
    Ok(Output::Items(
        "spotinst:setup:access:userGroup",
        rows.into_iter().map(item).collect(),
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateGroup {
    name: String,
    description: Option<String>,
    #[serde(default)]
    user_ids: Vec<String>,
    #[serde(default)]
    policies: Vec<PolicyGrant>,
}

pub(super) async fn create_group(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("create a group")?;
    let body: CreateGroup = call.body()?;
    check_name(&body.name)?;
    let (id, at) = (new_id("ugr-"), now());
    sqlx::query("INSERT INTO user_group VALUES (?, ?, ?, ?)")
        .bind(&id)
        .bind(&body.name)
        .bind(&body.description)
        .bind(at)
        .execute(&mut *db)
        .await?;
    replace_grants(db, "group_id", &id, &body.policies).await?;
    set_members(db, &id, &body.user_ids).await?;
    let item = json!({"id": id, "name": body.name, "description": body.description, "createdAt": time(at), "userIds": body.user_ids, "policies": body.policies});
    Ok(Handled {
        output: Output::Items("spotinst:setup:access:userGroup", vec![item]),
        id,
    })
}

pub(super) async fn read_group(call: &Call<'_>, db: &mut Db) -> Result<Output, Failure> {
    call.principal.may("setup:describeUserGroup", "*", None)?;
    let row: Option<(String, Option<String>, i64)> =
        sqlx::query_as("SELECT name, description, created_at FROM user_group WHERE id = ?")
            .bind(call.id)
            .fetch_optional(&mut *db)
            .await?;
    let (name, description, at) =
        row.ok_or_else(|| Failure::missing(GROUP_MISSING, "user group", call.id))?;
    let users: Vec<(String, String, String)> =
        sqlx::query_as("SELECT u.id, u.name, u.type FROM group_member m JOIN user u ON u.id = m.user_id WHERE m.group_id = ? ORDER BY u.id").bind(call.id).fetch_all(&mut *db).await?;
    let users: Vec<Value> = users
        .into_iter()
        .map(|(id, name, kind)| json!({"userId": id, "userName": name, "type": kind}))
        .collect();
    let policies = grants_of(db, "group_id", call.id).await?;
    let item = json!({"id": call.id, "name": name, "description": description, "createdAt": time(at), "users": users, "policies": policies});
    Ok(Output::Items("spotinst:setup:access:userGroup", vec![item]))
}

#[derive(Deserialize)]
struct UpdateGroup {
    name: Option<String>,
    description: Option<String>,
}

pub(super) async fn update_group(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("change a group")?;
    let body: UpdateGroup = call.body()?;
    if let Some(name) = &body.name {
        check_name(name)?;
    }
    let changed = sqlx::query(
        "UPDATE user_group SET name = COALESCE(?, name), description = COALESCE(?, description) WHERE id = ?",
    )
    .bind(body.name)
    .bind(body.description)
    .bind(call.id)
    .execute(db)
    .await?;
    if changed.rows_affected() == 0 {
        Err(Failure::missing(GROUP_MISSING, "user group", call.id))
    } else {
        Ok(Handled::done(call.id))
    }
}

pub(super) async fn delete_group(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("delete a group")?;
    let gone = sqlx::query("DELETE FROM user_group WHERE id = ?")
        .bind(call.id)
        .execute(db)
        .await?;
    if gone.rows_affected() == 0 {
        Err(Failure::missing(GROUP_MISSING, "user group", call.id))
    } else {
        Ok(Handled::done(call.id))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupUsers {
    #[serde(default)]
    user_ids: Vec<String>,
}

pub(super) async fn put_group_users(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("change a group")?;
    let body: GroupUsers = call.body()?;
    group_exists(call.id, db).await?;
    set_members(db, call.id, &body.user_ids).await?;
    Ok(Handled::done(call.id))
}

pub(super) async fn put_group_policies(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("change a group")?;
    let body: PolicyMapping = call.body()?;
    group_exists(call.id, db).await?;
    replace_grants(db, "group_id", call.id, &body.policies).await?;
    Ok(Handled::done(call.id))
}

async fn group_exists(id: &str, db: &mut Db) -> Result<(), Failure> {
    let found: Option<(String,)> = sqlx::query_as("SELECT id FROM user_group WHERE id = ?")
        .bind(id)
        .fetch_optional(db)
        .await?;
    found
        .map(drop)
        .ok_or_else(|| Failure::missing(GROUP_MISSING, "user group", id))
}

async fn set_members(db: &mut Db, group: &str, members: &[String]) -> Result<(), Failure> {
    sqlx::query("DELETE FROM group_member WHERE group_id = ?")
        .bind(group)
        .execute(&mut *db)
        .await?;
    for (i, user) in members.iter().enumerate() {
        if users::exists(user, db).await.is_err() {
            return Err(Failure::invalid(
                &format!("userIds.{i}"),
                format!("user {user} does not exist"),
            ));
        }
        sqlx::query("INSERT OR IGNORE INTO group_member VALUES (?, ?)")
            .bind(group)
            .bind(user)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}
