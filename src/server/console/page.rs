//! The console's pages.

use maud::{DOCTYPE, Markup, html};

use crate::server::store::sign_in::Session;

fn page(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " - Console" }
                link rel="stylesheet" href="/console/style.css";
            }
            body { main { h1 { (title) } (body) } }
        }
    }
}

/// One sentence.
pub(super) fn message(title: &str, text: &str) -> Markup {
    page(
        title,
        &html! { p { (text) } p { a href="/console" { "To the console" } } },
    )
}

/// For whoever comes with a token.
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

/// The sign-in form.
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

/// Who is signed in.
pub(super) fn home(organization: &str, session: &Session) -> Markup {
    page(
        organization,
        &html! {
            p { "Signed in as " strong { (session.user_name) } " (" (session.email) ", " (session.user_id) ")." }
            form method="post" action="/console/sign-out" {
                input type="hidden" name="csrf" value=(session.csrf);
                button type="submit" { "Sign out" }
            }
        },
    )
}
