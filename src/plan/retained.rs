//! Users whose objects were deleted with `deletionPolicy: Retain`: what is recorded of each, and how long it may live.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::class::{check_granted, open_to};
use super::{Catalog, Observed, Refusal, SecretView};
use crate::api::{DeletionPolicy, Granted, OnRevoked, ProgrammaticUserClass, ProgrammaticUserStatus};

/// What is recorded of a user before its Secret is let go of. The object is gone then, and the Secret is the tenant's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// UID of the object.
    pub uid: String,
    /// The attempt that made the user.
    pub nonce: String,
    /// The platform's id.
    pub user_id: String,
    /// The class by which it was made.
    pub class: String,
    /// The `Organization` in which it lives.
    pub organization: String,
    /// Namespace of the object and of the Secret.
    pub namespace: String,
    /// The Secret that carries the token.
    pub secret: String,
    /// When the token was made, if that is known.
    pub issued_at: Option<Timestamp>,
    /// When the user ends whatever its class says, as its object said.
    pub expire_at: Option<Timestamp>,
    /// What the user may do, if that is known.
    pub granted: Option<Granted>,
}

/// What becomes of a retained user now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stays,
    /// User and Secret are deleted, because of this.
    Ends(String),
}

impl Retained {
    /// The current user of an object.
    pub(super) fn new(o: &Observed, status: &ProgrammaticUserStatus) -> Option<Self> {
        let current = status.journal.current.as_ref()?;
        Some(Self {
            uid: o.uid().to_owned(),
            nonce: current.nonce.clone(),
            user_id: current.user_id.clone(),
            class: o.user.spec.class_name.clone(),
            organization: status.organization_name.clone().unwrap_or_default(),
            namespace: o.user.metadata.namespace.clone().unwrap_or_default(),
            secret: status.secret_name.clone().unwrap_or_default(),
            issued_at: status.token_issued_at.or(o.platform_now),
            expire_at: o.user.spec.expire_at,
            granted: current.granted.clone(),
        })
    }

    /// Whether only the platform's names tell if its class still allows what the user may do.
    #[must_use]
    pub fn needs_catalog(&self, class: &ProgrammaticUserClass) -> bool {
        let is_named = |granted: &Granted| granted.is_named_by(class);
        class.spec.on_revoked == OnRevoked::Revoke && !self.granted.as_ref().is_none_or(is_named)
    }

    /// What its class says. `now`: by the platform's clock; unknown until the platform has answered once. A class that is gone
    /// says nothing: a person who may leave users behind removed its finalizer.
    #[must_use]
    pub fn fate(
        &self,
        class: Option<&ProgrammaticUserClass>,
        labels: &BTreeMap<String, String>,
        now: Option<Timestamp>,
        catalog: Option<&Catalog>,
    ) -> Fate {
        if self.expire_at.zip(now).is_some_and(|(end, now)| end <= now) {
            return Fate::Ends("its object said spec.expireAt".to_owned());
        }
        let Some(class) = class else {
            return Fate::Stays;
        };
        if class.spec.on_revoked == OnRevoked::Revoke
            && let Err(refusal) = self.check(class, labels, catalog)
        {
            return Fate::Ends(refusal.message);
        }
        let max = class.spec.rotation.as_ref().and_then(|r| r.max_age);
        let ends = max.zip(self.issued_at).and_then(|(max, issued)| {
            let max = SignedDuration::try_from(max.get()).ok()?;
            issued.checked_add(max).ok()
        });
        match (ends, now) {
            (Some(end), Some(now)) if end <= now => {
                Fate::Ends(format!("its token reached the maxAge of class {}", self.class))
            }
            _ => Fate::Stays,
        }
    }
}

impl Retained {
    /// Whether the class would still allow the user.
    fn check(
        &self,
        class: &ProgrammaticUserClass,
        labels: &BTreeMap<String, String>,
        catalog: Option<&Catalog>,
    ) -> Result<(), Refusal> {
        open_to(class, &self.namespace, labels)?;
        let Some(granted) = &self.granted else {
            return Ok(());
        };
        check_granted(granted, class)?;
        catalog.map_or(Ok(()), |catalog| granted.check_names(class, catalog))
    }
}

/// Whether the class lets the user stay when its object is deleted. One that would be revoked the moment after is not kept
/// for it.
pub(super) fn may_stay(o: &Observed) -> bool {
    let Some(class) = &o.class else { return false };
    let namespace = o.user.metadata.namespace.as_deref().unwrap_or_default();
    let granted = o.current().and_then(|current| current.granted.as_ref());
    let revoked = class.spec.on_revoked == OnRevoked::Revoke
        && (open_to(class, namespace, &o.namespace_labels).is_err()
            || granted.is_some_and(|granted| check_granted(granted, class).is_err()));
    !revoked
        && class
            .spec
            .allow
            .deletion_policies
            .contains(&DeletionPolicy::Retain)
}

/// Whether a Secret that stays holds the token. A live token that no Secret holds is of use to a thief only.
pub(super) fn is_held(o: &Observed, status: &ProgrammaticUserStatus) -> bool {
    let journal = &status.journal;
    let pending = journal.pending.iter().map(|p| &p.nonce);
    let mut ours = pending.chain(journal.current.iter().map(|c| &c.nonce));
    // A Secret that the tenant took over may hold it, too.
    let theirs = matches!(o.current_secret, SecretView::Foreign(_));
    !o.namespace_ends && (theirs || ours.any(|nonce| o.secret_with(nonce).is_some()))
}
