//! Waiting for, and reading, what the operator did.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use programmatic_users::api::{Organization, ProgrammaticUser, READY, STALLED};
use serde_json::Value;

use super::wait::{self, SOON};
use super::world::World;

/// A condition of an object.
#[must_use]
pub fn condition<'a>(user: &'a ProgrammaticUser, kind: &str) -> Option<&'a Condition> {
    user.status.as_ref()?.conditions.iter().find(|c| c.type_ == kind)
}

/// Conditions in one line.
#[must_use]
pub fn conditions(all: &[Condition]) -> String {
    let one = |c: &Condition| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message);
    let lines: Vec<String> = all.iter().map(one).collect();
    if lines.is_empty() {
        "no conditions".to_owned()
    } else {
        lines.join("; ")
    }
}

/// Whether the status is about the spec as it is now.
fn current(user: &ProgrammaticUser) -> bool {
    user.status
        .as_ref()
        .is_some_and(|s| s.observed_generation == user.metadata.generation)
}

/// Values of a Secret as text.
#[must_use]
pub fn values(secret: &Secret) -> BTreeMap<String, String> {
    let data = secret.data.clone().unwrap_or_default();
    data.into_iter()
        .map(|(k, v)| (k, String::from_utf8_lossy(&v.0).into_owned()))
        .collect()
}

impl World {
    /// Users of the first namespace.
    #[must_use]
    pub fn users(&self) -> Api<ProgrammaticUser> {
        Api::namespaced(self.client(), self.namespace())
    }

    /// The same as they are stored, whether or not this version can read them.
    #[must_use]
    pub fn raw_users(&self) -> Api<DynamicObject> {
        let kind = ApiResource::erase::<ProgrammaticUser>(&());
        Api::namespaced_with(self.client(), self.namespace(), &kind)
    }

    /// Secrets of the first namespace.
    #[must_use]
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client(), self.namespace())
    }

    /// The user as it is now.
    pub async fn get(&self, name: &str) -> ProgrammaticUser {
        self.users()
            .get(name)
            .await
            .unwrap_or_else(|e| panic!("ProgrammaticUser {name}: {e}"))
    }

    /// The organization as it is now.
    pub async fn organization(&self) -> Organization {
        let api: Api<Organization> = Api::all(self.client());
        api.get(self.organization_name())
            .await
            .expect("the organization exists")
    }

    /// Waits until the organization has counted this many users of ours: from then on another list is no news. Needs
    /// a short drift interval.
    pub async fn counted(&self, users: i32) {
        self.eventually("the organization to have counted", SOON, async || {
            match self.organization().await.status.and_then(|s| s.users) {
                Some(counts) if counts.managed == users => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Polls until `probe` is `Ok`; otherwise ends the test with all that is known.
    pub async fn eventually<T>(
        &self,
        what: &str,
        deadline: Duration,
        probe: impl AsyncFnMut() -> Result<T, String>,
    ) -> T {
        match wait::eventually(what, deadline, probe).await {
            Ok(value) => value,
            Err(message) => self.fail(&message).await,
        }
    }

    /// Polls for the whole of `span`; ends the test at the first `Err`.
    pub async fn always<T>(
        &self,
        what: &str,
        span: Duration,
        probe: impl AsyncFnMut() -> Result<T, String>,
    ) -> T {
        match wait::always(what, span, probe).await {
            Ok(value) => value,
            Err(message) => self.fail(&message).await,
        }
    }

    /// Waits until the user meets `wanted`.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&ProgrammaticUser) -> bool,
    ) -> ProgrammaticUser {
        let users = self.users();
        self.eventually(&format!("{name} {what}"), SOON, async || {
            let user = users.get(name).await.map_err(|e| e.to_string())?;
            if wanted(&user) {
                return Ok(user);
            }
            let status = user.status.unwrap_or_default();
            let generation = user.metadata.generation.unwrap_or_default();
            let seen = status.observed_generation.unwrap_or_default();
            Err(format!(
                "generation {seen} of {generation}, {}",
                conditions(&status.conditions)
            ))
        })
        .await
    }

    /// Waits until the user is Ready with the spec as it is now.
    pub async fn ready(&self, name: &str) -> ProgrammaticUser {
        let good =
            |u: &ProgrammaticUser| current(u) && condition(u, READY).is_some_and(|c| c.status == "True");
        self.until(name, "to be Ready", good).await
    }

    /// Waits until the user is stalled for this reason; the message of the condition.
    pub async fn stalled(&self, name: &str, reason: &str) -> String {
        let good = |u: &ProgrammaticUser| {
            current(u) && condition(u, STALLED).is_some_and(|c| c.status == "True" && c.reason == reason)
        };
        let user = self.until(name, &format!("to be Stalled/{reason}"), good).await;
        condition(&user, STALLED)
            .map(|c| c.message.clone())
            .unwrap_or_default()
    }

    /// Waits until there is no such user any more.
    pub async fn gone(&self, name: &str) {
        self.gone_within(name, SOON).await;
    }

    /// The same with more patience: what cannot be known for certain is given up only after a settle window.
    pub async fn gone_within(&self, name: &str, patience: Duration) {
        let users = self.raw_users();
        self.eventually(&format!("{name} to be gone"), patience, async || {
            match users.get_opt(name).await {
                Ok(None) => Ok(()),
                Ok(Some(user)) => Err(user.data["status"]["conditions"].to_string()),
                Err(e) => Err(e.to_string()),
            }
        })
        .await;
    }

    /// Changes the user, as `kubectl patch --type=merge` does.
    pub async fn change(&self, name: &str, patch: Value) -> Result<(), String> {
        let patched = self
            .raw_users()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched.map(drop).map_err(|e| e.to_string())
    }

    /// Deletes the user; [`World::gone`] waits for the end.
    pub async fn delete(&self, name: &str) {
        self.raw_users()
            .delete(name, &DeleteParams::default())
            .await
            .expect("the user can be deleted");
    }

    /// Values of a Secret of the first namespace; remembered, so that [`World::leaks`] looks for its token.
    pub async fn secret(&self, name: &str) -> BTreeMap<String, String> {
        let secret = self
            .secrets()
            .get(name)
            .await
            .unwrap_or_else(|e| panic!("Secret {name}: {e}"));
        let values = values(&secret);
        for value in values.values().filter(|v| looks_like_token(v)) {
            self.remember_token(&format!("Secret {name}"), value);
        }
        values
    }

    /// The token of a user that is Ready, under its default key.
    pub async fn token(&self, name: &str) -> String {
        let user = self.get(name).await;
        let secret = user
            .status
            .and_then(|s| s.secret_name)
            .expect("a user that is Ready has a Secret");
        self.secret(&secret)
            .await
            .remove("SPOTINST_TOKEN")
            .expect("the Secret has SPOTINST_TOKEN")
    }

    /// From now on [`World::leaks`] looks for this one, too.
    pub fn remember_token(&self, whose: &str, token: &str) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let n = tokens.len();
        if !tokens.values().any(|t| t == token) {
            tokens.insert(format!("{whose} (#{n})"), token.to_owned());
        }
    }

    /// Events about one object of the first namespace, oldest first.
    pub async fn events(&self, name: &str) -> Vec<Event> {
        let api: Api<Event> = Api::namespaced(self.client(), self.namespace());
        let all = api
            .list(&ListParams::default())
            .await
            .map(|l| l.items)
            .unwrap_or_default();
        let about = |e: &Event| e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name);
        let mut found: Vec<Event> = all.into_iter().filter(about).collect();
        found.sort_by_key(|e| e.metadata.creation_timestamp.clone());
        found
    }

    /// Ends the test with all that is known: objects, Events, the controller's last lines.
    pub async fn fail(&self, message: &str) -> ! {
        self.is_reported.store(true, Ordering::Relaxed);
        let mut text = format!("{message}\n");
        for namespace in self.namespaces() {
            let api: Api<ProgrammaticUser> = Api::namespaced(self.client(), namespace);
            for mut user in api
                .list(&ListParams::default())
                .await
                .map(|l| l.items)
                .unwrap_or_default()
            {
                user.managed_fields_mut().clear();
                let yaml = serde_saphyr::to_string(&user).unwrap_or_default();
                let _ = writeln!(
                    text,
                    "--- ProgrammaticUser {namespace}/{}\n{yaml}",
                    user.name_any()
                );
            }
            let api: Api<Secret> = Api::namespaced(self.client(), namespace);
            for secret in api
                .list(&ListParams::default())
                .await
                .map(|l| l.items)
                .unwrap_or_default()
            {
                let keys: Vec<String> = secret.data.clone().unwrap_or_default().into_keys().collect();
                let annotations = secret.annotations();
                let _ = writeln!(
                    text,
                    "--- Secret {namespace}/{} {keys:?} {annotations:?}",
                    secret.name_any()
                );
            }
            let api: Api<Event> = Api::namespaced(self.client(), namespace);
            for e in api
                .list(&ListParams::default())
                .await
                .map(|l| l.items)
                .unwrap_or_default()
            {
                let name = e.regarding.and_then(|r| r.name).unwrap_or_default();
                let (reason, note) = (e.reason.unwrap_or_default(), e.note.unwrap_or_default());
                let _ = writeln!(
                    text,
                    "Event {} {name} {reason}: {note}",
                    e.type_.unwrap_or_default()
                );
            }
        }
        if let Ok(Some(o)) = Api::<Organization>::all(self.client())
            .get_opt(self.organization_name())
            .await
        {
            let _ = writeln!(
                text,
                "Organization: {}",
                conditions(&o.status.unwrap_or_default().conditions)
            );
        }
        let _ = writeln!(text, "--- the controller's last lines ({})", self.dir().display());
        panic!("{text}{}", self.controller().log_tail(60));
    }
}

/// What the platform hands out: 64 lower-case hexadecimal digits.
#[must_use]
pub fn looks_like_token(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
