//! The frame of the console's pages, and those before the sign-in.

pub(super) mod lists;
pub(super) mod programmatic;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::client::{Client, Refused};
use crate::store::sign_in::Session;

/// A page before the sign-in.
fn page(title: &str, body: &Markup) -> Markup {
    frame(
        title,
        None,
        &html! { main.narrow id="content" { h1 { (title) } (body) } },
    )
}

/// A page after the sign-in.
pub(super) fn signed_in(title: &str, organization: &str, session: &Session, body: &Markup) -> Markup {
    let banner = banner(organization, session);
    frame(title, Some(&banner), &html! { main id="content" { (body) } })
}

fn frame(title: &str, banner: Option<&Markup>, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " - Console" }
                link rel="stylesheet" href="/console/style.css";
            }
            body {
                @if let Some(banner) = banner {
                    a.skip href="#content" { "Skip to the content" }
                    (banner)
                }
                (main)
            }
        }
    }
}

/// The user icon, and what is behind it. It opens without a script.
fn banner(organization: &str, session: &Session) -> Markup {
    html! {
        header {
            a.home href="/console" { (organization) }
            details.user {
                summary aria-label="User menu" {
                    svg aria-hidden="true" viewBox="0 0 24 24" width="24" height="24" {
                        circle cx="12" cy="8" r="4" {}
                        path d="M4 21c0-4.4 3.6-7 8-7s8 2.6 8 7z" {}
                    }
                }
                div.menu {
                    p { strong { (session.user_name) } br; (session.email) }
                    a href="/console/settings" { "Settings" }
                    a href="/console/own/password" { "Change password" }
                    a href="/console/own/sessions" { "Sessions" }
                    form method="post" action="/console/sign-out" {
                        (csrf(session))
                        button type="submit" { "Sign out" }
                    }
                }
            }
        }
    }
}

/// What proves that a form is a page of this session.
pub(super) fn csrf(session: &Session) -> Markup {
    html! { input type="hidden" name="csrf" value=(session.csrf); }
}

pub(super) fn message(title: &str, text: &str) -> Markup {
    page(
        title,
        &html! { p role="alert" { (text) } p { a href="/console" { "To the console" } } },
    )
}

/// A page with the refusal of the API.
pub(super) fn refused(client: &Client, refused: &Refused) -> Response {
    let title = match refused.status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        status if status.is_client_error() => "Refused",
        _ => "Failure",
    };
    let body = html! { h1 { (title) } p role="alert" { (refused.words()) } p { a href="/console" { "To the console" } } };
    let page = signed_in(title, client.organization(), client.session(), &body);
    (refused.status, page).into_response()
}

/// A page, or what the API refused on the way to it.
pub(super) async fn shown(
    client: &Client,
    page: impl Future<Output = Result<Response, Refused>>,
) -> Response {
    match page.await {
        Ok(page) => page,
        Err(error) => refused(client, &error),
    }
}

/// The answer to a request with a token.
pub(super) fn no_access(personal: bool) -> Markup {
    let what = if personal {
        "Tokens do not open the console. Sign in with your e-mail address and password."
    } else {
        "Programmatic users have no access to the console. Their tokens are for the API only."
    };
    page(
        "No access",
        &html! { p role="alert" { (what) } p { a href="/console/sign-in" { "Sign in" } } },
    )
}

pub(super) fn sign_in(csrf: &str, problem: Option<&str>) -> Markup {
    page(
        "Sign in",
        &html! {
            @if let Some(problem) = problem { p role="alert" { (problem) } }
            form method="post" action="/console/sign-in" {
                input type="hidden" name="csrf" value=(csrf);
                label for="email" { "E-mail" }
                input id="email" name="email" type="email" autocomplete="username" required autofocus;
                label for="password" { "Password" }
                input id="password" name="password" type="password" autocomplete="current-password" required;
                button type="submit" { "Sign in" }
            }
            p { "Programmatic users have no access to the console." }
        },
    )
}

/// The signed-in user, and where the settings are.
pub(super) fn home(organization: &str, session: &Session) -> Markup {
    signed_in(
        organization,
        organization,
        session,
        &html! {
            h1 { (organization) }
            p { "Signed in as " strong { (session.user_name) } " (" (session.email) ", " (session.user_id) ")." }
            p { "Users, groups, policies, accounts and the audit log are in the settings, behind the user icon." }
        },
    )
}
