//! What a request is about, in the words of the protocol.

use std::collections::BTreeSet;

use hyper::Method;
use hyper::http::request::Parts;
use programmatic_users::api::{FINALIZER, NONCE_ANNOTATION, USER_ID_ANNOTATION};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::memory::Memory;

/// What a write does to an object, as far as the protocol has a word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The finalizer is put on.
    AddFinalizer,
    /// The finalizer is taken off.
    RemoveFinalizer,
    /// The journal has a new pending attempt.
    Intent,
    /// The journal has a new current attempt.
    Promote,
    /// The journal has another abandoned attempt.
    Abandon,
    /// The journal has an abandoned attempt less.
    Forget,
    /// The journal has no pending attempt any more, though it was neither promoted nor abandoned.
    Drop,
    /// The journal has another retiring attempt.
    Retire,
    /// The journal has a retiring attempt less.
    Retired,
    /// The journal says what the current attempt's user is about to get.
    Grant,
    /// The current attempt has other access.
    Access,
    /// `Ready` becomes true.
    Ready,
    /// A Secret gets a new attempt.
    Publish,
    /// A Secret of the operator's own namespace gets an attempt.
    Stage,
    /// The place where an attempt would be staged is taken.
    Bar,
    /// A Secret is written without a new attempt.
    Fence,
}

/// A request, as rules and records see it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// As in RBAC for the API server, in capitals for the platform.
    pub verb: String,
    /// Such as `programmaticusers/status`, or `/setup/user/{id}`.
    pub resource: String,
    pub namespace: String,
    /// Name of the object, or the platform's id of the user.
    pub name: String,
    pub dry_run: bool,
    pub watch: bool,
    pub changes: Vec<Change>,
    /// Platform: the name of the user to be made.
    pub user_name: String,
    /// Digest of the body: bodies may hold tokens.
    pub digest: String,
}

impl Seen {
    /// Whether it is meant to change something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !self.dry_run
            && !self.watch
            && !matches!(self.verb.as_str(), "get" | "list" | "watch" | "GET" | "HEAD")
    }

    #[must_use]
    pub fn has(&self, change: Change) -> bool {
        self.changes.contains(&change)
    }

    /// One line, such as `update programmaticusers/status ci [Promote Ready]`.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = format!("{} {}", self.verb, self.resource);
        for part in [&self.name, &self.user_name] {
            if !part.is_empty() {
                text.push(' ');
                text.push_str(part);
            }
        }
        if self.dry_run {
            text.push_str(" (dry run)");
        }
        if !self.changes.is_empty() {
            let changes: Vec<String> = self.changes.iter().map(|c| format!("{c:?}")).collect();
            text = format!("{text} [{}]", changes.join(" "));
        }
        text
    }

    /// The same without names: equal for equal runs.
    #[must_use]
    pub fn kind(&self) -> String {
        let anonymous = Self {
            name: String::new(),
            user_name: String::new(),
            ..self.clone()
        };
        anonymous.describe()
    }

    /// A request to the API server.
    #[must_use]
    pub fn kubernetes(parts: &Parts, body: &[u8], memory: &Memory, own_namespace: &str) -> Self {
        let path = parts.uri.path().trim_matches('/');
        let mut segments: Vec<&str> = path.split('/').collect();
        // `api/v1` or `apis/GROUP/VERSION`.
        let root = if segments.first() == Some(&"apis") { 3 } else { 2 };
        segments.drain(..root.min(segments.len()));
        let mut namespace = "";
        if segments.first() == Some(&"namespaces") && segments.len() > 2 {
            namespace = segments[1];
            segments.drain(..2);
        }
        let part = |i: usize| segments.get(i).copied().unwrap_or_default();
        let (mut resource, mut name, subresource) = (part(0).to_owned(), part(1).to_owned(), part(2));
        if !subresource.is_empty() {
            resource = format!("{resource}/{subresource}");
        }
        let query = parts.uri.query().unwrap_or_default();
        let flag = |key: &str| query.split('&').any(|p| p.starts_with(key));
        let watch = flag("watch=true") || flag("watch=1");
        let verb = match (&parts.method, name.is_empty()) {
            (&Method::GET, _) if watch => "watch",
            (&Method::GET, true) => "list",
            (&Method::GET, false) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, _) => "delete",
            _ => "other",
        };
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        if name.is_empty() && verb == "create" {
            value["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut name);
        }
        let mut seen = Self {
            verb: verb.to_owned(),
            resource,
            namespace: namespace.to_owned(),
            name,
            dry_run: flag("dryRun="),
            watch,
            changes: vec![],
            user_name: String::new(),
            digest: digest(body),
        };
        if seen.is_write() {
            seen.changes = match seen.resource.as_str() {
                "programmaticusers" => finalizers(&value),
                "programmaticusers/status" => journal(&memory.before(&value), &value),
                "secrets" if verb != "delete" => vec![secret(
                    &memory.before(&value),
                    &value,
                    seen.namespace == own_namespace,
                )],
                _ => vec![],
            };
        }
        seen
    }

    /// A request to the platform.
    #[must_use]
    pub fn platform(parts: &Parts, body: &[u8]) -> Self {
        let mut segments: Vec<&str> = parts.uri.path().split('/').collect();
        let mut name = "";
        if let ["", "setup", "user", id, ..] = segments.as_slice()
            && *id != "programmatic"
        {
            name = id;
            segments[3] = "{id}";
        }
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        Self {
            verb: parts.method.to_string(),
            resource: segments.join("/"),
            namespace: String::new(),
            name: name.to_owned(),
            dry_run: false,
            watch: false,
            changes: vec![],
            user_name: value["name"].as_str().unwrap_or_default().to_owned(),
            digest: digest(body),
        }
    }
}

/// The first characters of a SHA-256: enough to tell two bodies or tokens apart, and no way back.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)[..6]
        .iter()
        .fold(String::new(), |mut out, byte| {
            // Writing into a String cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}

fn finalizers(body: &Value) -> Vec<Change> {
    let Some(list) = body["metadata"]["finalizers"].as_array() else {
        return vec![];
    };
    if list.iter().any(|f| f == FINALIZER) {
        vec![Change::AddFinalizer]
    } else {
        vec![Change::RemoveFinalizer]
    }
}

fn nonces(journal: &Value, list: &str) -> BTreeSet<String> {
    let items = journal[list].as_array().into_iter().flatten();
    items
        .filter_map(|a| a["nonce"].as_str())
        .map(str::to_owned)
        .collect()
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn journal(before: &Value, after: &Value) -> Vec<Change> {
    let (old, new) = (&before["status"]["journal"], &after["status"]["journal"]);
    let appears = |field: &str| new[field]["nonce"].is_string() && new[field]["nonce"] != old[field]["nonce"];
    let more = |list: &str| nonces(new, list).difference(&nonces(old, list)).count() > 0;
    let less = |list: &str| nonces(old, list).difference(&nonces(new, list)).count() > 0;
    let dropped =
        old["pending"].is_object() && new["pending"].is_null() && !appears("current") && !more("abandoned");
    let all = [
        (appears("pending"), Change::Intent),
        (appears("current"), Change::Promote),
        (more("abandoned"), Change::Abandon),
        (dropped, Change::Drop),
        (less("abandoned"), Change::Forget),
        (more("retiring"), Change::Retire),
        (less("retiring"), Change::Retired),
        (
            !appears("current") && new["current"]["access"].is_null() && old["current"]["access"].is_string(),
            Change::Grant,
        ),
        (
            new["current"]["access"].is_string() && new["current"]["access"] != old["current"]["access"],
            Change::Access,
        ),
        (is_ready(after) && !is_ready(before), Change::Ready),
    ];
    all.iter()
        .filter(|(happens, _)| *happens)
        .map(|(_, change)| *change)
        .collect()
}

fn secret(before: &Value, after: &Value, own_namespace: bool) -> Change {
    let nonce = |object: &Value| object["metadata"]["annotations"][NONCE_ANNOTATION].clone();
    match nonce(after) {
        new if !new.is_string() || new == nonce(before) => Change::Fence,
        _ if own_namespace && after["metadata"]["annotations"][USER_ID_ANNOTATION].is_string() => {
            Change::Stage
        }
        _ if own_namespace => Change::Bar,
        _ => Change::Publish,
    }
}
