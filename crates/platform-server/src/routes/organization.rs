//! The organization. An embedded platform has one, made at its first start, so these routes check the request
//! and then answer what to do instead.

use axum::body::Bytes;
use axum::extract::{Path, State};

use super::Outcome;
use crate::App;
use crate::reply::ApiError;
use crate::validate::Object;

pub(super) async fn create(bytes: Bytes) -> Outcome {
    Object::read(&bytes, |body, problems| {
        body.object("organization", problems).name("name", problems)
    })?;
    let message =
        "This platform serves one organization; start another platform, with --data or --database of its own";
    Err(ApiError::Conflict("ORGANIZATION_EXISTS", message.into()))
}

pub(super) async fn delete(State(app): State<App>, Path(id): Path<String>) -> Outcome {
    if id != app.organization.id {
        let message = format!("Organization {id} does not exist");
        return Err(ApiError::Missing("ORGANIZATION_DOESNT_EXIST", message));
    }
    let message = "This platform serves no other organization; stop it and remove its database";
    Err(ApiError::Conflict("ORGANIZATION_IN_USE", message.into()))
}
