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

fn checksum(instance: &str, user: &ProgrammaticUser, status: &ProgrammaticUserStatus) -> String {
    let mut decided = status.clone();
    decided.journal.checksum = None;
    decided.conditions = Vec::new();
    decided.observed_generation = None;
    let json = serde_json::to_vec(&(instance, &user.metadata.uid, decided)).unwrap_or_default();
    base32(&Sha256::digest(json), 16)
}
