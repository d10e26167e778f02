//! Writes attempts and users into the journal of the status.

use jiff::Timestamp;

use super::conditions::set_progress_conditions;
use super::flow::Interrupt;
use super::granted::{grow, wanted};
use super::spec::Spec;
use super::{Observed, Step, rotation, schedule};
use crate::api::{Abandoned, Access, Current, ProgrammaticUserStatus, Retiring};

pub(super) fn journal(o: &Observed, status: &mut ProgrammaticUserStatus, now: Timestamp) -> Interrupt {
    set_progress_conditions(o, status, now);
    Interrupt::from(Step::Journal(Box::new(status.clone()), None))
}

/// The pending attempt becomes the current user, and the one before it retires.
pub(super) fn promote(o: &Observed, status: &mut ProgrammaticUserStatus, user_id: &str, now: Timestamp) {
    let Some(pending) = status.journal.pending.take() else {
        return;
    };
    if pending.reason == rotation::AGE {
        // `every` bounds how often that goes well.
        status
            .journal
            .attempt_times
            .pop_if(|at| *at == pending.started_at);
    }
    let now = o.time(now);
    let end = status.token_ends_at;
    let not_before = schedule::overlap_ends(o, now);
    let not_before = end.map_or(not_before, |end| not_before.min(end.max(now)));
    let seen = o.secret_with(&pending.nonce).and_then(|s| s.changed);
    let changed = o.answers.changed.or(seen).unwrap_or(now);
    let replaced_at = status.journal.current.as_ref().map(|_| changed);
    let renamed = status
        .secret_name
        .take()
        .filter(|old| *old != pending.secret_name);
    if let Some(old) = status.journal.current.take() {
        status.journal.retiring.push(Retiring {
            nonce: old.nonce,
            user_id: old.user_id,
            not_before,
            not_after: schedule::wait_ends(o, not_before, end),
            replaced_at,
            secret_name: renamed,
            granted: old.granted,
        });
        // Until the pods have been looked at.
        status.consumers.iter_mut().for_each(|c| c.outdated = true);
    }
    if pending.reason == rotation::REVOKED {
        status.journal.retiring.iter_mut().for_each(|old| old.revoke(now));
    }
    status.secret_name = Some(pending.secret_name);
    status.user_id = Some(user_id.to_owned());
    status.token_last_digits = None;
    status.token_issued_at = None;
    status.token_ends_at = None;
    status.last_handled_rotate_at = pending.rotate_at;
    status.last_handled_revoke_now = pending.revoke_now;
    status.journal.current = Some(Current {
        nonce: pending.nonce,
        user_id: user_id.to_owned(),
        fingerprint: pending.fingerprint,
        access: None,
        granted: pending.granted,
        replaced_at,
    });
}

/// From now on the pending attempt's user is looked for and deleted.
pub(super) fn abandon(status: &mut ProgrammaticUserStatus, nonce: &str) {
    status.journal.pending = None;
    status.journal.abandoned.push(Abandoned {
        nonce: nonce.to_owned(),
    });
}

/// The current user has the access that is asked for, and no other.
pub(super) fn record_applied_access(o: &Observed, status: &mut ProgrammaticUserStatus, desired: &Spec) {
    if let Some(current) = &mut status.journal.current {
        current.granted = Some(wanted(o, &desired.access));
        current.access = Some(desired.access_digest.clone());
    }
}

/// Records what the pending attempt's user is about to get. `false`: the record would grow too long.
pub(super) fn record_pending(
    o: &Observed,
    status: &mut ProgrammaticUserStatus,
    access: &Access,
    now: Timestamp,
) -> Result<bool, Interrupt> {
    let pending = status.journal.pending.as_mut();
    let Some(granted) = pending.and_then(|pending| pending.granted.as_mut()) else {
        return Ok(true);
    };
    let grown = grow(granted, wanted(o, access));
    written(o, status, grown, now)
}

/// Records what the current user is about to get. From then on its access is not known to be as before: an object that asks
/// for the earlier access again is compared with the platform. (The model's worlds of "other groups" guard this.)
pub(super) fn record_current(
    o: &Observed,
    status: &mut ProgrammaticUserStatus,
    access: &Access,
    now: Timestamp,
) -> Result<bool, Interrupt> {
    let Some(current) = &mut status.journal.current else {
        return Ok(true);
    };
    let Some(granted) = &mut current.granted else {
        return Ok(true);
    };
    let grown = grow(granted, wanted(o, access));
    if grown == Some(true) {
        current.access = None;
    }
    written(o, status, grown, now)
}

fn written(
    o: &Observed,
    status: &mut ProgrammaticUserStatus,
    grown: Option<bool>,
    now: Timestamp,
) -> Result<bool, Interrupt> {
    if grown != Some(true) {
        return Ok(grown.is_some());
    }
    set_progress_conditions(o, status, now);
    Err(Interrupt::from(Step::Journal(Box::new(status.clone()), None)))
}

/// What does not work any more is not ready, and is looked at again until it is replaced.
pub(super) fn forget_access(status: &mut ProgrammaticUserStatus) {
    if let Some(current) = &mut status.journal.current {
        current.access = None;
    }
}
