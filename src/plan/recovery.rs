//! An attempt that an earlier reconcile left pending: rolled forward, resumed from its staged token, or given up.

use jiff::Timestamp;

use super::access::{apply_access, resolve_access};
use super::flow::{Interrupt, answer};
use super::spec::Spec;
use super::user::{PATIENCE, committed_user, conflict, own_user, record_token};
use super::{Fence, Observed, SecretView, Step, journal, rotation, staging, version};
use crate::api::{Pending, ProgrammaticUserStatus, REVOKE_NOW_ANNOTATION};
use crate::platform::UserDetails;

/// An attempt that an earlier reconcile left pending. `true`: it was completed.
///
/// Rolled forward if its Secret carries it, gone on with if it is staged, given up otherwise. It is never repeated.
pub(super) fn recover(
    o: &Observed,
    desired: Option<&Spec>,
    status: &mut ProgrammaticUserStatus,
    now: Timestamp,
) -> Result<bool, Interrupt> {
    let Some(pending) = status.journal.pending.clone() else {
        return Ok(false);
    };
    let nonce = &pending.nonce;
    let staged = o.staged(nonce);
    if let Some(user_id) = committed_user(o, status, nonce) {
        if let Some(staged) = staged {
            staging::unstage(o, staged)?;
        }
        // What was asked for then is compared with what is asked for now in the next round; whether the user is
        // really ours, when it is read.
        journal::promote(o, status, &user_id, now);
        return Err(journal::journal(o, status, now));
    }
    let in_time = now.duration_since(pending.started_at) < PATIENCE;
    // A revocation of the current token does not wait for an attempt that may be stuck.
    let overtaken = pending.reason != rotation::REVOKED
        && rotation::is_revoked(o, status)
        && pending.revoke_now.as_ref() != rotation::annotation(&o.user, REVOKE_NOW_ANNOTATION);
    let as_asked = desired.filter(|d| d.fingerprint == pending.fingerprint && in_time && !overtaken);
    if let Some(desired) = as_asked
        && let Some(user_id) = staged.and_then(|s| s.user_id.as_ref())
        && let Some(details) = resume(o, desired, status, (nonce, user_id), now)?
    {
        journal::promote(o, status, user_id, now);
        record_token(status, &details, o.time(now));
        journal::record_applied_access(o, status, desired);
        return Ok(true);
    }
    give_up(o, desired, status, &pending, now)
}

/// Goes on with a staged attempt; `None`: its user is gone, or its access was changed too often.
fn resume(
    o: &Observed,
    desired: &Spec,
    status: &mut ProgrammaticUserStatus,
    (nonce, user_id): (&str, &str),
    now: Timestamp,
) -> Result<Option<UserDetails>, Interrupt> {
    conflict(o, &desired.secret_name)?;
    let grants = resolve_access(o, desired)?;
    let Some(details) = own_user(o, user_id, nonce)? else {
        return Ok(None);
    };
    if !journal::record_pending(o, status, &desired.access, now)? {
        return Ok(None);
    }
    apply_access(o, desired, &grants, &details)?;
    staging::publish(o, desired, nonce, user_id)?;
    Ok(Some(details))
}

/// First no slow process may be able to stage its token any more, or to find it staged; then no process that saw the Secret
/// before may be able to publish it, and only then the journal says so. In another order, a process that looks in
/// between goes on with what is given up here.
pub(super) fn give_up(
    o: &Observed,
    desired: Option<&Spec>,
    status: &mut ProgrammaticUserStatus,
    pending: &Pending,
    now: Timestamp,
) -> Result<bool, Interrupt> {
    match o.staged(&pending.nonce) {
        Some(staged) if staged.user_id.is_some() => staging::unstage(o, staged)?,
        Some(_) => {}
        None => answer(o.answers.tombstoned.as_ref(), || {
            Step::Tombstone(pending.nonce.clone())
        })?,
    }
    // A write over a Secret that is not ours fails anyway.
    if !matches!(o.next_secret, SecretView::Foreign(_)) {
        let keys = desired.map(|d| d.layout.keys().cloned().collect());
        answer(o.answers.fenced.as_ref(), || {
            Step::Fence(Fence {
                name: pending.secret_name.clone(),
                over: version(&o.next_secret),
                keys: keys.unwrap_or_else(|| vec!["SPOTINST_TOKEN".to_owned()]),
            })
        })?;
    }
    journal::abandon(status, &pending.nonce);
    Err(journal::journal(o, status, now))
}
