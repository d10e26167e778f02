//! One's own password and sessions.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::client::{Client, Refused};
use super::form::Form;
use super::page::lists::{table, text};
use super::page::{csrf, shown, signed_in};
use super::{SIGN_IN, Visitor};
use crate::App;

const PASSWORD: &str = "/console/own/password";
const SESSIONS: &str = "/console/own/sessions";

/// Routes below `/console/own`.
pub(super) fn pages() -> Router<App> {
    Router::new()
        .route(PASSWORD, get(password).post(change_password))
        .route(SESSIONS, get(sessions))
        .route("/console/own/sessions/others/end", post(end_others))
        .route("/console/own/sessions/{id}/end", post(end))
}

fn page(client: &Client, status: StatusCode, title: &str, body: &Markup) -> Response {
    let body = html! { h1 { (title) } (body) };
    let page = signed_in(title, client.organization(), client.session(), &body);
    (status, page).into_response()
}

async fn password(Visitor(client): Visitor) -> Response {
    password_form(&client, StatusCode::OK, None)
}

fn password_form(client: &Client, status: StatusCode, problem: Option<&str>) -> Response {
    let field = |name: &str, title: &str, complete: &str| {
        html! {
            label for=(name) { (title) }
            input id=(name) name=(name) type="password" autocomplete=(complete) required;
        }
    };
    let body = html! {
        @if let Some(problem) = problem { p role="alert" { (problem) } }
        form method="post" action=(PASSWORD) {
            (csrf(client.session()))
            (field("current", "Current password", "current-password"))
            (field("new", "New password (8 to 128 characters)", "new-password"))
            (field("again", "New password, again", "new-password"))
            button type="submit" { "Change password" }
        }
        p { "Your other sessions end." }
    };
    page(client, status, "Change password", &body)
}

async fn change_password(State(app): State<App>, Visitor(client): Visitor, request: Request) -> Response {
    let form = Form::read(request, app.body_limit).await;
    if !form.is_of(client.session()) {
        return client.csrf_failed("updatePassword").await;
    }
    if form.text("new") != form.text("again") {
        let problem = "The new passwords differ. Nothing was changed.";
        return password_form(&client, StatusCode::BAD_REQUEST, Some(problem));
    }
    let body = json!({"currentPassword": form.text("current"), "newPassword": form.text("new")});
    match client
        .call(Method::PUT, "/setup/user/password", Some(&body))
        .await
    {
        Ok(_) => {
            let body =
                html! { p role="status" { "The password was changed. Your other sessions have ended." } };
            page(&client, StatusCode::OK, "Change password", &body)
        }
        Err(refused) => password_form(&client, refused.status, Some(&refused.words())),
    }
}

async fn sessions(Visitor(client): Visitor) -> Response {
    shown(&client, async {
        let all = client.get("/setup/user/session").await?;
        Ok(page(&client, StatusCode::OK, "Sessions", &list(&client, &all)))
    })
    .await
}

fn list(client: &Client, all: &[Value]) -> Markup {
    let row = |session: &Value| {
        let is_current = session["isCurrent"] == true;
        html! {
            td { time { (text(session, "createdAt")) } }
            td { time { (text(session, "lastUsedAt")) } }
            td { code { (text(session, "peer")) } }
            td { (text(session, "agent")) }
            td {
                @if is_current { "this one" }
                @else {
                    form method="post" action={ (SESSIONS) "/" (text(session, "id")) "/end" } {
                        (csrf(client.session()))
                        button type="submit" { "End" }
                    }
                }
            }
        }
    };
    let rows: Vec<Markup> = all.iter().map(row).collect();
    html! {
        (table("Sessions", &["Began", "Last used", "From", "Browser", "End it"], &rows))
        @if all.len() > 1 {
            form method="post" action={ (SESSIONS) "/others/end" } {
                (csrf(client.session()))
                button.danger type="submit" { "End all other sessions" }
            }
        }
    }
}

async fn end(
    State(app): State<App>,
    Visitor(client): Visitor,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    // What is no id is no path either.
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    end_by(&app, &client, request, &format!("/setup/user/session/{id}")).await
}

async fn end_others(State(app): State<App>, Visitor(client): Visitor, request: Request) -> Response {
    end_by(&app, &client, request, "/setup/user/session").await
}

async fn end_by(app: &App, client: &Client, request: Request, path: &str) -> Response {
    let form = Form::read(request, app.body_limit).await;
    if !form.is_of(client.session()) {
        return client.csrf_failed("deleteSession").await;
    }
    shown(client, async {
        match client.call(Method::DELETE, path, None).await {
            // It ended meanwhile, which is what was wanted.
            Ok(_)
            | Err(Refused {
                status: StatusCode::NOT_FOUND,
                ..
            }) => Ok(Redirect::to(SESSIONS).into_response()),
            Err(Refused {
                status: StatusCode::UNAUTHORIZED,
                ..
            }) => Ok(Redirect::to(SIGN_IN).into_response()),
            Err(refused) => Err(refused),
        }
    })
    .await
}
