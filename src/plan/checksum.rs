//! A checksum over what the status is decided by: who or whatever changes the status, no user is deleted because of it.

use sha2::{Digest as _, Sha256};

use super::marker::base32;
use crate::api::{Granted, Journal, ProgrammaticUser, ProgrammaticUserStatus};

/// Puts the checksum into a status that is about to be written. A journal that says nothing needs none.
pub fn set_checksum(instance: &str, user: &ProgrammaticUser, status: &mut ProgrammaticUserStatus) {
    (status.journal.checksum, status.journal.full_checksum) = (None, None);
    if status.journal != Journal::default() {
        let checksum = checksum(instance, user, status);
        status.journal.full_checksum = Some(full_checksum(&checksum, status));
        status.journal.checksum = Some(checksum);
    }
}

/// Whether the status is as the operator left it, but for what only people read.
#[must_use]
pub fn checksum_matches(instance: &str, user: &ProgrammaticUser) -> bool {
    let Some(status) = &user.status else {
        return true;
    };
    if status.journal == Journal::default() {
        return true;
    }
    let checksum = checksum(instance, user, status);
    let is_full = match &status.journal.full_checksum {
        Some(full) => *full == full_checksum(&checksum, status),
        // Older versions wrote no grants: another program did.
        None => grants(&status.journal).flatten().next().is_none(),
    };
    is_full && status.journal.checksum == Some(checksum)
}

/// The grants of all users that the journal names.
fn grants(journal: &Journal) -> impl Iterator<Item = Option<&Granted>> {
    let pending = journal.pending.iter().map(|p| p.granted.as_ref());
    let current = journal.current.iter().map(|c| c.granted.as_ref());
    let retiring = journal.retiring.iter().map(|r| r.granted.as_ref());
    pending.chain(current).chain(retiring)
}

/// Over the fields that version 1 leaves out; as fixed as version 1 is.
fn full_checksum(checksum: &str, status: &ProgrammaticUserStatus) -> String {
    let journal = &status.journal;
    let replaced_at = journal.current.as_ref().and_then(|current| current.replaced_at);
    let retiring = journal.retiring.iter().map(|r| (r.not_after, r.replaced_at));
    let retiring: Vec<_> = retiring.collect();
    let grants: Vec<_> = grants(journal).collect();
    let sealed = (checksum, status.token_ends_at, replaced_at, retiring, grants);
    let json = serde_json::to_vec(&sealed).unwrap_or_default();
    format!("2-{}", base32(&Sha256::digest(json), 16))
}

/// Over these fields, in this order, for as long as there is a version 1: one that is added to the status later is not
/// among them, so that a controller of an older version, which does not know it, still finds the status intact.
fn checksum(instance: &str, user: &ProgrammaticUser, status: &ProgrammaticUserStatus) -> String {
    let journal = &status.journal;
    let named = (
        &status.organization_name,
        &status.user_id,
        &status.secret_name,
        status.token_issued_at,
        &status.last_handled_rotate_at,
        &status.last_handled_revoke_now,
    );
    let pending = journal.pending.as_ref().map(|p| {
        let handled = (&p.rotate_at, &p.revoke_now);
        (
            &p.nonce,
            p.started_at,
            &p.reason,
            &p.fingerprint,
            &p.secret_name,
            handled,
        )
    });
    let current = journal.current.as_ref();
    let current = current.map(|c| (&c.nonce, &c.user_id, &c.fingerprint, &c.access));
    let retiring = journal.retiring.iter();
    let retiring: Vec<_> = retiring
        .map(|r| (&r.nonce, &r.user_id, r.not_before, &r.secret_name))
        .collect();
    let abandoned: Vec<_> = journal.abandoned.iter().map(|a| &a.nonce).collect();
    let sealed = (
        named,
        pending,
        current,
        retiring,
        abandoned,
        &journal.attempt_times,
    );
    let json = serde_json::to_vec(&(instance, &user.metadata.uid, sealed)).unwrap_or_default();
    format!("1-{}", base32(&Sha256::digest(json), 16))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is written today has to be read as intact by every later version.
    #[test]
    fn the_seal_of_version_1_does_not_change() {
        let user: ProgrammaticUser = serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser", "metadata": {"uid": "uid-1"},
            "spec": {"className": "editors", "scope": "Account"},
            "status": {
                "organizationName": "acme", "userId": "pu-2", "secretName": "ci", "tokenLastDigits": "ab12",
                "tokenIssuedAt": "2026-01-01T00:00:00Z", "nextRotation": "2026-02-01T00:00:00Z",
                "lastHandledRotateAt": "a", "lastHandledRevokeNow": "b",
                "journal": {
                    "pending": {"nonce": "p", "startedAt": "2026-01-02T00:00:00Z", "reason": "Age", "fingerprint": "f",
                        "secretName": "ci", "rotateAt": "c", "revokeNow": "d"},
                    "current": {"nonce": "c", "userId": "pu-2", "fingerprint": "g", "access": "h"},
                    "retiring": [{"nonce": "r", "userId": "pu-1", "notBefore": "2026-01-03T00:00:00Z", "secretName": "old"}],
                    "abandoned": [{"nonce": "x"}],
                    "begun": ["2026-01-02T00:00:00Z"]
                }
            }
        }))
        .unwrap();
        let mut status = user.status.clone().unwrap();
        set_checksum("abcdef", &user, &mut status);
        assert_eq!(status.journal.checksum.as_deref(), Some("1-3dhcssayn4ehgaih"));
    }

    #[test]
    fn a_status_of_an_older_version_is_intact_as_long_as_it_grants_nothing() {
        let mut user: ProgrammaticUser = serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser", "metadata": {"uid": "uid-1"},
            "spec": {"className": "editors", "scope": "Account"},
            "status": {"journal": {"current": {"nonce": "c", "userId": "pu-2", "fingerprint": "g"}}}
        }))
        .unwrap();
        let mut status = user.status.clone().unwrap();
        set_checksum("abcdef", &user, &mut status);
        let full = status.journal.full_checksum.take();
        user.status = Some(status);
        assert!(checksum_matches("abcdef", &user));
        let status = user.status.as_mut().unwrap();
        status.journal.current.as_mut().unwrap().granted =
            Some(serde_json::from_value(json!({"scope": "Account", "roles": ["Viewer"]})).unwrap());
        assert!(!checksum_matches("abcdef", &user));
        user.status.as_mut().unwrap().journal.full_checksum = full;
        assert!(!checksum_matches("abcdef", &user));
    }
}
