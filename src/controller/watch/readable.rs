//! A `ProgrammaticUser`, as far as it can be read.
//!
//! What a tenant writes into `spec` must not keep the operator from what needs metadata and status only: a deletion, a
//! revocation, the withdrawal by the class. Therefore an object whose spec cannot be decoded is read field by field.

use std::borrow::Cow;

use kube::Resource;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::api::{Journal, ProgrammaticUser, ProgrammaticUserSpec, ProgrammaticUserStatus, Scope};

/// In place of the checksum of a status that cannot be read: it fits no status, so that nothing is decided by it.
const UNREADABLE: &str = "unreadable";

/// An object of which something may be unreadable.
#[derive(Debug, Clone)]
pub(in crate::controller) struct Readable {
    /// With defaults for the fields of the spec that cannot be read.
    pub(in crate::controller) user: ProgrammaticUser,
    /// What cannot be read, and why.
    pub(in crate::controller) unreadable: Option<String>,
}

/// Whether this status stands for one that cannot be read, and must not be written over.
pub(in crate::controller) fn is_unreadable(status: &ProgrammaticUserStatus) -> bool {
    status.journal.checksum.as_deref() == Some(UNREADABLE)
}

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        let why = match ProgrammaticUser::deserialize(&object) {
            Ok(user) => {
                return Ok(Self {
                    user,
                    unreadable: None,
                });
            }
            Err(error) => error.to_string(),
        };
        let metadata = ObjectMeta::deserialize(&object["metadata"]).map_err(D::Error::custom)?;
        let mut user = ProgrammaticUser::new("", spec(&object["spec"]));
        user.metadata = metadata;
        user.status = status(&object["status"]);
        Ok(Self {
            user,
            unreadable: Some(why),
        })
    }
}

/// What can be read of a spec.
fn spec(value: &Value) -> ProgrammaticUserSpec {
    let empty = Map::new();
    let all = value.as_object().unwrap_or(&empty);
    let reads = |spec: &Map<String, Value>| ProgrammaticUserSpec::deserialize(spec).is_ok();
    // Both are required. No class has an empty name.
    let mut kept = Map::from_iter([
        ("className".to_owned(), Value::from("")),
        ("scope".to_owned(), Value::from("Account")),
    ]);
    for (key, field) in all {
        let mut with = kept.clone();
        with.insert(key.clone(), field.clone());
        if reads(&with) {
            kept = with;
            continue;
        }
        for (inner, part) in field.as_object().into_iter().flatten() {
            let mut with = kept.clone();
            let object = with.entry(key).or_insert_with(|| Value::Object(Map::new()));
            object[inner.as_str()] = part.clone();
            if reads(&with) {
                kept = with;
            }
        }
    }
    ProgrammaticUserSpec::deserialize(&kept).unwrap_or_else(|_| nothing())
}

/// A spec that asks for nothing.
fn nothing() -> ProgrammaticUserSpec {
    ProgrammaticUserSpec {
        class_name: String::new(),
        scope: Scope::Account,
        display_name: None,
        description: None,
        access: None,
        secret: crate::api::SecretSpec::default(),
        rotation: None,
        consumers: None,
        deletion_policy: crate::api::DeletionPolicy::default(),
        expire_at: None,
        suspend: false,
    }
}

/// The status; of one that cannot be read, the conditions if those can be.
fn status(value: &Value) -> Option<ProgrammaticUserStatus> {
    if value.is_null() {
        return None;
    }
    let whole = ProgrammaticUserStatus::deserialize(value);
    Some(whole.unwrap_or_else(|_| ProgrammaticUserStatus {
        observed_generation: value["observedGeneration"].as_i64(),
        conditions: Vec::deserialize(&value["conditions"]).unwrap_or_default(),
        journal: Journal {
            checksum: Some(UNREADABLE.to_owned()),
            ..Journal::default()
        },
        ..ProgrammaticUserStatus::default()
    }))
}

impl Serialize for Readable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.user.serialize(serializer)
    }
}

impl Resource for Readable {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        ProgrammaticUser::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        ProgrammaticUser::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        ProgrammaticUser::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        ProgrammaticUser::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.user.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.user.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::DeletionPolicy;

    fn read(spec: &Value, status: &Value) -> Readable {
        serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
            "metadata": {"name": "ci", "namespace": "payments", "uid": "1"}, "spec": spec, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn one_field_that_cannot_be_read_leaves_the_others() {
        for (field, broken) in [
            (
                "rotation",
                json!({"every": "720h", "overlap": "99999999999999999999999999999s"}),
            ),
            ("expireAt", json!("2030-01-01T00:00:00+99:00")),
            ("displayName", json!(7)),
            ("suspend", json!("yes")),
            ("access", json!({"role": "Owner"})),
        ] {
            let mut spec = json!({
                "className": "editors", "scope": "Organization", "deletionPolicy": "Retain",
                "secret": {"name": "token", "extraKeys": {"A": "token"}},
            });
            spec[field] = broken;
            let found = read(
                &spec,
                &json!({"organizationName": "acme", "journal": {"abandoned": [{"nonce": "a"}]}}),
            );
            let (kept, status) = (&found.user.spec, found.user.status.as_ref().unwrap());
            assert!(found.unreadable.is_some(), "{field}");
            assert_eq!(
                (kept.class_name.as_str(), kept.scope),
                ("editors", Scope::Organization)
            );
            assert_eq!(kept.deletion_policy, DeletionPolicy::Retain);
            assert_eq!(kept.secret.name.as_deref(), Some("token"));
            assert!(!status.journal.is_empty() && !is_unreadable(status), "{field}");
            let every = kept.rotation.as_ref().and_then(|r| r.every);
            assert_eq!(
                every.is_some(),
                field == "rotation",
                "what can be read of {field} is kept"
            );
        }
    }

    #[test]
    fn a_status_that_cannot_be_read_decides_nothing() {
        let good = json!({"className": "c", "scope": "Account"});
        let ready = json!([{"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let found = read(
            &good,
            &json!({"conditions": ready, "journal": {"abandoned": [{"nonce": 7}]}}),
        );
        let status = found.user.status.as_ref().unwrap();
        assert!(found.unreadable.is_some() && is_unreadable(status) && status.journal.is_empty());
        assert_eq!(status.conditions.len(), 1);
        assert!(!crate::plan::checksum_matches("abcdef", &found.user));
        assert!(read(&good, &Value::Null).unreadable.is_none());
        assert!(read(&json!([]), &Value::Null).unreadable.is_some());
    }
}
