//! One attempt to make a user: begin it, go on with it, take it up again after a crash, or give it up.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::access::{ResolvedAccess, resolve_access};
use super::conditions::set_progress_conditions;
use super::flow::{Interrupt, answer};
use super::granted::wanted;
use super::spec::Spec;
use super::user::{conflict, is_accepted, not_accepted, published};
use super::{Committed, Created, Observed, Problem, Retry, Step, draft, journal, rotation, staging};
use crate::api::{Pending, ProgrammaticUserStatus, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION, Reason};
use crate::platform::CreateProgrammaticUser;
use crate::platform::client::Purpose;

/// Attempts that one object may begin in an hour: a tenant who deletes its Secret again and again cannot flood the
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
    let grants = resolve_access(o, desired)?;
    check_budget(status, reason, now)?;
    reserve(o, reason)?;
    if !o.has_finalizer() {
        return Ok(Interrupt::from(Step::AddFinalizer));
    }
    if !o.class_is_held() {
        return Ok(Interrupt::from(Step::HoldClass));
    }
    answer(o.answers.dry_run.as_ref(), || {
        let staged = is_staged(status, &grants).then(|| o.fresh_nonce.clone());
        Step::DryRun(draft(o, desired, &o.fresh_nonce, "pu-00000000"), staged)
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
    Ok(Interrupt::from(Step::Journal(
        Box::new(status.clone()),
        Some(o.fresh_nonce.clone()),
    )))
}

/// The permit for the create call comes before the first write: a limit that leaves no room costs none.
fn reserve(o: &Observed, reason: &str) -> Result<(), Interrupt> {
    let purpose = match o.current() {
        None => Purpose::First,
        Some(_) if reason == rotation::REVOKED => Purpose::Revocation,
        Some(_) => Purpose::Replacement,
    };
    let reserved = o.answers.reserved.as_ref().map(|(_, answer)| answer);
    answer(reserved, || Step::Reserve(purpose))
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

/// The attempt that this reconcile began, and holds the permit for.
pub(super) fn continue_attempt(
    o: &Observed,
    desired: &Spec,
    status: &mut ProgrammaticUserStatus,
    nonce: &str,
    now: Timestamp,
) -> Result<(), Interrupt> {
    let grants = resolve_access(o, desired)?;
    let (user_id, last_digits) = create(o, desired, &grants, status, nonce)?;
    let staged = is_staged(status, &grants);
    keep_token(o, desired, status, (nonce, user_id), staged)?;
    if staged {
        if !grants.groups.is_empty() {
            answer(o.answers.groups_put.get(user_id), || {
                Step::PutGroups(user_id.clone(), grants.groups.clone())
            })?;
        }
        staging::publish(o, desired, nonce, user_id)?;
    }
    journal::promote(o, status, user_id, now);
    status.token_last_digits = Some(last_digits.clone());
    status.token_issued_at = Some(o.time(now));
    if !staged && !is_accepted(o, &published(desired))? {
        return Err(not_accepted());
    }
    journal::record_applied_access(o, status, desired);
    Ok(())
}

/// A user that replaces another, or needs groups, is complete before its token is published.
fn is_staged(status: &ProgrammaticUserStatus, grants: &ResolvedAccess) -> bool {
    status.journal.current.is_some() || !grants.groups.is_empty()
}

/// Id and last digits of the user that the attempt made.
fn create<'a>(
    o: &'a Observed,
    desired: &Spec,
    grants: &ResolvedAccess,
    status: &mut ProgrammaticUserStatus,
    nonce: &str,
) -> Result<(&'a String, &'a String), Interrupt> {
    let Some(created) = &o.answers.created else {
        return Err(Interrupt::from(Step::Create(CreateProgrammaticUser {
            name: o.marker(nonce).name(&desired.display_name),
            description: desired.description.clone(),
            accounts: grants.accounts.clone(),
            policies: grants.policies.clone(),
        })));
    };
    match created {
        Created::Yes { user_id, last_digits } => Ok((user_id, last_digits)),
        Created::No(problem) => {
            let begun = status.journal.pending.take().map(|pending| pending.started_at);
            // What the platform was not asked for does not count.
            if problem.reason != Reason::RejectedByPlatform {
                status.journal.attempt_times.pop_if(|at| Some(*at) == begun);
            }
            Err(Interrupt::Failed(problem.clone()))
        }
        Created::Unknown(problem) => {
            journal::abandon(status, nonce);
            Err(Interrupt::Failed(problem.clone()))
        }
    }
}

/// Stages the token in hand, or publishes it. If neither can be, the operator deletes the user: no pod has its token.
fn keep_token(
    o: &Observed,
    desired: &Spec,
    status: &mut ProgrammaticUserStatus,
    (nonce, user_id): (&str, &String),
    staged: bool,
) -> Result<(), Interrupt> {
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
        None => Err(Interrupt::from(step)),
        Some(Committed::Yes) => Ok(()),
        // The attempt stays pending: the next reconcile looks at the Secrets and decides.
        Some(Committed::Unknown(problem)) => Err(Interrupt::Failed(problem.clone())),
        Some(Committed::No(problem)) => {
            match &o.answers.compensated {
                None => return Err(Interrupt::from(Step::Compensate(user_id.clone()))),
                Some(Ok(())) => status.journal.pending = None,
                Some(Err(_)) => journal::abandon(status, nonce),
            }
            Err(Interrupt::Failed(problem.clone()))
        }
    }
}
