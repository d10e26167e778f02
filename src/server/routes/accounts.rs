//! Accounts.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Handled};
use crate::server::reply::{Failure, Output};
use crate::server::secret::new_id;
use crate::server::store::{Db, now};

const KIND: &str = "spotinst:setup:account";
const MISSING: &str = "ACCOUNT_DOESNT_EXIST";

#[derive(Deserialize)]
struct Body {
    account: Fields,
}

#[derive(Deserialize)]
struct Fields {
    name: String,
}

fn check_name(name: &str) -> Result<(), Failure> {
    if name.chars().any(char::is_alphabetic) && name.len() <= 256 {
        return Ok(());
    }
    Err(Failure::invalid(
        "account.name",
        "\"name\" must contain at least one letter",
    ))
}

async fn all(db: &mut Db) -> Result<Vec<(String, Value)>, Failure> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT a.id, a.name, o.id FROM account a, organization o ORDER BY a.created_at, a.rowid",
    )
    .fetch_all(db)
    .await?;
    let item = |(id, name, organization): (String, String, String)| {
        let value = json!({"accountId": id, "name": name, "organizationId": organization, "providerExternalId": null});
        (id, value)
    };
    Ok(rows.into_iter().map(item).collect())
}

/// Everybody may ask which accounts they see.
pub(super) async fn list(call: &Call<'_>, db: &mut Db) -> Result<Output, Failure> {
    let seen = all(db)
        .await?
        .into_iter()
        .filter(|(id, _)| call.principal.sees(id));
    Ok(Output::Items(KIND, seen.map(|(_, item)| item).collect()))
}

pub(super) async fn read(call: &Call<'_>, db: &mut Db) -> Result<Output, Failure> {
    let found = all(db)
        .await?
        .into_iter()
        .find(|(id, _)| id == call.id && call.principal.sees(id));
    let (_, item) = found.ok_or_else(|| missing(call.id))?;
    Ok(Output::Items(KIND, vec![item]))
}

pub(super) async fn create(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("create an account")?;
    let name = call.body::<Body>()?.account.name;
    check_name(&name)?;
    let id = new_id("act-");
    sqlx::query("INSERT INTO account VALUES (?, ?, ?)")
        .bind(&id)
        .bind(&name)
        .bind(now())
        .execute(&mut *db)
        .await?;
    let (organization,): (String,) = sqlx::query_as("SELECT id FROM organization")
        .fetch_one(db)
        .await?;
    // The reply of a create calls it `id`.
    let item = json!({"id": id, "name": name, "organizationId": organization});
    Ok(Handled {
        output: Output::Items(KIND, vec![item]),
        id,
    })
}

pub(super) async fn update(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("change an account")?;
    let name = call.body::<Body>()?.account.name;
    check_name(&name)?;
    let changed = sqlx::query("UPDATE account SET name = ? WHERE id = ?")
        .bind(name)
        .bind(call.id)
        .execute(db)
        .await?;
    if changed.rows_affected() == 0 {
        Err(missing(call.id))
    } else {
        Ok(Handled::done(call.id))
    }
}

pub(super) async fn delete(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    call.admin_only("delete an account")?;
    let accounts = all(db).await?;
    if accounts.first().is_some_and(|(id, _)| id == call.id) {
        let message = "the default account cannot be deleted";
        return Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "CANT_DELETE_DEFAULT_ACCOUNT",
            message,
        ));
    }
    let gone = sqlx::query("DELETE FROM account WHERE id = ?")
        .bind(call.id)
        .execute(db)
        .await?;
    if gone.rows_affected() == 0 {
        Err(missing(call.id))
    } else {
        Ok(Handled::done(call.id))
    }
}

fn missing(id: &str) -> Failure {
    Failure::missing(MISSING, "account", id)
}
