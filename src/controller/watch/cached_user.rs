//! The cached form of a `ProgrammaticUser`: as little as decisions about all of them need. A reconcile reads its own object
//! anew.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::core::ObjectMeta;
use serde::Deserialize;

use crate::api::{Journal, ProgrammaticUser, READY, ROTATE_AT_ANNOTATION};
use crate::controller::schedule::digest::{Digest, digest};
use crate::controller::watch::readable::{Readable, is_unreadable};
use crate::metrics::UserFacts;
use crate::plan;

/// A user's object, of which something may be unreadable.
#[derive(Debug, Clone, Deserialize, Resource)]
#[resource(inherit = ProgrammaticUser)]
#[serde(from = "Readable")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each of these facts holds or does not"
)]
pub(in crate::controller) struct CachedUser {
    /// Name, namespace, UID and version, and nothing else.
    metadata: ObjectMeta,
    /// The class that it names.
    pub(in crate::controller) class: Box<str>,
    /// Whether something of it cannot be read.
    pub(in crate::controller) unreadable: bool,
    /// What its status says.
    pub(in crate::controller) index: Arc<JournalIndex>,
    /// Whether its status names workloads.
    has_consumers: bool,
    /// Whether it is ready, and its status is about all that is asked for now.
    pub(in crate::controller) up_to_date: bool,
    /// Whether a token of it has to die at once, and lives, as far as is known.
    pub(in crate::controller) revoked: bool,
    /// What metrics count. By itself, since the allocator's next size would be a fifth more than both take.
    pub(in crate::controller) facts: Box<UserFacts>,
    /// A digest of spec, annotations and finalizers, as far as one is needed to see a change.
    pub(in crate::controller) desired_digest: Digest,
}

/// What counts of one object's status.
#[derive(Debug, PartialEq)]
pub(in crate::controller) struct JournalIndex {
    /// The organization of its users.
    pub(in crate::controller) organization: Option<Box<str>>,
    /// `None`: the status cannot be read. The object exists all the same.
    pub(in crate::controller) journal: Option<JournalNonces>,
}

/// What a journal names.
#[derive(Debug, Default, PartialEq)]
pub(in crate::controller) struct JournalNonces {
    pub(in crate::controller) current: Option<Current>,
    /// Users that were replaced.
    pub(in crate::controller) retiring: usize,
    /// Attempts but the current one.
    others: Box<[Box<str>]>,
}

/// The user whose token the Secret carries.
#[derive(Debug, PartialEq)]
pub(in crate::controller) struct Current {
    pub(in crate::controller) nonce: Box<str>,
    pub(in crate::controller) user_id: Box<str>,
}

impl JournalNonces {
    /// Whether there is none.
    pub(in crate::controller) fn is_empty(&self) -> bool {
        self.current.is_none() && self.others.is_empty()
    }

    /// Whether this attempt is among them.
    pub(in crate::controller) fn has(&self, nonce: &str) -> bool {
        self.current.as_ref().is_some_and(|c| *c.nonce == *nonce) || self.others.iter().any(|n| **n == *nonce)
    }
}

impl From<&Journal> for JournalNonces {
    fn from(journal: &Journal) -> Self {
        let pending = journal.pending.iter().map(|p| &p.nonce);
        let retiring = journal.retiring.iter().map(|r| &r.nonce);
        let abandoned = journal.abandoned.iter().map(|a| &a.nonce);
        let others = pending.chain(retiring).chain(abandoned);
        Self {
            current: journal.current.as_ref().map(|current| Current {
                nonce: current.nonce.as_str().into(),
                user_id: current.user_id.as_str().into(),
            }),
            retiring: journal.retiring.len(),
            others: others.map(|nonce| nonce.as_str().into()).collect(),
        }
    }
}

fn is_up_to_date(user: &ProgrammaticUser) -> bool {
    let Some(status) = &user.status else {
        return false;
    };
    let ready = |c: &Condition| c.type_ == READY && c.status == "True";
    user.metadata.deletion_timestamp.is_none()
        && status.observed_generation == user.metadata.generation
        && status.conditions.iter().any(ready)
        && !plan::is_asked(user, ROTATE_AT_ANNOTATION, status.last_handled_rotate_at.as_ref())
        && !plan::is_being_revoked(user)
}

impl From<Readable> for CachedUser {
    fn from(object: Readable) -> Self {
        let (user, unreadable) = (&object.user, object.unreadable.is_some());
        let metadata = &user.metadata;
        let status = user.status.as_ref();
        let journal = status
            .map(|s| JournalNonces::from(&s.journal))
            .unwrap_or_default();
        Self {
            desired_digest: digest(&(metadata.generation, &metadata.annotations, &metadata.finalizers)),
            index: Arc::new(JournalIndex {
                organization: status.and_then(|s| s.organization_name.as_deref().map(Box::from)),
                journal: (!status.is_some_and(is_unreadable)).then_some(journal),
            }),
            class: user.spec.class_name.as_str().into(),
            unreadable,
            has_consumers: status.is_some_and(|s| !s.consumers.is_empty()),
            up_to_date: !unreadable && is_up_to_date(user),
            revoked: plan::is_being_revoked(user),
            facts: Box::new(user.into()),
            metadata: ObjectMeta {
                name: metadata.name.clone(),
                namespace: metadata.namespace.clone(),
                uid: metadata.uid.clone(),
                resource_version: metadata.resource_version.clone(),
                ..ObjectMeta::default()
            },
        }
    }
}

impl CachedUser {
    /// Whether its users live, or may live, in the organization of this name.
    pub(in crate::controller) fn lives_in(&self, organization: &str) -> bool {
        self.index.organization.as_deref() == Some(organization)
    }

    /// Whether it may have a user: a status that cannot be read may name one.
    pub(in crate::controller) fn has_begun(&self) -> bool {
        self.index.journal.as_ref().is_none_or(|j| !j.is_empty())
    }

    /// Whether it is of this class.
    pub(in crate::controller) fn is_of(&self, class: &str) -> bool {
        *self.class == *class
    }

    /// Whether its status names workloads, or users that may have to wait for some.
    pub(in crate::controller) fn watches_workloads(&self) -> bool {
        self.has_consumers || self.index.journal.as_ref().is_some_and(|j| j.retiring > 0)
    }

    /// Its UID; the API server gives one to each object.
    pub(in crate::controller) fn uid_ref(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::CachedUser;
    use crate::api::REVOKE_NOW_ANNOTATION;

    fn known(object: &Value) -> CachedUser {
        serde_json::from_value(object.clone()).unwrap()
    }

    fn object() -> Value {
        json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
            "metadata": {"name": "ci", "namespace": "payments", "uid": "1", "resourceVersion": "7", "generation": 1},
            "spec": {"className": "editors", "scope": "Account"},
            "status": {"organizationName": "acme", "journal": {
                "current": {"nonce": "a", "userId": "pu-1", "fingerprint": ""},
                "retiring": [{"nonce": "b", "userId": "pu-0", "notBefore": "2026-01-01T00:00:00Z"}],
                "abandoned": [{"nonce": "c"}],
            }},
        })
    }

    #[test]
    fn every_attempt_of_a_journal_is_known() {
        let known = known(&object());
        let names = known.index.journal.as_ref().unwrap();
        assert_eq!(
            ["a", "b", "c", "d"].map(|nonce| names.has(nonce)),
            [true, true, true, false]
        );
        assert_eq!(names.retiring, 1);
        assert!(known.lives_in("acme") && known.has_begun() && known.is_of("editors"));
        assert!(!known.lives_in("other") && !known.is_of("viewers"));
    }

    #[test]
    fn a_change_of_what_is_asked_for_is_seen_and_one_of_the_status_is_not() {
        let before = known(&object());
        for (pointer, value) in [
            ("/metadata/generation", json!(2)),
            ("/metadata/annotations", json!({"a": "b"})),
            ("/metadata/finalizers", json!(["a"])),
        ] {
            let mut changed = object();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            changed.pointer_mut(parent).unwrap()[key] = value;
            assert_ne!(known(&changed).desired_digest, before.desired_digest, "{pointer}");
        }
        let mut changed = object();
        changed["status"]["journal"]["abandoned"] = json!([]);
        assert_eq!(known(&changed).desired_digest, before.desired_digest);
    }

    #[test]
    fn whoever_asks_for_something_is_not_settled() {
        let mut well = object();
        well["status"]["observedGeneration"] = json!(1);
        well["status"]["lastHandledRotateAt"] = json!("1");
        let ready = |status: &str| json!([{"type": "Ready", "status": status, "reason": "", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        well["status"]["conditions"] = ready("True");
        assert!(known(&well).up_to_date);
        well["metadata"]["annotations"] = json!({"programmatic-users.io/rotate-at": "1"});
        assert!(known(&well).up_to_date && !known(&well).revoked);
        for (pointer, value) in [
            ("/metadata/generation", json!(2)),
            (
                "/metadata/annotations",
                json!({"programmatic-users.io/rotate-at": "2"}),
            ),
            (
                "/metadata/annotations",
                json!({"programmatic-users.io/revoke-now": "1"}),
            ),
            ("/status/conditions", ready("False")),
            ("/status", json!(null)),
        ] {
            let mut asking = well.clone();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let revoked = value.get(REVOKE_NOW_ANNOTATION).is_some();
            asking.pointer_mut(parent).unwrap()[key] = value;
            let known = known(&asking);
            assert_eq!((known.up_to_date, known.revoked), (false, revoked), "{pointer}");
        }
        for (not_after, revoked) in [("2026-01-01T00:00:00Z", true), ("2026-01-01T00:00:01Z", false)] {
            let mut waiting = well.clone();
            waiting["status"]["journal"]["retiring"][0]["notAfter"] = json!(not_after);
            let known = known(&waiting);
            assert_eq!(
                (known.up_to_date, known.revoked),
                (!revoked, revoked),
                "{not_after}"
            );
        }
        well["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(!known(&well).up_to_date);
    }

    #[test]
    fn what_cannot_be_read_exists_and_the_rest_of_it_is_known() {
        let mut broken = object();
        broken["spec"]["expireAt"] = json!("2030-01-01T00:00:00+99:00");
        broken["metadata"]["annotations"] = json!({"programmatic-users.io/revoke-now": "1"});
        let of_spec = known(&broken);
        assert!(of_spec.unreadable && of_spec.revoked && !of_spec.up_to_date);
        assert!(of_spec.has_begun() && of_spec.is_of("editors") && of_spec.lives_in("acme"));
        broken["status"]["journal"]["current"] = json!(7);
        let of_status = known(&broken);
        assert!(of_status.index.journal.is_none() && !of_status.lives_in("acme"));
        assert!(of_status.has_begun() && of_status.is_of("editors"));
        assert_eq!(of_status.uid_ref(), "1");
    }
}
