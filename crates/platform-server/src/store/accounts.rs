//! The organization and its accounts.

use sqlx::FromRow;

use super::{Connection, now, unused_id};
use crate::reply::ApiError;
use platform_api::Account;

const EXISTS: &str = "SELECT count(*) FROM account WHERE id = $1";

#[derive(Debug, Clone, FromRow)]
pub(crate) struct Organization {
    pub(crate) id: String,
    pub(crate) name: String,
}

#[derive(FromRow)]
struct Row {
    id: String,
    name: String,
    organization: String,
}

/// The organization, if the first start is over.
pub(crate) async fn organization(conn: &mut Connection) -> Result<Option<Organization>, sqlx::Error> {
    sqlx::query_as("SELECT id, name FROM organization")
        .fetch_optional(conn)
        .await
}

/// All accounts, the default one first.
pub(crate) async fn list(conn: &mut Connection) -> Result<Vec<Account>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT a.id, a.name, o.id AS organization FROM account a, organization o ORDER BY a.position",
    )
    .fetch_all(conn)
    .await?;
    let account = |r: Row| Account {
        account_id: r.id,
        name: r.name,
        organization_id: Some(r.organization),
        provider_external_id: None,
        cloud_provider: Some("AWS".to_owned()),
    };
    Ok(rows.into_iter().map(account).collect())
}

/// Creates an account; generates its id unless given.
pub(crate) async fn create(conn: &mut Connection, id: Option<&str>, name: &str) -> Result<String, ApiError> {
    let id = match id {
        Some(id) => id.to_owned(),
        None => unused_id(conn, "act", EXISTS).await?,
    };
    sqlx::query("INSERT INTO account (id, name, created_at) VALUES ($1, $2, $3)")
        .bind(&id)
        .bind(name)
        .bind(now())
        .execute(conn)
        .await?;
    Ok(id)
}

pub(crate) async fn rename(conn: &mut Connection, id: &str, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE account SET name = $1 WHERE id = $2")
        .bind(name)
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Deletes an account, its resources, and every right in it. A grant whose last account this was goes with it:
/// left behind without accounts, one of an organization policy would hold everywhere.
pub(crate) async fn delete(conn: &mut Connection, id: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM policy_grant WHERE id IN (SELECT grant_id FROM grant_account GROUP BY grant_id
         HAVING count(*) = 1 AND max(account_id) = $1)",
    )
    .bind(id)
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM grant_account WHERE account_id = $1")
        .bind(id)
        .execute(&mut *conn)
        .await?;
    sqlx::query("DELETE FROM account WHERE id = $1")
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}
