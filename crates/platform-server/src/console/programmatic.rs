//! Programmatic users of the organization and of one account: list, form, and the page that shows a token once.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::client::{Client, Refused};
use super::form::Form;
use super::page::lists::{self, Tab, text};
use super::page::programmatic::{self as page, Offer};
use super::page::{refused, shown};
use super::{Visitor, failed};
use crate::reply::ApiError;
use crate::{App, catalog, secret};

const OF_ORGANIZATION: &str = "/console/settings/organization/programmatic-users";

pub(super) fn pages() -> Router<App> {
    let of_account = "/console/settings/account/{account}/programmatic-users";
    Router::new()
        .route(&format!("{OF_ORGANIZATION}/add"), get(add).post(create))
        .route(of_account, get(in_account))
        .route(
            &format!("{of_account}/add"),
            get(add_in_account).post(create_in_account),
        )
}

/// The programmatic ones of `users`, and the button for administrators.
pub(super) async fn list(client: &Client, users: &[Value], account: Option<&str>) -> Markup {
    let users = users.iter().filter(|u| text(u, "type") == "programmatic");
    let may_add = client.administers().await.unwrap_or_default();
    html! {
        @if may_add { p { a.button href={ (base(account)) "/add" } { "Add Programmatic User" } } }
        (lists::users("Programmatic Users", users))
    }
}

/// Where the list of the organization, or of an account, is.
pub(super) fn base(account: Option<&str>) -> String {
    account.map_or_else(
        || OF_ORGANIZATION.to_owned(),
        |id| format!("/console/settings/account/{id}/programmatic-users"),
    )
}

/// One of the accounts that the user has rights in, and all of them.
async fn choose(client: &Client, account: &str) -> Result<Vec<Value>, Refused> {
    let all = client.get("/setup/account").await?;
    if all.iter().any(|a| text(a, "accountId") == account) {
        return Ok(all);
    }
    Err(Refused {
        status: StatusCode::NOT_FOUND,
        errors: vec![platform_api::ErrorItem {
            code: String::new(),
            message: format!("There is no account {account} that you have to do with"),
            field: None,
        }],
    })
}

async fn in_account(Visitor(client): Visitor, Path(account): Path<String>) -> Response {
    shown(&client, async {
        let accounts = choose(&client, &account).await?;
        let users = client.get(&format!("/setup/user?accountId={account}")).await?;
        let body = list(&client, &users, Some(&account)).await;
        let tab = Tab::Account(&account, &accounts);
        Ok(lists::settings(&client, tab, "Programmatic Users", &body).into_response())
    })
    .await
}

async fn add(Visitor(client): Visitor) -> Response {
    form(&client, None, &Form::default(), &[], StatusCode::OK).await
}

async fn add_in_account(Visitor(client): Visitor, Path(account): Path<String>) -> Response {
    form(&client, Some(&account), &Form::default(), &[], StatusCode::OK).await
}

/// Shows the form, empty or as it was sent.
async fn form(
    client: &Client,
    account: Option<&str>,
    sent: &Form,
    problems: &[(&'static str, String)],
    status: StatusCode,
) -> Response {
    shown(client, async {
        let accounts = match account {
            Some(id) => choose(client, id).await?,
            None => client.get("/setup/account").await?,
        };
        let mut policies = client.get("/setup/organization/policy").await?;
        if account.is_some() {
            policies.retain(is_of_accounts);
        }
        let Ok(number) = secret::random_hex::<16>() else {
            return Ok(failed(&ApiError::Internal("no randomness")));
        };
        let offer = Offer {
            action: &format!("{}/add", base(account)),
            account,
            accounts: &accounts,
            policies: &policies,
            number: &number,
            sent,
            problems,
        };
        let body = page::add(client, &offer);
        let page = lists::settings(client, tab(account, &accounts), "Add Programmatic User", &body);
        Ok((status, page).into_response())
    })
    .await
}

/// Whether a policy is offered for an account: those that are made for accounts, and the administrator's, which is for both.
fn is_of_accounts(policy: &Value) -> bool {
    !page::is_of_organization(policy) || text(policy, "id") == catalog::ADMIN
}

fn tab<'a>(account: Option<&'a str>, accounts: &'a [Value]) -> Tab<'a> {
    account.map_or(Tab::Organization("programmatic-users"), |id| {
        Tab::Account(id, accounts)
    })
}

async fn create(State(app): State<App>, Visitor(client): Visitor, request: Request) -> Response {
    let sent = Form::read(request, app.body_limit).await;
    make(&client, None, &sent).await
}

async fn create_in_account(
    State(app): State<App>,
    Visitor(client): Visitor,
    Path(account): Path<String>,
    request: Request,
) -> Response {
    let sent = Form::read(request, app.body_limit).await;
    make(&client, Some(&account), &sent).await
}

/// What the API is asked for.
fn body(sent: &Form, account: Option<&str>) -> Value {
    let accounts: Vec<&str> = account.map_or_else(|| sent.all("accounts").collect(), |id| vec![id]);
    let mut body = json!({"name": sent.text("name")});
    if !sent.text("description").is_empty() {
        body["description"] = json!(sent.text("description"));
    }
    if sent.text("role") == "policyBased" {
        let policy = |id: &str| json!({"policyId": id, "accountIds": accounts});
        body["policies"] = sent.all("policies").map(policy).collect();
    } else {
        let role = |id: &&str| json!({"id": id, "role": sent.text("role")});
        body["accounts"] = accounts.iter().map(role).collect();
    }
    body
}

/// The field of the form that a field of the API is, and what is wrong with it.
fn problem(field: Option<&str>, message: &str) -> (&'static str, String) {
    let field = field.unwrap_or_default();
    let (id, title) = match field {
        f if f.starts_with("name") => ("name", "Name"),
        f if f.starts_with("description") => ("description", "Description"),
        f if f.rsplit('.').next() == Some("role") => ("role", "Account Role"),
        f if f.starts_with("policies") && !f.contains("accountIds") => ("policies", "Policies"),
        f if f.starts_with("accounts") || f.contains("accountIds") => ("accounts", "Accounts"),
        _ => return ("name", message.to_owned()),
    };
    // The API begins with the field's own name.
    let words = message
        .strip_prefix('"')
        .and_then(|m| m.split_once("\" "))
        .map_or(message, |(_, words)| words);
    (id, format!("{title} {words}"))
}

async fn make(client: &Client, account: Option<&str>, sent: &Form) -> Response {
    if !sent.is_of(client.session()) {
        return client.csrf_failed("createProgrammaticUser").await;
    }
    match client.take(sent.text("number")).await {
        Ok(true) => {}
        Ok(false) => return again(client, account),
        Err(error) => return failed(&error),
    }
    match client
        .call(
            Method::POST,
            "/setup/user/programmatic",
            Some(&body(sent, account)),
        )
        .await
    {
        Ok(made) => {
            let user = made.into_iter().next().unwrap_or_default();
            let body = page::created(&user, &base(account));
            let accounts = client.get("/setup/account").await.unwrap_or_default();
            lists::settings(client, tab(account, &accounts), "Programmatic user added", &body).into_response()
        }
        Err(error) if error.status == StatusCode::BAD_REQUEST => {
            let problems: Vec<_> = error
                .errors
                .iter()
                .map(|e| problem(e.field.as_deref(), &e.message))
                .collect();
            form(client, account, sent, &problems, StatusCode::BAD_REQUEST).await
        }
        Err(error) => refused(client, &error),
    }
}

/// The page with the token was loaded again, or that of a refusal: which of them is not known here.
fn again(client: &Client, account: Option<&str>) -> Response {
    let body = html! {
        p role="alert" {
            "This form was sent before, and nothing was done now. If it made a user, the token was shown then and cannot be "
            "shown again: if it is lost, delete the user and add another one. If it was refused, there is no user: fill in "
            "the form anew."
        }
        p { a href=(base(account)) { "To the programmatic users" } }
    };
    let page = lists::settings(client, tab(None, &[]), "Sent before", &body);
    (StatusCode::CONFLICT, page).into_response()
}
