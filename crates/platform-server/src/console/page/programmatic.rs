//! Programmatic users: the form, and the page that shows a token once.

use maud::{Markup, html};
use serde_json::Value;

use super::csrf;
use super::lists::text;
use crate::console::client::Client;
use crate::console::form::Form;

/// What the form offers and what it was sent with.
pub(in crate::console) struct Offer<'a> {
    pub(in crate::console) action: &'a str,
    /// The only account, if it is about one.
    pub(in crate::console) account: Option<&'a str>,
    pub(in crate::console) accounts: &'a [Value],
    pub(in crate::console) policies: &'a [Value],
    /// A number that can be used once.
    pub(in crate::console) number: &'a str,
    /// What was sent, if it was refused.
    pub(in crate::console) sent: &'a Form,
    /// Field of the form, and what is wrong with it.
    pub(in crate::console) problems: &'a [(&'static str, String)],
}

/// Account roles as the console names them, and their values.
pub(in crate::console) const ROLES: [(&str, &str); 3] = [
    ("viewer", "Viewer"),
    ("editor", "Editor"),
    ("policyBased", "Policy Based"),
];

impl Offer<'_> {
    fn wrong(&self, field: &str) -> Option<&'static str> {
        self.problems.iter().any(|(f, _)| *f == field).then_some("true")
    }

    fn chosen(&self, field: &str, value: &str) -> bool {
        self.sent.all(field).any(|v| v == value)
    }
}

/// Whether a policy is made for the whole organization.
pub(in crate::console) fn is_of_organization(policy: &Value) -> bool {
    text(policy, "type").ends_with("ORGANIZATION")
}

/// A list of boxes to tick.
fn boxes(offer: &Offer, field: &'static str, legend: &str, id: &str, items: &[&Value]) -> Markup {
    html! {
        fieldset id=(field) class=(field) aria-invalid=[offer.wrong(field)] {
            legend { (legend) }
            @for (i, item) in items.iter().enumerate() {
                @let value = text(item, id);
                div.box {
                    input id={ (field) "-" (i) } type="checkbox" name=(field) value=(value) checked[offer.chosen(field, value)];
                    label for={ (field) "-" (i) } {
                        (text(item, "name")) " " code { (value) }
                        @if offer.account.is_none() && is_of_organization(item) {
                            " " small { "whole organization, unless accounts are chosen" }
                        }
                    }
                }
            }
        }
    }
}

pub(in crate::console) fn add(client: &Client, offer: &Offer) -> Markup {
    let policies: Vec<&Value> = offer.policies.iter().collect();
    let accounts: Vec<&Value> = offer.accounts.iter().collect();
    html! {
        @if !offer.problems.is_empty() {
            div.problems role="alert" {
                p { "No user was made:" }
                ul { @for (field, words) in offer.problems { li { a href={ "#" (field) } { (words) } } } }
            }
        }
        form.add method="post" action=(offer.action) {
            (csrf(client.session()))
            input type="hidden" name="number" value=(offer.number);
            label for="name" { "Name" }
            input id="name" name="name" value=(offer.sent.text("name")) required autocomplete="off"
                aria-invalid=[offer.wrong("name")] aria-describedby="name-hint";
            p.hint id="name-hint" { "Without the characters + = @" }
            label for="description" { "Description" }
            input id="description" name="description" value=(offer.sent.text("description")) autocomplete="off"
                aria-invalid=[offer.wrong("description")];
            label for="role" { "Account Role" }
            select id="role" name="role" aria-invalid=[offer.wrong("role")] {
                @for (value, title) in ROLES { option value=(value) selected[offer.chosen("role", value)] { (title) } }
            }
            @if offer.account.is_none() {
                (boxes(offer, "accounts", "Accounts", "accountId", &accounts))
            }
            (boxes(offer, "policies", "Policies", "id", &policies))
            p { button type="submit" { "Add Programmatic User" } }
        }
    }
}

/// The one page that ever shows a token.
pub(in crate::console) fn created(user: &Value, back: &str) -> Markup {
    html! {
        p role="status" { "Programmatic user " strong { (text(user, "name")) } " (" (text(user, "id")) ") was made." }
        div.token {
            label for="token" { "Token" }
            input id="token" readonly value=(text(user, "token")) autocomplete="off" spellcheck="false" aria-describedby="once";
            button type="button" data-copy="token" hidden { "Copy" }
            span id="copied" role="status" {}
        }
        p.warning id="once" {
            "Copy the token now and keep it in a safe place, as you would a password: it is shown this once, and cannot be shown again. "
            "Give it to programs as an environment variable, and never write it into them."
        }
        p { a href=(back) { "Done" } }
        script src="/console/copy.js" defer {}
    }
}
