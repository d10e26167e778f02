//! What the records say: of each retained user, a Secret without data.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::core::{ObjectMeta, PartialObjectMeta};

use crate::api::{
    CLASS_ANNOTATION, EXPIRE_AT_ANNOTATION, GRANTED_ANNOTATION, Granted, ISSUED_AT_ANNOTATION,
    MANAGED_BY_LABEL, MANAGER, NONCE_ANNOTATION, ORGANIZATION_ANNOTATION, RETAINED_USER_LABEL,
    SECRET_ANNOTATION, USER_ID_ANNOTATION,
};
use crate::controller::error::Error;
use crate::controller::watch::streams::SecretNames;
use crate::plan::Retained;

/// All records: those that the watch shows, and those that were written just now.
pub(in crate::controller) struct RetainedUsers {
    shown: SecretNames,
    /// By attempt.
    just_written: Mutex<HashMap<String, Retained>>,
}

impl RetainedUsers {
    /// `shown` is the watched metadata of the Secrets of the operator's own namespace.
    pub(in crate::controller) fn new(shown: SecretNames) -> Self {
        Self {
            shown,
            just_written: Mutex::default(),
        }
    }

    fn just_written(&self) -> MutexGuard<'_, HashMap<String, Retained>> {
        self.just_written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::controller) fn all(&self) -> Vec<Retained> {
        let shown = self.shown.state();
        let shown = shown.iter().filter_map(|secret| parse(secret));
        let shown: BTreeMap<String, Retained> = shown.map(|user| (user.nonce.clone(), user)).collect();
        let mut just_written = self.just_written();
        just_written.retain(|nonce, _| !shown.contains_key(nonce));
        just_written
            .values()
            .cloned()
            .chain(shown.into_values())
            .collect()
    }

    /// How many are of this class.
    pub(in crate::controller) fn of_class(&self, class: &str) -> usize {
        self.all().iter().filter(|user| user.class == class).count()
    }

    /// How many are of this organization. A cache of records that is not filled yet would say none.
    pub(in crate::controller) async fn of_organization(&self, organization: &str) -> Result<usize, Error> {
        self.filled().await?;
        let all = self.all();
        Ok(all
            .iter()
            .filter(|user| user.organization == organization)
            .count())
    }

    /// Waits until all records are known.
    pub(in crate::controller) async fn filled(&self) -> Result<(), Error> {
        let filled = self.shown.wait_until_ready().await;
        filled.map_err(|_| Error::Kube("fill the caches", "the watch ended".to_owned()))
    }

    /// Notes a user whose record was written just now.
    pub(in crate::controller) fn insert(&self, user: Retained) {
        self.just_written().insert(user.nonce.clone(), user);
    }

    /// Forgets one whose record is deleted.
    pub(in crate::controller) fn remove(&self, nonce: &str) {
        self.just_written().remove(nonce);
    }
}

/// Name of a record; an attempt has one at most.
pub(in crate::controller) fn name(nonce: &str) -> String {
    format!("programmatic-users-retained-{nonce}")
}

/// The record of a user.
pub(in crate::controller) fn build(user: &Retained) -> Secret {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut annotations = BTreeMap::from([
        label(NONCE_ANNOTATION, &user.nonce),
        label(USER_ID_ANNOTATION, &user.user_id),
        label(CLASS_ANNOTATION, &user.class),
        label(ORGANIZATION_ANNOTATION, &user.organization),
        (
            SECRET_ANNOTATION.to_owned(),
            format!("{}/{}", user.namespace, user.secret),
        ),
    ]);
    let times = [
        (ISSUED_AT_ANNOTATION, user.issued_at),
        (EXPIRE_AT_ANNOTATION, user.expire_at),
    ];
    let times = times.into_iter().filter_map(|(key, at)| Some((key, at?)));
    annotations.extend(times.map(|(key, at)| (key.to_owned(), at.to_string())));
    let granted = user
        .granted
        .as_ref()
        .and_then(|granted| serde_json::to_string(granted).ok());
    annotations.extend(granted.map(|granted| (GRANTED_ANNOTATION.to_owned(), granted)));
    Secret {
        metadata: ObjectMeta {
            name: Some(name(&user.nonce)),
            labels: Some(BTreeMap::from([
                label(MANAGED_BY_LABEL, MANAGER),
                label(RETAINED_USER_LABEL, &user.uid),
            ])),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// The user of a record, if `secret` is one.
fn parse(secret: &PartialObjectMeta<Secret>) -> Option<Retained> {
    let uid = secret.labels().get(RETAINED_USER_LABEL)?.clone();
    let annotation = |key: &str| secret.annotations().get(key).cloned();
    let place = annotation(SECRET_ANNOTATION)?;
    let (namespace, secret_name) = place.split_once('/')?;
    Some(Retained {
        uid,
        nonce: annotation(NONCE_ANNOTATION)?,
        user_id: annotation(USER_ID_ANNOTATION)?,
        class: annotation(CLASS_ANNOTATION)?,
        organization: annotation(ORGANIZATION_ANNOTATION)?,
        namespace: namespace.to_owned(),
        secret: secret_name.to_owned(),
        issued_at: annotation(ISSUED_AT_ANNOTATION).and_then(|at| at.parse().ok()),
        expire_at: annotation(EXPIRE_AT_ANNOTATION).and_then(|at| at.parse().ok()),
        granted: annotation(GRANTED_ANNOTATION)
            .map(|text| serde_json::from_str(&text).unwrap_or_else(|_| Granted::unknown())),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::controller) fn user(nonce: &str) -> Retained {
        Retained {
            uid: "uid-1".to_owned(),
            nonce: nonce.to_owned(),
            user_id: "pu-1".to_owned(),
            class: "editors".to_owned(),
            organization: "acme".to_owned(),
            namespace: "payments".to_owned(),
            secret: "ci".to_owned(),
            issued_at: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            expire_at: Some("2027-01-01T00:00:00Z".parse().unwrap()),
            granted: None,
        }
    }

    #[test]
    fn a_record_says_what_was_written_into_it() {
        let user = user("aaaabbbbccccdddd");
        let secret = build(&user);
        assert!(secret.data.is_none());
        let shown = |metadata: &ObjectMeta| {
            let json = serde_json::json!({ "metadata": metadata });
            serde_json::from_value::<PartialObjectMeta<Secret>>(json).unwrap()
        };
        assert_eq!(parse(&shown(&secret.metadata)), Some(user));
        let mut other = secret.metadata.clone();
        other.labels = None;
        assert_eq!(parse(&shown(&other)), None);
    }
}
