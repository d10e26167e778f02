//! The first start: an organization, its accounts, the built-in policies, and one admin.

use serde_json::json;
use zeroize::Zeroizing;

use super::PlatformConfig;
use super::auth::{ADMIN, EDITOR, VIEWER};
use super::secret::{digest, hash_password, new_id, new_token};
use super::store::{Db, now};

/// Credentials that the first start made. They are shown to whoever started it, and never again.
#[derive(Default)]
pub struct Made {
    /// The admin's token, unless it was given.
    pub token: Option<Zeroizing<String>>,
    /// The admin's password, unless it was given.
    pub password: Option<Zeroizing<String>>,
}

/// Id, name, type and statements of the built-in policies.
fn built_in() -> [(&'static str, &'static str, &'static str, serde_json::Value); 5] {
    let allow = |actions: &[&str]| json!({"effect": "ALLOW", "actions": actions, "resources": ["*"]});
    let account = "SPOT_MANAGED_ACCOUNT";
    [
        (ADMIN, "Admin", "SPOT_MANAGED_ORGANIZATION", allow(&["*"])),
        (
            EDITOR,
            "Account Editor",
            account,
            allow(&["elastigroup:*", "ocean:*", "setup:describe*"]),
        ),
        (
            VIEWER,
            "Account Viewer",
            account,
            allow(&["elastigroup:describe*", "ocean:describe*", "setup:describe*"]),
        ),
        ("4", "Elastigroup Full Access", account, allow(&["elastigroup:*"])),
        ("5", "Ocean Full Access", account, allow(&["ocean:*"])),
    ]
}

/// Fills an empty database; does nothing to one that has an organization.
pub(super) async fn bootstrap(db: &mut Db, config: &PlatformConfig) -> Result<Made, sqlx::Error> {
    let found: Option<(String,)> = sqlx::query_as("SELECT id FROM organization")
        .fetch_optional(&mut *db)
        .await?;
    if found.is_some() {
        return Ok(Made::default());
    }
    let at = now();
    let id = format!(
        "{:012}",
        u64::try_from(at).unwrap_or_default() % 1_000_000_000_000
    );
    sqlx::query("INSERT INTO organization VALUES (?, ?)")
        .bind(id)
        .bind(&config.organization)
        .execute(&mut *db)
        .await?;
    for (id, name) in &config.accounts {
        let id = id.clone().unwrap_or_else(|| new_id("act-"));
        sqlx::query("INSERT INTO account VALUES (?, ?, ?)")
            .bind(id)
            .bind(name)
            .bind(at)
            .execute(&mut *db)
            .await?;
    }
    for (id, name, kind, statement) in built_in() {
        sqlx::query("INSERT INTO policy VALUES (?, ?, NULL, ?, ?, ?, ?)")
            .bind(id)
            .bind(name)
            .bind(kind)
            .bind(json!({"statements": [statement]}).to_string())
            .bind(at)
            .bind(at)
            .execute(&mut *db)
            .await?;
    }
    let mut made = Made::default();
    let password = config
        .admin_password
        .clone()
        .unwrap_or_else(|| made.password.insert(new_token()).clone());
    let token = config
        .admin_token
        .clone()
        .unwrap_or_else(|| made.token.insert(new_token()).clone());
    let user = new_id("u-");
    sqlx::query("INSERT INTO user VALUES (?, 'personal', 'Admin', ?, NULL, ?)")
        .bind(&user)
        .bind(&config.admin_email)
        .bind(at)
        .execute(&mut *db)
        .await?;
    let hash = hash_password(&password).map_err(|e| sqlx::Error::Encode(e.into()))?;
    sqlx::query("INSERT INTO password (user_id, hash) VALUES (?, ?)")
        .bind(&user)
        .bind(hash)
        .execute(&mut *db)
        .await?;
    sqlx::query("INSERT INTO grant_entry (user_id, policy_id, accounts) VALUES (?, ?, '[\"*\"]')")
        .bind(&user)
        .bind(ADMIN)
        .execute(&mut *db)
        .await?;
    insert_token(db, &user, "admin", &token).await?;
    Ok(made)
}

/// Stores the digest of a token.
pub(super) async fn insert_token(
    db: &mut Db,
    user: &str,
    name: &str,
    token: &str,
) -> Result<(), sqlx::Error> {
    let last_digits = &token[token.len().saturating_sub(4)..];
    sqlx::query("INSERT INTO token (user_id, name, hash, last_digits, created_at) VALUES (?, ?, ?, ?, ?)")
        .bind(user)
        .bind(name)
        .bind(digest(token))
        .bind(last_digits)
        .bind(now())
        .execute(db)
        .await
        .map(drop)
}
