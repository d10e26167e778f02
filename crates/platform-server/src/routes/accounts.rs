//! Accounts.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use serde_json::json;

use super::{Admitted, Outcome};
use crate::App;
use crate::auth::Reader;
use crate::reply::{Answer, ApiError};
use crate::resource::Resource;
use crate::store::accounts;
use crate::validate::Object;

const KIND: &str = "spotinst:setup:account";

fn read_name(bytes: &Bytes) -> Result<String, ApiError> {
    Object::read(bytes, |body, problems| {
        let name = body.object("account", problems).name("name", problems);
        if !name.is_empty() && !name.chars().any(char::is_alphabetic) {
            problems.add("account.name", "must contain at least one letter");
        }
        name
    })
}

/// The accounts that the caller has to do with.
pub(super) async fn list(
    Extension(call): Admitted,
    Query(query): Query<HashMap<String, String>>,
    mut conn: Reader,
) -> Outcome {
    let mut found = accounts::list(&mut conn).await?;
    found.retain(|a| call.sees(&a.account_id));
    if let Some(cloud) = query.get("cloudAccountId") {
        found.retain(|a| a.provider_external_id.as_ref() == Some(cloud));
    }
    Answer::list(KIND, &found)
}

pub(super) async fn details(Path(id): Path<String>, mut conn: Reader) -> Outcome {
    let found = accounts::list(&mut conn)
        .await?
        .into_iter()
        .find(|a| a.account_id == id);
    Answer::list(KIND, &[found.ok_or_else(|| Resource::Account.missing(&id))?])
}

pub(super) async fn create(State(app): State<App>, Extension(call): Admitted, bytes: Bytes) -> Outcome {
    let name = read_name(&bytes)?;
    let (call, mut tx) = call.begin().await?;
    let id = accounts::create(&mut tx, None, &name).await?;
    call.done(tx, &id).await?;
    // `id` and not `accountId`, as everywhere else: so the description has it, and its clients.
    Ok(Answer::one(
        KIND,
        json!({"id": id, "name": name, "organizationId": app.organization.id}),
    ))
}

pub(super) async fn update(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    let name = read_name(&bytes)?;
    let (call, mut tx) = call.begin().await?;
    Resource::Account.require(&mut tx, call.id()).await?;
    accounts::rename(&mut tx, call.id(), &name).await?;
    call.done(tx, call.id()).await
}

pub(super) async fn delete(Extension(call): Admitted) -> Outcome {
    let (call, mut tx) = call.begin().await?;
    let all = accounts::list(&mut tx).await?;
    match all.iter().position(|a| a.account_id == call.id()) {
        None => return Err(Resource::Account.missing(call.id())),
        Some(0) => {
            let message = "The default account of an organization cannot be deleted";
            return Err(ApiError::Conflict("CANT_DELETE_DEFAULT_ACCOUNT", message.into()));
        }
        Some(_) => {}
    }
    accounts::delete(&mut tx, call.id()).await?;
    call.done(tx, call.id()).await
}
