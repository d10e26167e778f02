//! Settings: the tabs, and what there is.

use maud::{Markup, html};
use serde_json::Value;

use super::{csrf, signed_in};
use crate::console::client::Client;
use crate::store::audit::{ACTOR_TYPES, shown_type};

/// What the Organization tab shows: last part of the path, and title.
pub(in crate::console) const SECTIONS: [(&str, &str); 6] = [
    ("programmatic-users", "Programmatic Users"),
    ("users", "Users"),
    ("groups", "User Groups"),
    ("policies", "Policies"),
    ("accounts", "Accounts"),
    ("audit", "Audit"),
];

/// Events of the audit log on one page, the newest.
pub(in crate::console) const EVENTS: usize = 1000;

#[derive(Debug, Clone, Copy)]
pub(in crate::console) enum Tab<'a> {
    Organization(&'a str),
    /// An account, and all that may be chosen.
    Account(&'a str, &'a [Value]),
}

pub(in crate::console) fn text<'a>(item: &'a Value, key: &str) -> &'a str {
    item[key].as_str().unwrap_or_default()
}

/// Texts of a reply, with commas between.
fn texts(list: &Value, key: Option<&str>) -> String {
    let items = list.as_array().into_iter().flatten();
    let words = items.filter_map(|i| key.map_or(i, |k| &i[k]).as_str());
    words.collect::<Vec<_>>().join(", ")
}

pub(in crate::console) fn settings(client: &Client, tab: Tab, title: &str, body: &Markup) -> Markup {
    let here = |is: bool| is.then_some("page");
    let (organization, account) = match tab {
        Tab::Organization(section) => (Some(section), None),
        Tab::Account(id, all) => (None, Some((id, all))),
    };
    let body = html! {
        nav.tabs aria-label="Settings" {
            a href="/console/settings/organization/programmatic-users" aria-current=[here(organization.is_some())] { "Organization" }
            a href="/console/settings/account" aria-current=[here(account.is_some())] { "Account" }
        }
        div.columns {
            @if let Some(open) = organization {
                nav.side aria-label="Organization" {
                    @for (path, title) in SECTIONS {
                        a href={ "/console/settings/organization/" (path) } aria-current=[here(path == open)] { (title) }
                    }
                }
            }
            @if let Some((open, all)) = account {
                nav.side aria-label="Account" {
                    @for account in all {
                        @let id = text(account, "accountId");
                        a href={ "/console/settings/account/" (id) "/programmatic-users" } aria-current=[here(id == open)] {
                            (text(account, "name")) " (" (id) "): Programmatic Users"
                        }
                    }
                }
            }
            section { h1 { (title) } (body) }
        }
    };
    signed_in(title, client.organization(), client.session(), &body)
}

/// A table that scrolls by itself where it is too wide.
pub(in crate::console) fn table(caption: &str, head: &[&str], rows: &[Markup]) -> Markup {
    html! {
        @if rows.is_empty() { p { "There are none." } }
        @else {
            div.scroll tabindex="0" role="region" aria-label=(caption) {
                table {
                    caption { (caption) " (" (rows.len()) ")" }
                    thead { tr { @for title in head { th scope="col" { (title) } } } }
                    tbody { @for row in rows { tr { (row) } } }
                }
            }
        }
    }
}

/// Users, with a link to each.
pub(in crate::console) fn users<'a>(caption: &str, users: impl Iterator<Item = &'a Value>) -> Markup {
    let row = |u: &Value| {
        let kind = if text(u, "type") == "programmatic" {
            "Programmatic"
        } else {
            "Console"
        };
        html! {
            th scope="row" { a href={ "/console/settings/users/" (text(u, "userId")) } { (text(u, "username")) } }
            td { code { (text(u, "userId")) } }
            td { (kind) }
            td { (text(u, "email")) }
            td { (texts(&u["groupNames"], None)) }
        }
    };
    let rows: Vec<Markup> = users.map(row).collect();
    table(caption, &["Name", "ID", "Type", "E-mail", "Groups"], &rows)
}

/// One of the other lists.
pub(in crate::console) fn section(name: &str, title: &str, items: &[Value]) -> Markup {
    let (head, row): (&[&str], fn(&Value) -> Markup) = match name {
        "groups" => (&["Name", "ID", "Description", "Members", "Policies"], |g| {
            html! {
                th scope="row" { (text(g, "name")) }
                td { code { (text(g, "id")) } }
                td { (text(g, "description")) }
                td { (g["usersCount"]) }
                td { (texts(&g["policyNames"], None)) }
            }
        }),
        "policies" => (&["Name", "ID", "Type", "Description"], |p| {
            html! {
                th scope="row" { (text(p, "name")) }
                td { code { (text(p, "id")) } }
                td { (text(p, "type")) }
                td { (text(p, "description")) }
            }
        }),
        _ => (&["Name", "ID", "Cloud account"], |a| {
            html! {
                th scope="row" { (text(a, "name")) }
                td { code { (text(a, "accountId")) } }
                td { (text(a, "providerExternalId")) }
            }
        }),
    };
    let rows: Vec<Markup> = items.iter().map(row).collect();
    table(title, head, &rows)
}

/// The audit log, newest first, and its filter.
pub(in crate::console) fn audit(kind: &str, hours: &str, events: &[Value]) -> Markup {
    let kinds = std::iter::once(("", "All")).chain(ACTOR_TYPES.map(|kind| (kind, shown_type(kind))));
    let spans = [
        ("1", "Last hour"),
        ("24", "Last day"),
        ("168", "Last week"),
        ("720", "Last 30 days"),
    ];
    let row = |e: &Value| {
        let digits = text(e, "tokenLastDigits");
        html! {
            td { time { (text(e, "createdAt")) } }
            th scope="row" { (text(e, "user")) " " code { (text(e, "actorId")) } }
            td { (text(e, "actorType")) }
            td { @if !digits.is_empty() { "…" (digits) } }
            td { (text(e, "source")) " " code { (text(e, "peer")) } }
            td { (text(e, "actionType")) }
            td { (text(e, "resourceType")) " " code { (text(e, "resourceId")) } }
            td { (text(e, "accountId")) }
            td { (text(e, "result")) " (" (e["responseStatus"]) ")" @if let Some(many) = e["requests"].as_u64().filter(|n| *n > 1) { ", " (many) " times" } }
        }
    };
    let rows: Vec<Markup> = events.iter().rev().map(row).collect();
    let head = [
        "Time",
        "Actor",
        "Actor type",
        "Token",
        "Source",
        "Action",
        "Resource",
        "Account",
        "Result",
    ];
    html! {
        form.filter method="get" action="/console/settings/organization/audit" {
            label for="actorType" { "Actor type" }
            select id="actorType" name="actorType" {
                @for (value, title) in kinds { option value=(value) selected[value == kind] { (title) } }
            }
            label for="hours" { "Time" }
            select id="hours" name="hours" {
                @for (value, title) in spans { option value=(value) selected[value == hours] { (title) } }
            }
            button type="submit" { "Filter" }
        }
        @if events.len() >= EVENTS { p { "The newest " (EVENTS) ". The API has them all." } }
        (table("Events", &head, &rows))
    }
}

pub(in crate::console) fn user(user: &Value, may_delete: bool) -> Markup {
    let policies = user["policies"].as_array().map_or(&[][..], Vec::as_slice);
    let policy = |p: &Value| {
        let accounts = texts(&p["accountIds"], None);
        html! {
            th scope="row" { (text(p, "policyName")) }
            td { code { (text(p, "policyId")) } }
            td { @if accounts.is_empty() { "the organization" } @else { (accounts) } }
        }
    };
    let tokens = user["tokens"].as_array().map_or(&[][..], Vec::as_slice);
    let token = |t: &Value| {
        html! {
            th scope="row" { "…" (text(t, "tokenLastDigits")) }
            td { (text(t, "name")) }
            td { (text(t, "createdAt")) }
            td { (t["lastUsedAt"].as_str().unwrap_or("never")) }
        }
    };
    let kind = if text(user, "type") == "programmatic" {
        "Programmatic user: API only"
    } else {
        "Console user"
    };
    html! {
        dl {
            dt { "ID" } dd { code { (text(user, "userId")) } }
            dt { "Type" } dd { (kind) }
            @if let Some(email) = user["email"].as_str() { dt { "E-mail" } dd { (email) } }
            @if let Some(words) = user["description"].as_str() { dt { "Description" } dd { (words) } }
            dt { "Groups" } dd { (texts(&user["groups"], Some("name"))) }
        }
        (table("Policies", &["Policy", "ID", "Accounts"], &policies.iter().map(policy).collect::<Vec<_>>()))
        (table("Tokens", &["Last digits", "Name", "Made", "Last used"], &tokens.iter().map(token).collect::<Vec<_>>()))
        @if may_delete {
            p { a.button.danger href={ "/console/settings/users/" (text(user, "userId")) "/delete" } { "Delete user" } }
        }
    }
}

/// The question before a deletion.
pub(in crate::console) fn delete(client: &Client, user: &Value) -> Markup {
    let id = text(user, "userId");
    html! {
        p role="alert" { "Delete " strong { (text(user, "username")) } " (" (id) ")? Its tokens are dead at once, and this cannot be undone." }
        form method="post" action={ "/console/settings/users/" (id) "/delete" } {
            (csrf(client.session()))
            button.danger type="submit" { "Delete for good" }
            " "
            a href={ "/console/settings/users/" (id) } { "Cancel" }
        }
    }
}
