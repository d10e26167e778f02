//! Which token a pod may hold.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::names;
use crate::api::{Current, ProgrammaticUserStatus, RESTART_PREFIX, Retiring};
use crate::plan::marker::base32;
use crate::plan::{Observed, Pod};

/// Kubelets hear of a changed Secret by a watch, so that a pod made in the moment after may still get the old token. Times
/// of the API server are whole seconds.
pub(super) const SPREAD: SignedDuration = SignedDuration::from_secs(2);
/// Longest name of an annotation, without its prefix.
const NAME: usize = 63;

/// The mark of the current token: of what is known to everybody, and the same however often it is asked for.
pub(super) fn mark(o: &Observed, current: &Current) -> (String, String) {
    let digest = |text: &str| base32(&Sha256::digest(text), 16);
    let name = o.user.metadata.name.as_deref().unwrap_or_default();
    let name = if name.len() <= NAME {
        name.to_owned()
    } else {
        let cut: String = name.chars().take(NAME - 17).collect();
        format!("{cut}-{}", digest(name))
    };
    let value = digest(&format!("{}/{}", o.uid(), current.nonce));
    (format!("{RESTART_PREFIX}{name}"), value)
}

/// Whether a pod was made certainly after the Secret of this name changed.
fn is_newer(
    o: &Observed,
    status: &ProgrammaticUserStatus,
    pod: &Pod,
    secret: &str,
    changed: Option<Timestamp>,
) -> bool {
    let is_current = status.secret_name.as_deref() == Some(secret);
    let current = status.journal.current.as_ref().filter(|_| is_current);
    let marked = current.is_some_and(|current| {
        let (key, value) = mark(o, current);
        pod.marks.get(&key) == Some(&value)
    });
    let later = |changed: Timestamp| {
        let certain = changed.checked_add(SPREAD).ok();
        pod.created
            .zip(certain)
            .is_some_and(|(created, certain)| created > certain)
    };
    marked || changed.is_some_and(later)
}

/// When the Secret of this name got a later token than this one; `None`: it never did.
fn changed(o: &Observed, status: &ProgrammaticUserStatus, old: &Retiring, secret: &str) -> Option<Timestamp> {
    let is_current = status.secret_name.as_deref() == Some(secret);
    let last = status.journal.current.as_ref().and_then(|c| c.replaced_at);
    let seen = match &o.current_secret {
        crate::plan::SecretView::Ours(own) => own.changed,
        _ => None,
    };
    match &old.secret_name {
        // The next token went into another Secret; this one may have come back to it since.
        Some(name) if name == secret => last.filter(|_| is_current),
        _ => old.replaced_at.or(last).or(seen),
    }
}

/// Whether this pod may hold the token of this replaced user.
pub(super) fn holds(o: &Observed, status: &ProgrammaticUserStatus, old: &Retiring, pod: &Pod) -> bool {
    let mut was_in = names(status).into_iter().filter(|secret| {
        pod.secrets.contains(*secret) && old.secret_name.as_ref().is_none_or(|name| name == secret)
    });
    was_in.any(|secret| !is_newer(o, status, pod, secret, changed(o, status, old, secret)))
}

/// Whether this pod may hold another token than the current one.
pub(super) fn is_outdated(o: &Observed, status: &ProgrammaticUserStatus, pod: &Pod) -> bool {
    let journal = &status.journal;
    let last = journal.current.as_ref().and_then(|c| c.replaced_at);
    let reads = |secret: &String| pod.secrets.contains(secret);
    let secret = status.secret_name.as_ref().filter(|s| last.is_some() && reads(s));
    secret.is_some_and(|secret| !is_newer(o, status, pod, secret, last))
        || journal.retiring.iter().any(|old| holds(o, status, old, pod))
}
