//! Settings. Every page is rendered from replies of the API, so that a user sees what its rights allow.

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, Refused};
use super::form::Form;
use super::page::lists::{self, SECTIONS, Tab, text};
use super::page::shown;
use super::{Visitor, failed, page, programmatic};
use crate::App;
use crate::reply::ApiError;
use crate::store::audit::ACTOR_TYPES;

/// Routes below `/console/settings`.
pub(super) fn pages() -> Router<App> {
    Router::new()
        .route("/console/settings", get(first))
        .route("/console/settings/organization", get(first))
        .route("/console/settings/organization/{section}", get(section))
        .route("/console/settings/account", get(first_account))
        .route("/console/settings/users/{id}", get(user))
        .route("/console/settings/users/{id}/delete", get(ask).post(delete))
        .merge(programmatic::pages())
}

/// Starts with the organization's users where the user may list them, else with an account.
async fn first(Visitor(client): Visitor) -> Response {
    match client.sees_users().await {
        Ok(true) => Redirect::to(&programmatic::base(None)).into_response(),
        Ok(false) => Redirect::to("/console/settings/account").into_response(),
        Err(error) => failed(&error),
    }
}

#[derive(Deserialize)]
struct Filter {
    #[serde(default, rename = "actorType")]
    actor_type: String,
    #[serde(default)]
    hours: String,
}

async fn section(
    Visitor(client): Visitor,
    Path(name): Path<String>,
    Query(filter): Query<Filter>,
) -> Response {
    let Some((name, title)) = SECTIONS.into_iter().find(|(path, _)| *path == name) else {
        return super::nothing().await;
    };
    shown(&client, async {
        let body = body(&client, name, title, &filter).await?;
        Ok(lists::settings(&client, Tab::Organization(name), title, &body).into_response())
    })
    .await
}

async fn body(client: &Client, name: &str, title: &str, filter: &Filter) -> Result<maud::Markup, Refused> {
    if name == "audit" {
        let hours = filter
            .hours
            .parse::<i64>()
            .ok()
            .filter(|h| (1..=720).contains(h))
            .unwrap_or(24);
        let known = ACTOR_TYPES.into_iter().find(|kind| *kind == filter.actor_type);
        let kind = known.unwrap_or_default();
        let to = Timestamp::now().as_millisecond();
        let from = to - hours * 3_600_000;
        let mut path = format!(
            "/audit/events?fromDate={from}&toDate={to}&responseStatus=all&limit={}",
            lists::EVENTS
        );
        if !kind.is_empty() {
            path.push_str("&actorType=");
            path.push_str(kind);
        }
        let events = client.get(&path).await?;
        return Ok(lists::audit(kind, &hours.to_string(), &events));
    }
    let path = match name {
        "users" | "programmatic-users" => "/setup/organization/user",
        "groups" => "/setup/access/userGroup",
        "policies" => "/setup/organization/policy",
        _ => "/setup/account",
    };
    let items = client.get(path).await?;
    if name == "programmatic-users" {
        return Ok(programmatic::list(client, &items, None).await);
    }
    if name == "users" {
        return Ok(lists::users(title, items.iter()));
    }
    Ok(lists::section(name, title, &items))
}

/// The Account tab starts with the first account that the user has rights in.
async fn first_account(Visitor(client): Visitor) -> Response {
    shown(&client, async {
        let accounts = client.get("/setup/account").await?;
        let first = accounts
            .first()
            .map(|a| programmatic::base(Some(text(a, "accountId"))));
        Ok(match first {
            Some(path) => Redirect::to(&path).into_response(),
            None => page::message("No account", "You have to do with no account.").into_response(),
        })
    })
    .await
}

async fn details(client: &Client, id: &str) -> Result<Value, Refused> {
    // What is no id is no path either.
    let id: String = id
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    let items = client.get(&format!("/setup/user/{id}")).await?;
    Ok(items.into_iter().next().unwrap_or_default())
}

fn section_of(user: &Value) -> &'static str {
    if text(user, "type") == "programmatic" {
        "programmatic-users"
    } else {
        "users"
    }
}

async fn user(Visitor(client): Visitor, Path(id): Path<String>) -> Response {
    shown(&client, async {
        let user = details(&client, &id).await?;
        let may_delete = client.administers().await.unwrap_or_default();
        let body = lists::user(&user, may_delete);
        let tab = Tab::Organization(section_of(&user));
        Ok(lists::settings(&client, tab, text(&user, "username"), &body).into_response())
    })
    .await
}

async fn ask(Visitor(client): Visitor, Path(id): Path<String>) -> Response {
    shown(&client, async {
        let user = details(&client, &id).await?;
        let body = lists::delete(&client, &user);
        let tab = Tab::Organization(section_of(&user));
        Ok(lists::settings(&client, tab, "Delete user", &body).into_response())
    })
    .await
}

async fn delete(
    State(app): State<App>,
    Visitor(client): Visitor,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let form = Form::read(request, app.body_limit).await;
    if !form.is_of(client.session()) {
        return client.csrf_failed("deleteUser").await;
    }
    shown(&client, async {
        let user = details(&client, &id).await?;
        let path = format!("/setup/user/{}", text(&user, "userId"));
        match client.call(Method::DELETE, &path, None).await {
            Err(error) if error.status.is_server_error() => {
                return Ok(failed(&ApiError::Internal("a deletion failed")));
            }
            answered => drop(answered?),
        }
        let list = format!("/console/settings/organization/{}", section_of(&user));
        Ok(Redirect::to(&list).into_response())
    })
    .await
}
