//! A `ProgrammaticUser` as commands show it, read from any version of the object.

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use serde::Serialize;
use serde_json::Value;

use crate::api::{ACCESS_APPLIED, READY, ROTATING, SECRET_PUBLISHED, STALLED, SUSPENDED};
use crate::plan::Marker;

/// Reason of an object whose current generation the operator has not observed.
pub(super) const NOT_OBSERVED: &str = "NotObserved";

/// How a user is; the worst comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum State {
    /// It waits for a change by a person.
    Stalled,
    /// The operator works on it, or has not observed it yet.
    NotReady,
    /// The token works; something waits, or has a note.
    Noted,
    /// All is as the spec says.
    Ready,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConditionView {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) since: Option<Timestamp>,
}

/// A user whose token was replaced, and until when it stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Old {
    pub(super) user_id: String,
    pub(super) not_before: Option<Timestamp>,
}

/// A workload that reads the Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct ConsumerView {
    /// Such as `Deployment`.
    kind: String,
    name: String,
    /// Whether pods of it still have an older token.
    outdated: bool,
}

impl ConsumerView {
    pub(super) fn shown(&self) -> String {
        let note = if self.outdated { " (older token)" } else { "" };
        format!("{}/{}{note}", self.kind, self.name)
    }
}

/// One user.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserView {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) state: State,
    /// `True`, `False`, or `Unknown` if the status is not about the object as it is now.
    pub(super) ready: String,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) class_name: String,
    pub(super) scope: String,
    pub(super) organization_name: Option<String>,
    pub(super) user_id: Option<String>,
    pub(super) secret_name: Option<String>,
    pub(super) token_last_digits: Option<String>,
    pub(super) token_issued_at: Option<Timestamp>,
    pub(super) next_rotation: Option<Timestamp>,
    /// Workloads that read the Secret; empty also where the operator does not look for them.
    pub(super) consumers: Vec<ConsumerView>,
    /// How many more there are: the status has room for some only.
    pub(super) more_consumers: usize,
    /// Users whose tokens were replaced and still work.
    pub(super) retiring: Vec<Old>,
    pub(super) created_at: Option<Timestamp>,
    #[serde(skip)]
    pub(super) uid: String,
    #[serde(skip)]
    pub(super) version: String,
    #[serde(skip)]
    pub(super) deleting: bool,
    #[serde(skip)]
    pub(super) suspended: bool,
    /// Whether user, token and Secret outlive the object.
    #[serde(skip)]
    pub(super) retains: bool,
    #[serde(skip)]
    pub(super) conditions: Vec<ConditionView>,
    /// What was acted on last: `rotate-at`, `revoke-now`.
    #[serde(skip)]
    pub(super) handled: [Option<String>; 2],
    /// The attempts that the journal names.
    #[serde(skip)]
    pub(super) nonces: Vec<String>,
}

fn text(value: &Value, path: &str) -> Option<String> {
    value.pointer(path)?.as_str().map(str::to_owned)
}

fn time(value: &Value, path: &str) -> Option<Timestamp> {
    value.pointer(path)?.as_str()?.parse().ok()
}

fn list<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value
        .pointer(path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

impl UserView {
    pub(super) fn new(object: &DynamicObject) -> Self {
        let data = &object.data;
        let conditions: Vec<ConditionView> = list(data, "/status/conditions").map(condition).collect();
        let seen = data.pointer("/status/observedGeneration").and_then(Value::as_i64);
        let current = seen.is_some() && seen == object.metadata.generation;
        // Where the class does not allow it, the condition says so, and the operator reconciles the object.
        let refused = find(&conditions, SUSPENDED).is_some_and(|c| c.status == "False");
        let suspended = data.pointer("/spec/suspend") == Some(&Value::Bool(true)) && !refused;
        let (ready, reason, message) = readiness(&conditions, current);
        let state = state(&conditions, current, &ready, &reason);
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            state,
            ready,
            reason,
            message,
            class_name: text(data, "/spec/className").unwrap_or_default(),
            scope: text(data, "/spec/scope").unwrap_or_default(),
            organization_name: text(data, "/status/organizationName"),
            user_id: text(data, "/status/userId"),
            secret_name: text(data, "/status/secretName"),
            token_last_digits: text(data, "/status/tokenLastDigits"),
            token_issued_at: time(data, "/status/tokenIssuedAt"),
            next_rotation: time(data, "/status/nextRotation"),
            consumers: consumers(data),
            more_consumers: more_consumers(data),
            retiring: retiring(data),
            created_at: object.metadata.creation_timestamp.as_ref().map(|t| t.0),
            uid: object.uid().unwrap_or_default(),
            version: object.resource_version().unwrap_or_default(),
            deleting: object.metadata.deletion_timestamp.is_some(),
            suspended,
            retains: data.pointer("/spec/deletionPolicy").and_then(Value::as_str) == Some("Retain"),
            handled: ["/status/lastHandledRotateAt", "/status/lastHandledRevokeNow"].map(|p| text(data, p)),
            nonces: nonces(data),
            conditions,
        }
    }

    /// Whether nothing happens until a person changes something.
    pub(super) fn waits_for_a_change(&self) -> bool {
        self.suspended || self.state == State::Stalled
    }

    /// Reason and message of what it waits for, else of `Ready`.
    pub(super) fn reason_and_message(&self) -> (String, String) {
        let blocked = self.is(STALLED).or_else(|| self.is(SUSPENDED));
        blocked.map_or_else(
            || (self.reason.clone(), self.message.clone()),
            |c| (c.reason.clone(), c.message.clone()),
        )
    }

    /// What becomes of its token when the object is deleted.
    pub(super) fn token_after(&self) -> &'static str {
        if self.retains {
            "its deletionPolicy is Retain, so that its token lives on: delete its user on the platform (`unmanaged` finds it)"
        } else {
            "its token dies with it"
        }
    }

    /// Workloads that read the Secret: `most` of them by name, the rest by number.
    pub(super) fn readers(&self, most: usize) -> String {
        let named = self.consumers.iter().take(most);
        let mut shown: Vec<String> = named.map(ConsumerView::shown).collect();
        let unlisted = self.consumers.len() - shown.len();
        let more = unlisted.saturating_add(self.more_consumers);
        if more > 0 {
            shown.push(format!("and {more} more"));
        }
        shown.join(", ")
    }

    /// `NAMESPACE/NAME`.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// A condition that is true.
    pub(super) fn is(&self, kind: &str) -> Option<&ConditionView> {
        find(&self.conditions, kind).filter(|c| c.status == "True")
    }

    pub(super) fn is_rotating(&self) -> bool {
        self.is(ROTATING).is_some()
    }

    /// The digest of its UID in the markers of its users.
    pub(super) fn digest(&self) -> String {
        Marker::new("", &self.uid, "").object
    }

    /// The Secret that it has or wants.
    pub(super) fn wanted_secret(&self, object: &DynamicObject) -> String {
        text(&object.data, "/spec/secret/name")
            .or_else(|| self.secret_name.clone())
            .unwrap_or_else(|| self.name.clone())
    }
}

fn find<'a>(conditions: &'a [ConditionView], kind: &str) -> Option<&'a ConditionView> {
    conditions.iter().find(|c| c.kind == kind)
}

/// Status, reason and message of `Ready`, if the conditions are of the object as it is now.
fn readiness(conditions: &[ConditionView], current: bool) -> (String, String, String) {
    let suspended = find(conditions, SUSPENDED).filter(|c| c.status == "True");
    match (find(conditions, READY), suspended) {
        (Some(c), _) if current => (c.status.clone(), c.reason.clone(), c.message.clone()),
        (None, Some(c)) if current => ("Unknown".to_owned(), c.reason.clone(), c.message.clone()),
        _ => (
            "Unknown".to_owned(),
            NOT_OBSERVED.to_owned(),
            "the operator has not observed the object as it is now".to_owned(),
        ),
    }
}

fn state(conditions: &[ConditionView], current: bool, ready: &str, reason: &str) -> State {
    let is_true = |c: &&ConditionView| c.status == "True";
    // What is true of every user that is well is no note.
    let usual = [READY, STALLED, SECRET_PUBLISHED, ACCESS_APPLIED];
    let notes = conditions
        .iter()
        .filter(is_true)
        .any(|c| !usual.contains(&c.kind.as_str()));
    if current && find(conditions, STALLED).as_ref().is_some_and(is_true) {
        State::Stalled
    } else if ready != "True" {
        State::NotReady
    } else if reason != READY || notes {
        State::Noted
    } else {
        State::Ready
    }
}

/// The attempts that the journal names.
fn nonces(data: &Value) -> Vec<String> {
    let one = |path: &str| text(data, &format!("/status/journal/{path}/nonce"));
    let many = |path: &str| list(data, &format!("/status/journal/{path}")).filter_map(|v| text(v, "/nonce"));
    let single = one("pending").into_iter().chain(one("current"));
    single.chain(many("retiring")).chain(many("abandoned")).collect()
}

fn retiring(data: &Value) -> Vec<Old> {
    let retiring = list(data, "/status/journal/retiring").filter_map(|v| {
        Some(Old {
            user_id: text(v, "/userId")?,
            not_before: time(v, "/notBefore"),
        })
    });
    retiring.collect()
}

fn condition(value: &Value) -> ConditionView {
    let field = |path: &str| text(value, path).unwrap_or_default();
    ConditionView {
        kind: field("/type"),
        status: field("/status"),
        reason: field("/reason"),
        message: field("/message"),
        since: time(value, "/lastTransitionTime"),
    }
}

/// Entries of `status.consumers`; those of another shape are left out.
fn consumers(data: &Value) -> Vec<ConsumerView> {
    let consumer = |entry: &Value| {
        Some(ConsumerView {
            kind: text(entry, "/kind")?,
            name: text(entry, "/name")?,
            outdated: entry.get("outdated") == Some(&Value::Bool(true)),
        })
    };
    let mut found: Vec<ConsumerView> = list(data, "/status/consumers").filter_map(consumer).collect();
    found.sort();
    found
}

fn more_consumers(data: &Value) -> usize {
    let more = data.pointer("/status/moreConsumers").and_then(Value::as_u64);
    more.and_then(|n| usize::try_from(n).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kube::core::DynamicObject;
    use serde_json::{Value, json};

    use super::{State, UserView};

    fn view(status: &Value) -> UserView {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
            "metadata": {"name": "ci", "namespace": "payments", "generation": 2, "uid": "u"},
            "spec": {"className": "c", "scope": "Account"}, "status": status,
        }))
        .unwrap();
        UserView::new(&object)
    }

    fn with(conditions: &Value) -> UserView {
        view(&json!({"observedGeneration": 2, "conditions": conditions}))
    }

    #[test]
    fn the_worst_that_is_true_is_the_state() {
        let ready = json!({"type": "Ready", "status": "True", "reason": "Ready"});
        let published = json!({"type": "SecretPublished", "status": "True", "reason": "Published"});
        let rotating = json!({"type": "Rotating", "status": "True", "reason": "Age"});
        let unready = json!({"type": "Ready", "status": "False", "reason": "UnknownClass"});
        let stalled = json!({"type": "Stalled", "status": "True", "reason": "UnknownClass"});
        assert_eq!(with(&json!([ready, published])).state, State::Ready);
        assert_eq!(with(&json!([ready, rotating])).state, State::Noted);
        assert_eq!(with(&json!([unready])).state, State::NotReady);
        assert_eq!(with(&json!([unready, stalled])).state, State::Stalled);
        assert!(State::Stalled < State::NotReady && State::Noted < State::Ready);
    }

    #[test]
    fn a_status_of_another_generation_says_nothing() {
        let old = view(&json!({"observedGeneration": 1,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]}));
        assert_eq!((old.ready.as_str(), old.state), ("Unknown", State::NotReady));
        assert_eq!(view(&Value::Null).reason, "NotObserved");
    }

    #[test]
    fn consumers_of_any_shape_are_shown_or_left_out() {
        let some = view(&json!({"consumers": [
            {"kind": "StatefulSet", "name": "db", "outdated": true, "pods": 2}, {"kind": "Deployment", "name": "web"}, 7]}));
        let shown: Vec<_> = some.consumers.iter().map(super::ConsumerView::shown).collect();
        assert_eq!(shown, ["Deployment/web", "StatefulSet/db (older token)"]);
        assert!(view(&json!({"consumers": {"count": 3}})).consumers.is_empty());
    }

    #[test]
    fn consumers_that_the_status_does_not_list_are_counted() {
        let names = (0..32).map(|n| json!({"kind": "Deployment", "name": format!("web-{n:02}")}));
        let listed: Vec<Value> = names.collect();
        let many = view(&json!({"consumers": listed, "moreConsumers": 48}));
        assert_eq!(many.more_consumers, 48);
        let few = many.readers(2);
        assert_eq!(few, "Deployment/web-00, Deployment/web-01, and 78 more");
        assert!(
            many.readers(usize::MAX)
                .ends_with("Deployment/web-31, and 48 more")
        );
        let one = view(&json!({"consumers": [{"kind": "Deployment", "name": "web"}], "moreConsumers": "7"}));
        assert_eq!(one.readers(2), "Deployment/web");
        assert_eq!(view(&Value::Null).readers(2), "");
    }

    #[test]
    fn the_journal_names_attempts() {
        let status = json!({"journal": {"current": {"nonce": "a", "userId": "pu-1"},
            "retiring": [{"nonce": "b", "userId": "pu-0", "notBefore": "2026-01-01T00:00:00Z"}], "abandoned": [{"nonce": "c"}]}});
        let user = view(&status);
        assert_eq!(user.nonces, ["a", "b", "c"]);
        assert_eq!(user.retiring[0].user_id, "pu-0");
    }
}
