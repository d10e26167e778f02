//! User groups.

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use serde_json::{Value, json};

use super::{Admitted, Outcome, grants};
use crate::App;
use crate::reply::{Answer, ApiError};
use crate::resource::Resource;
use crate::store::access::Subject;
use crate::store::{Connection, access, users};
use crate::validate::{Object, Problems};
use platform_api::UserGroup;

const KIND: &str = "spotinst:setup:access:userGroup";

async fn require_users(conn: &mut Connection, ids: &[String]) -> Result<(), ApiError> {
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let field = |index| format!("userIds.{index}");
    Resource::User.require_all(conn, &ids, field).await
}

pub(super) async fn list(State(app): State<App>) -> Outcome {
    let mut tx = app.store.read().await?;
    Answer::list(KIND, &access::groups(&mut tx).await?)
}

async fn show(conn: &mut Connection, group: &UserGroup) -> Result<Value, ApiError> {
    let members = access::members(&mut *conn, &group.id).await?;
    let users: Vec<_> = members
        .into_iter()
        .map(|(id, name, kind)| json!({"userId": id, "userName": name, "type": kind}))
        .collect();
    let policies = access::grants(conn, Subject::Group(&group.id)).await?;
    Ok(json!({
        "id": group.id, "name": group.name, "description": group.description, "createdAt": group.created_at,
        "users": users, "policies": policies,
    }))
}

pub(super) async fn details(State(app): State<App>, Path(id): Path<String>) -> Outcome {
    let mut tx = app.store.read().await?;
    let group = access::group(&mut tx, &id)
        .await?
        .ok_or_else(|| Resource::UserGroup.missing(&id))?;
    Ok(Answer::one(KIND, show(&mut tx, &group).await?))
}

pub(super) async fn create(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    let body = Object::parse(&bytes)?;
    let mut problems = Problems::default();
    let name = body.name("name", &mut problems);
    let description = body.text("description", &mut problems);
    let user_ids = body.texts("userIds", &mut problems);
    let policies = grants::read(&body, "policies", &mut problems);
    problems.check()?;
    let (call, mut tx) = call.begin().await?;
    require_users(&mut tx, &user_ids).await?;
    let policies = grants::check(&mut tx, "policies", policies).await?;
    let id = access::create_group(&mut tx, &name, description.as_deref()).await?;
    access::set_grants(&mut tx, Subject::Group(&id), &policies).await?;
    access::set_members(&mut tx, &id, &user_ids).await?;
    users::require_administrator(&mut tx).await?;
    let created_at = access::group(&mut tx, &id).await?.and_then(|g| g.created_at);
    call.done(tx, &id).await?;
    let item = json!({
        "id": id, "name": name, "description": description, "createdAt": created_at, "userIds": user_ids,
        "policies": policies,
    });
    Ok(Answer::one(KIND, item))
}

pub(super) async fn update(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    let (name, description) = Object::read(&bytes, |body, problems| {
        let name = body.has("name").then(|| body.name("name", problems));
        let has_description = body.has("description");
        let description = has_description.then(|| body.required("description", problems));
        (name, description)
    })?;
    let (call, mut tx) = call.begin().await?;
    Resource::UserGroup.require(&mut tx, call.id()).await?;
    access::update_group(&mut tx, call.id(), name.as_deref(), description.as_deref()).await?;
    call.done(tx, call.id()).await
}

pub(super) async fn delete(Extension(call): Admitted) -> Outcome {
    let (call, mut tx) = call.begin().await?;
    Resource::UserGroup.require(&mut tx, call.id()).await?;
    access::delete_group(&mut tx, call.id()).await?;
    users::require_administrator(&mut tx).await?;
    call.done(tx, call.id()).await
}

pub(super) async fn map_users(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    let user_ids = Object::read(&bytes, |body, problems| {
        body.require_unless_empty("userIds", problems);
        body.texts("userIds", problems)
    })?;
    let (call, mut tx) = call.begin().await?;
    Resource::UserGroup.require(&mut tx, call.id()).await?;
    require_users(&mut tx, &user_ids).await?;
    access::set_members(&mut tx, call.id(), &user_ids).await?;
    users::require_administrator(&mut tx).await?;
    call.done(tx, call.id()).await
}

pub(super) async fn map_policies(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    let policies = Object::read(&bytes, |body, problems| {
        body.require_unless_empty("policies", problems);
        grants::read(body, "policies", problems)
    })?;
    let (call, mut tx) = call.begin().await?;
    Resource::UserGroup.require(&mut tx, call.id()).await?;
    grants::replace(&mut tx, Subject::Group(call.id()), policies).await?;
    call.done(tx, call.id()).await
}
