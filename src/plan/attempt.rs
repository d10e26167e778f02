//! One attempt to make a user: begin it, go on with it, take it up again after a crash, or give it up.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::access::{apply_access, resolve_access};
use super::granted::{record_pending, wanted};
use super::live::{
    Interrupt, PATIENCE, answer, conflict, do_first, is_accepted, not_accepted, own_user, published,
    record_token, set_progress_conditions,
};
use super::spec::Spec;
use super::{
    Committed, Created, Fence, Observed, Problem, Retry, SecretView, Step, TokenSource, cleanup, draft,
    rotation, version,
};
use crate::api::{
    Abandoned, Current, Pending, ProgrammaticUserStatus, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION, Reason,
    Retiring,
};
use crate::platform::client::Purpose;
use crate::platform::{CreateProgrammaticUser, UserDetails};

/// Attempts that one object may begin in an hour: nobody who deletes its Secret again and again can flood the
/// organization.
pub(super) const BUDGET: usize = 5;
/// With those that are revocations. A token that leaked does not wait because its Secret was deleted again and again.
const BUDGET_WITH_REVOCATIONS: usize = 2 * BUDGET;
const BUDGET_SPAN: SignedDuration = SignedDuration::from_hours(1);
/// Users of one object beside the current one.
const MAX_BESIDE: usize = 4;
/// Overlaps are hours; this is for those that are not.
const TOO_MANY_RECHECK: Duration = Duration::from_secs(15);

/// Before the first effect: everything that can be found wrong is found now, while it costs nothing.
pub(super) fn begin(
    o: &Observed,
    desired: &Spec,
    status: &mut ProgrammaticUserStatus,
    reason: &str,
    now: Timestamp,
) -> Interrupt {
    match prepare(o, desired, status, reason, now) {
        Ok(halt) | Err(halt) => halt,
    }
}

fn prepare(
    o: &Observed,
    desired: &Spec,
    status: &mut ProgrammaticUserStatus,
    reason: &str,
    now: Timestamp,
) -> Result<Interrupt, Interrupt> {
    conflict(o, &desired.secret_name)?;
    resolve_access(o, desired)?;
    check_budget(status, reason, now)?;
    if !o.has_finalizer() {
        return Ok(do_first(Step::AddFinalizer));
    }
    if !o.class_is_held() {
        return Ok(do_first(Step::HoldClass));
    }
    answer(o.answers.dry_run.as_ref(), || {
        Step::DryRun(draft(o, desired, &o.fresh_nonce, "pu-00000000"))
    })?;
    status.organization_name = Some(desired.organization.clone());
    status
        .secret_name
        .get_or_insert_with(|| desired.secret_name.clone());
    if status.journal.current.is_none() {
        status.secret_name = Some(desired.secret_name.clone());
    }
    status.journal.attempt_times.push(now);
    status.journal.pending = Some(Pending {
        nonce: o.fresh_nonce.clone(),
        started_at: now,
        reason: reason.to_owned(),
        fingerprint: desired.fingerprint.clone(),
        secret_name: desired.secret_name.clone(),
        rotate_at: rotation::annotation(&o.user, ROTATE_AT_ANNOTATION).cloned(),
        revoke_now: rotation::annotation(&o.user, REVOKE_NOW_ANNOTATION).cloned(),
        granted: Some(wanted(o, &desired.access)),
    });
    set_progress_conditions(o, status, now);
    Ok(do_first(Step::Journal(
        Box::new(status.clone()),
        Some(o.fresh_nonce.clone()),
    )))
}

/// Whether one more attempt, and one more user, may be.
fn check_budget(status: &mut ProgrammaticUserStatus, reason: &str, now: Timestamp) -> Result<(), Problem> {
    let beside = status.journal.retiring.len() + status.journal.abandoned.len();
    if beside >= MAX_BESIDE {
        return Err(Problem {
            reason: Reason::TooManyUsers,
            message: format!(
                "the token is not replaced while {beside} earlier users of this object still exist: it goes on when an overlap ends (spec.rotation.overlap says how long it is)"
            ),
            retry: Retry::After(TOO_MANY_RECHECK),
        });
    }
    let begun = &mut status.journal.attempt_times;
    // A clock that was wrong does not block for longer.
    begun.retain(|at| now.duration_since(*at).abs() < BUDGET_SPAN);
    let (most, hint) = if reason == rotation::REVOKED {
        (BUDGET_WITH_REVOCATIONS, "")
    } else {
        (BUDGET, "; a revocation does not wait for it")
    };
    // Of the last as many as may be, the one that has to be an hour old before another is begun.
    match begun.len().checked_sub(most).and_then(|more| begun.get(more)) {
        Some(oldest) => {
            let left = BUDGET_SPAN.saturating_sub(now.duration_since(*oldest));
            Err(Problem {
                reason: Reason::CreateBudgetExhausted,
                message: format!(
                    "{} users were begun for this object within an hour, and no more are: find out why (was the Secret deleted again and again, or does the platform fail?). It goes on by itself{hint}",
                    begun.len()
                ),
                retry: Retry::After(left.unsigned_abs()),
            })
        }
        None => Ok(()),
    }
}

/// What the user of the attempt in the journal is made for.
#[must_use]
pub fn purpose(o: &Observed) -> Purpose {
    let status = o.user.status.as_ref();
    let pending = status.and_then(|status| status.journal.pending.as_ref());
    match o.current() {
        None => Purpose::First,
        Some(_) if pending.is_some_and(|p| p.reason == rotation::REVOKED) => Purpose::Revocation,
        Some(_) => Purpose::Replacement,
    }
}

/// The attempt that this reconcile holds the ticket for.
pub(super) fn continue_attempt(
    o: &Observed,
    desired: &Spec,
    status: &mut ProgrammaticUserStatus,
    nonce: &str,
    now: Timestamp,
) -> Result<(), Interrupt> {
    let grants = resolve_access(o, desired)?;
    let Some(created) = &o.answers.created else {
        return Err(do_first(Step::Create(CreateProgrammaticUser {
            name: o.marker(nonce).name(&desired.display_name),
            description: desired.description.clone(),
            accounts: grants.accounts,
            policies: grants.policies,
        })));
    };
    let (user_id, last_digits) = match created {
        Created::Yes { user_id, last_digits } => (user_id, last_digits),
        Created::No(problem) => {
            status.journal.pending = None;
            // What the platform was not asked for does not count.
            if problem.reason != Reason::RejectedByPlatform {
                status.journal.attempt_times.pop();
            }
            return Err(Interrupt::Failed(problem.clone()));
        }
        Created::Unknown(problem) => {
            abandon(status, nonce);
            return Err(Interrupt::Failed(problem.clone()));
        }
    };
    // A user that replaces another, or needs groups, is complete before its token is published.
    let staged = status.journal.current.is_some() || !grants.groups.is_empty();
    let (kept, step) = if staged {
        let (nonce, user_id) = (nonce.to_owned(), user_id.clone());
        (&o.answers.staged, Step::Stage { nonce, user_id })
    } else {
        (
            &o.answers.committed,
            Step::Commit(draft(o, desired, nonce, user_id)),
        )
    };
    match kept {
        None => return Err(do_first(step)),
        Some(Committed::Yes) => {}
        // The attempt stays pending: the next reconcile looks at the Secrets and decides.
        Some(Committed::Unknown(problem)) => return Err(Interrupt::Failed(problem.clone())),
        Some(Committed::No(problem)) => {
            match &o.answers.compensated {
                None => return Err(do_first(Step::Compensate(user_id.clone()))),
                Some(Ok(())) => status.journal.pending = None,
                Some(Err(_)) => abandon(status, nonce),
            }
            return Err(Interrupt::Failed(problem.clone()));
        }
    }
    if staged {
        if !grants.groups.is_empty() {
            answer(o.answers.groups_put.get(user_id), || {
                Step::PutGroups(user_id.clone(), grants.groups.clone())
            })?;
        }
        publish(o, desired, nonce, user_id)?;
    }
    let digits = last_digits.clone();
    promote(o, status, user_id, now);
    status.token_last_digits = Some(digits);
    status.token_issued_at = Some(o.time(now));
    if !staged && !is_accepted(o, published(desired))? {
        return Err(not_accepted());
    }
    record_applied_access(o, status, desired);
    Ok(())
}

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
    if let Some(user_id) = o.secret_with(nonce).and_then(|s| s.user_id.clone()) {
        if let Some(staged) = staged {
            cleanup::unstage(o, staged)?;
        }
        // What was asked for then is compared with what is asked for now in the next round; whether the user is
        // really ours, when it is read.
        promote(o, status, &user_id, now);
        return Err(journal(o, status, now));
    }
    let in_time = now.duration_since(pending.started_at) < PATIENCE;
    // Whoever wants the current token dead does not wait for an attempt that may be stuck.
    let overtaken = pending.reason != rotation::REVOKED
        && rotation::is_revoked(o, status)
        && pending.revoke_now.as_ref() != rotation::annotation(&o.user, REVOKE_NOW_ANNOTATION);
    let as_asked = desired.filter(|d| d.fingerprint == pending.fingerprint && in_time && !overtaken);
    if let Some(desired) = as_asked
        && let Some(user_id) = staged.and_then(|s| s.user_id.as_ref())
        && let Some(details) = resume(o, desired, status, (nonce, user_id), now)?
    {
        promote(o, status, user_id, now);
        record_token(status, &details, o.time(now));
        record_applied_access(o, status, desired);
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
    if !record_pending(o, status, &desired.access, now)? {
        return Ok(None);
    }
    apply_access(o, desired, &grants, &details)?;
    publish(o, desired, nonce, user_id)?;
    Ok(Some(details))
}

/// The token has been seen to work before pods may see it; the Secret is then the record, and nothing stays staged.
fn publish(o: &Observed, desired: &Spec, nonce: &str, user_id: &str) -> Result<(), Interrupt> {
    if !is_accepted(o, TokenSource::Staged(nonce.to_owned()))? {
        return Err(not_accepted());
    }
    match &o.answers.published {
        None => {
            let step = Step::Publish(nonce.to_owned(), draft(o, desired, nonce, user_id));
            return Err(do_first(step));
        }
        Some(Committed::Yes) => {}
        // It is staged still: the next reconcile looks at the Secrets and decides.
        Some(Committed::No(problem) | Committed::Unknown(problem)) => {
            return Err(Interrupt::Failed(problem.clone()));
        }
    }
    o.staged(nonce)
        .map_or(Ok(()), |staged| cleanup::unstage(o, staged))
}

/// First nobody who is slow may be able to stage its token any more, or to find it staged, then nobody who saw the Secret
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
        Some(staged) if staged.user_id.is_some() => cleanup::unstage(o, staged)?,
        Some(_) => {}
        None => answer(o.answers.tombstoned.as_ref(), || {
            Step::Tombstone(pending.nonce.clone())
        })?,
    }
    // A write over somebody else's Secret fails anyway.
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
    abandon(status, &pending.nonce);
    Err(journal(o, status, now))
}

fn journal(o: &Observed, status: &mut ProgrammaticUserStatus, now: Timestamp) -> Interrupt {
    set_progress_conditions(o, status, now);
    do_first(Step::Journal(Box::new(status.clone()), None))
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
    let not_before = overlap_ends(o, now);
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
            not_after: wait_ends(o, not_before, end),
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

/// When a token that is replaced now may die.
pub(super) fn overlap_ends(o: &Observed, now: Timestamp) -> Timestamp {
    let overlap = SignedDuration::try_from(rotation::overlap(o)).unwrap_or(SignedDuration::MAX);
    now.saturating_add(overlap).unwrap_or(now)
}

/// When a token whose overlap ends then dies, whatever pods use it; `None`: when the overlap ends. The `end` that the class
/// sets is kept even where no pods are waited for: the object may ask for that later.
fn wait_ends(o: &Observed, not_before: Timestamp, end: Option<Timestamp>) -> Option<Timestamp> {
    let end = end.map(|end| end.max(not_before));
    let Some(more) = rotation::wait(o).filter(|more| !more.is_zero()) else {
        return end;
    };
    let more = SignedDuration::try_from(more).unwrap_or(SignedDuration::MAX);
    let asked = not_before.saturating_add(more).ok()?;
    Some(end.map_or(asked, |end| end.min(asked)))
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
