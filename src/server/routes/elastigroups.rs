//! A small resource of an account, so that roles have an effect.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Handled};
use crate::server::reply::{Failure, Output};
use crate::server::secret::new_id;
use crate::server::store::{Db, now, time};

const KIND: &str = "spotinst:aws:ec2:group";

/// The account that the call is about: the one named, or the only one that the caller sees.
async fn account(call: &Call<'_>, db: &mut Db) -> Result<String, Failure> {
    let rows: Vec<(String,)> = sqlx::query_as("SELECT id FROM account ORDER BY created_at, rowid")
        .fetch_all(db)
        .await?;
    if let Some(id) = call.query.get("accountId") {
        let known = rows.iter().any(|r| r.0 == *id) && call.principal.sees(id);
        let refused = || Failure::forbidden(format!("account {id} is not one of yours"));
        return if known { Ok(id.clone()) } else { Err(refused()) };
    }
    let mut seen = rows.into_iter().filter(|r| call.principal.sees(&r.0));
    match (seen.next(), seen.next()) {
        (Some((id,)), None) => Ok(id),
        _ => Err(Failure::required("query.accountId")),
    }
}

fn item(id: &str, name: &str, account: &str, at: i64) -> Value {
    json!({"id": id, "name": name, "accountId": account, "createdAt": time(at)})
}

pub(super) async fn list(call: &Call<'_>, db: &mut Db) -> Result<Output, Failure> {
    let account = account(call, db).await?;
    call.principal
        .may("elastigroup:describeGroup", "elastigroup:*", Some(&account))?;
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT id, name, created_at FROM elastigroup WHERE account_id = ? ORDER BY created_at, id",
    )
    .bind(&account)
    .fetch_all(db)
    .await?;
    Ok(Output::Items(
        KIND,
        rows.iter()
            .map(|(id, name, at)| item(id, name, &account, *at))
            .collect(),
    ))
}

#[derive(Deserialize)]
struct Body {
    group: Fields,
}

#[derive(Deserialize)]
struct Fields {
    name: String,
}

pub(super) async fn create(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    let account = account(call, db).await?;
    call.principal
        .may("elastigroup:createGroup", "elastigroup:*", Some(&account))?;
    let name = call.body::<Body>()?.group.name;
    let (id, at) = (new_id("sig-"), now());
    sqlx::query("INSERT INTO elastigroup VALUES (?, ?, ?, ?)")
        .bind(&id)
        .bind(&account)
        .bind(&name)
        .bind(at)
        .execute(db)
        .await?;
    Ok(Handled {
        output: Output::Items(KIND, vec![item(&id, &name, &account, at)]),
        id,
    })
}

async fn find(call: &Call<'_>, db: &mut Db, action: &str) -> Result<(String, String, i64), Failure> {
    let row: Option<(String, String, i64)> =
        sqlx::query_as("SELECT account_id, name, created_at FROM elastigroup WHERE id = ?")
            .bind(call.id)
            .fetch_optional(db)
            .await?;
    // What somebody may not see does not exist for them.
    let seen = row.filter(|r| call.principal.sees(&r.0));
    let row = seen.ok_or_else(|| Failure::missing("GROUP_DOESNT_EXIST", "group", call.id))?;
    call.principal
        .may(action, &format!("elastigroup:{}", call.id), Some(&row.0))?;
    Ok(row)
}

pub(super) async fn read(call: &Call<'_>, db: &mut Db) -> Result<Output, Failure> {
    let (account, name, at) = find(call, db, "elastigroup:describeGroup").await?;
    Ok(Output::Items(KIND, vec![item(call.id, &name, &account, at)]))
}

pub(super) async fn delete(call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    find(call, db, "elastigroup:deleteGroup").await?;
    sqlx::query("DELETE FROM elastigroup WHERE id = ?")
        .bind(call.id)
        .execute(db)
        .await?;
    Ok(Handled::done(call.id))
}
