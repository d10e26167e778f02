//! A checksum over what the status is decided by: who or whatever changes the status, no user is deleted because of it.

use sha2::{Digest as _, Sha256};

use super::marker::base32;
use crate::api::{Journal, ProgrammaticUser, ProgrammaticUserStatus};

/// Puts the checksum into a status that is about to be written. A journal that says nothing needs none.
pub fn seal(instance: &str, user: &ProgrammaticUser, status: &mut ProgrammaticUserStatus) {
    status.journal.checksum = None;
    if status.journal != Journal::default() {
        status.journal.checksum = Some(checksum(instance, user, status));
    }
}

/// Whether the status is as the operator left it, but for what only people read.
#[must_use]
pub fn is_intact(instance: &str, user: &ProgrammaticUser) -> bool {
    let Some(status) = &user.status else {
        return true;
    };
    if status.journal == Journal::default() {
        return true;
    }
    status.journal.checksum.as_deref() == Some(checksum(instance, user, status).as_str())
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
    let sealed = (named, pending, current, retiring, abandoned, &journal.begun);
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
        seal("abcdef", &user, &mut status);
        assert_eq!(status.journal.checksum.as_deref(), Some("1-3dhcssayn4ehgaih"));
    }
}
