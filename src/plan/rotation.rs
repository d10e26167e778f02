//! When a token is replaced, and why.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::spec::Spec;
use super::{Observed, SecretView, schedule};
use crate::api::{
    Current, ProgrammaticUser, ProgrammaticUserStatus, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION, Retiring,
};

/// Reasons of an attempt, as the journal keeps them.
pub(super) const CREATE: &str = "Create";

pub(super) const REVOKED: &str = "Revoked";

pub(super) const USER_MISSING: &str = "UserMissing";

pub(super) const TOKEN_REJECTED: &str = "TokenRejected";

pub(super) const AGE: &str = "Age";

pub(super) const SPEC_CHANGED: &str = "SpecChanged";

/// Value of one of an object's annotations.
pub(super) fn annotation<'a>(user: &'a ProgrammaticUser, key: &str) -> Option<&'a String> {
    user.metadata.annotations.as_ref()?.get(key)
}

/// Whether something is asked by this annotation that was not done.
#[must_use]
pub fn is_asked(user: &ProgrammaticUser, annotation: &str, last: Option<&String>) -> bool {
    let asked = self::annotation(user, annotation);
    asked.is_some() && asked != last
}

/// Whether the annotation `revoke-now` asks that the old token dies at once.
pub(super) fn is_revoked(o: &Observed, status: &ProgrammaticUserStatus) -> bool {
    let last = status.last_handled_revoke_now.as_ref();
    is_asked(&o.user, REVOKE_NOW_ANNOTATION, last)
}

/// Whether a token of it has to die at once, and lives, as far as is known.
#[must_use]
pub fn is_being_revoked(user: &ProgrammaticUser) -> bool {
    user.status.as_ref().is_some_and(|status| {
        let (current, retiring) = (&status.journal.current, &status.journal.retiring);
        let has_any = current.is_some() || !retiring.is_empty();
        let last = status.last_handled_revoke_now.as_ref();
        // It is done when the old users are gone, and not when there is a new one.
        (has_any && is_asked(user, REVOKE_NOW_ANNOTATION, last)) || retiring.iter().any(Retiring::is_revoked)
    })
}

/// Notes when the current token ends. A class that is gone said it before. A token that is too old when the operator first
/// finds it so, since the class has a shorter `maxAge` than before or this version is new here, has that long from now on.
pub(super) fn note_end(o: &Observed, status: &mut ProgrammaticUserStatus) {
    if o.class.is_none() {
        return;
    }
    let max = schedule::max_age(o.class.as_deref()).and_then(|max| SignedDuration::try_from(max).ok());
    let (Some(max), Some(_)) = (max, &status.journal.current) else {
        status.token_ends_at = None;
        return;
    };
    let Some(now) = o.platform_now else {
        return;
    };
    // Where a crash or a refusal came before the platform was asked when the token was made, it counts from now.
    let regular = status
        .token_issued_at
        .and_then(|issued| issued.checked_add(max).ok());
    status.token_ends_at = regular.filter(|end| *end > now).or_else(|| {
        let granted = now.checked_add(max).ok();
        status.token_ends_at.into_iter().chain(granted).min()
    });
}

/// Whether the current token has reached the class's maximum age.
pub(super) fn has_ended(o: &Observed, status: &ProgrammaticUserStatus) -> bool {
    let end = status.token_ends_at.filter(|_| status.journal.current.is_some());
    end.zip(o.platform_now).is_some_and(|(end, now)| end <= now)
}

/// When a token has to be replaced whatever the object says, so that it is dead by the class's maximum age.
pub(super) fn latest(o: &Observed, status: &ProgrammaticUserStatus) -> Option<Timestamp> {
    status.journal.current.as_ref()?;
    let max = schedule::max_age(o.class.as_deref())?;
    let overlap = schedule::overlap(o).saturating_add(schedule::wait(o).unwrap_or_default());
    // An object may ask for an overlap that is longer than the age: half of it is left then.
    let age = SignedDuration::try_from(max.saturating_sub(overlap).max(max / 2)).ok()?;
    status.token_issued_at?.checked_add(age).ok()
}

/// Why the current user has to be replaced, as far as the objects show it.
pub(super) fn due(
    o: &Observed,
    desired: &Spec,
    status: &ProgrammaticUserStatus,
    current: &Current,
) -> Option<&'static str> {
    if is_revoked(o, status) {
        return Some(REVOKED);
    }
    if current.fingerprint != desired.fingerprint {
        return Some(SPEC_CHANGED);
    }
    match (&o.current_secret, o.secret_with(&current.nonce)) {
        (_, Some(secret)) if secret.unedited => {}
        (_, Some(_)) | (SecretView::Ours(_), None) => return Some("SecretEdited"),
        // The attempt refuses a Secret that is not ours before it begins.
        (SecretView::Absent | SecretView::Foreign(_), None) => return Some("SecretMissing"),
    }
    let last = status.last_handled_rotate_at.as_ref();
    if is_asked(&o.user, ROTATE_AT_ANNOTATION, last) {
        return Some("Requested");
    }
    let now = o.platform_now?;
    (planned(o, desired, status, now)? <= now).then_some(AGE)
}

/// When the token will be replaced because of its age.
pub(super) fn planned(
    o: &Observed,
    desired: &Spec,
    status: &ProgrammaticUserStatus,
    now: Timestamp,
) -> Option<Timestamp> {
    let current = status.journal.current.as_ref()?;
    desired
        .schedule
        .at(status.token_issued_at?, share(o.uid(), &current.nonce), now)
}

/// A number from 0 to 1 that is fixed for each token.
fn share(uid: &str, nonce: &str) -> f64 {
    let digest = Sha256::digest(format!("{uid}/{nonce}"));
    f64::from(u16::from_be_bytes([digest[0], digest[1]])) / f64::from(u16::MAX)
}

/// Why the token of a suspended object is replaced all the same.
pub(super) fn forced_rotation(o: &Observed, status: &ProgrammaticUserStatus) -> Option<&'static str> {
    if status.journal.current.is_some() && is_revoked(o, status) {
        return Some(REVOKED);
    }
    let latest = latest(o, status)?;
    o.platform_now.is_some_and(|now| latest <= now).then_some(AGE)
}
