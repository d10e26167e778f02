//! An object that is not being deleted: there is one user, its token is in the Secret, its access is as asked for.

use jiff::Timestamp;

use super::access::{apply_access, resolve_access};
use super::conditions::journal_invalid;
use super::flow::{Interrupt, tolerate_failure};
use super::revocation::{is_of_the_tenant, is_revoked, was_too_old};
use super::spec::Spec;
use super::user::{PATIENCE, is_accepted, not_accepted, own_user, published, record_token};
use super::verdict::{Outcome, verdict};
use super::{
    Decision, Observed, Refusal, Requeue, Retry, Step, attempt, class, cleanup, consumers, deletion, journal,
    recovery, revocation, rotation, validation, verdict,
};
use crate::api::{Current, ProgrammaticUserStatus};

pub(super) fn next(o: &Observed, now: Timestamp) -> Decision {
    let mut status = o.status();
    if !o.intact {
        return Decision::Done(verdict(
            o,
            status,
            None,
            &Outcome::Stalled(&journal_invalid()),
            now,
        ));
    }
    // A person may have taken it off; without it a deletion would leave the user behind. Not between the journal
    // and the Secret: nothing may come between those.
    if o.has_begun() && !o.has_finalizer() && o.answers.begun_attempt.is_none() {
        return Decision::Do(Step::AddFinalizer);
    }
    let over = |end: &Timestamp| o.platform_now.is_some_and(|time| *end <= time);
    if let Some(end) = o.user.spec.expire_at.filter(over) {
        return deletion::expire(o, status, end, now);
    }
    rotation::note_end(o, &mut status);
    if o.answers.begun_attempt.is_none()
        && let Err(Interrupt::Do(step)) = revocation::record_unknown(o, &mut status, now)
    {
        return Decision::Do(*step);
    }
    let wanted = validation::validated_spec(o);
    let force = rotation::forced_rotation(o, &status).filter(|_| o.is_suspended());
    if o.is_suspended() && force.is_none() && o.answers.begun_attempt.is_none() {
        return suspended(o, status, wanted, now);
    }
    let (desired, outcome) = match wanted {
        Ok(desired) => {
            let outcome = proceed(o, &desired, &mut status, force, now);
            (Some(desired), outcome)
        }
        Err(halt) => (None, Err(finish_begun_work(o, &mut status, halt, now))),
    };
    conclude(o, status, desired.as_ref(), outcome, now)
}

/// What becomes of the object when there is nothing more to do in this reconcile.
fn conclude(
    o: &Observed,
    mut status: ProgrammaticUserStatus,
    desired: Option<&Spec>,
    outcome: Result<(), Interrupt>,
    now: Timestamp,
) -> Decision {
    // Of a token that this reconcile published, too: otherwise the next one would write it.
    rotation::note_end(o, &mut status);
    let end = |status, outcome: &Outcome| Decision::Done(verdict(o, status, desired, outcome, now));
    let too_old = rotation::has_ended(o, &status) || was_too_old(&status);
    let outcome = outcome.map_err(|halt| revocation::withdrawn(o, &status, halt));
    match outcome {
        Ok(()) if o.is_suspended() => Decision::Done(verdict::suspended(o, status, now)),
        Ok(()) => match class::retains(o) {
            Ok(()) => end(status, &Outcome::Ready),
            Err(refusal) => end(status, &Outcome::Stalled(&refusal)),
        },
        Err(Interrupt::Do(step)) => Decision::Do(*step),
        Err(Interrupt::Refused(refusal)) if is_revoked(o, &refusal) => {
            deletion::revoke(o, status, &refusal, now)
        }
        Err(Interrupt::Refused(refusal)) if o.has_begun() && rotation::is_revoked(o, &status) => {
            deletion::revoke_now(o, status, &refusal, now)
        }
        Err(Interrupt::Refused(refusal)) if too_old => deletion::too_old(o, status, &refusal, now),
        Err(Interrupt::Refused(refusal)) => end(status, &Outcome::Stalled(&refusal)),
        Err(Interrupt::Failed(problem))
            if o.has_begun() && rotation::is_revoked(o, &status) && is_of_the_tenant(o, &problem) =>
        {
            deletion::revoke_now(o, status, &Refusal::new(problem.reason, problem.message), now)
        }
        Err(Interrupt::Failed(problem)) if too_old && is_of_the_tenant(o, &problem) => {
            deletion::too_old(o, status, &Refusal::new(problem.reason, problem.message), now)
        }
        Err(Interrupt::Failed(problem)) => end(status, &Outcome::Waiting(&problem)),
    }
}

/// Nothing is made or changed. What was begun is brought to an end, and what the class wants gone goes.
fn suspended(
    o: &Observed,
    mut status: ProgrammaticUserStatus,
    wanted: Result<Spec, Interrupt>,
    now: Timestamp,
) -> Decision {
    let granted = wanted.and_then(|desired| match o.current() {
        Some(current) => {
            revocation::still_granted(o, &desired.access)?;
            revocation::check(o, current.granted.as_ref())
        }
        None => Ok(()),
    });
    match granted.map_err(|halt| revocation::withdrawn(o, &status, halt)) {
        Err(Interrupt::Do(step)) => return Decision::Do(*step),
        Err(Interrupt::Refused(refusal))
            if is_revoked(o, &refusal) || rotation::has_ended(o, &status) || was_too_old(&status) =>
        {
            return conclude(o, status, None, Err(Interrupt::Refused(refusal)), now);
        }
        Ok(()) | Err(Interrupt::Refused(_) | Interrupt::Failed(_)) => {}
    }
    let ended = clean_up(o, &mut status, now);
    let mut rest = verdict::suspended(o, status, now);
    match ended {
        Err(Interrupt::Do(step)) => return Decision::Do(*step),
        Err(Interrupt::Failed(problem)) => {
            rest.requeue = match problem.retry {
                Retry::Backoff => Requeue::Backoff,
                Retry::After(span) => Requeue::After(span),
                Retry::OnChange => Requeue::Stalled(match rest.requeue {
                    Requeue::After(span) => Some(span),
                    _ => None,
                }),
            }
        }
        Ok(()) | Err(Interrupt::Refused(_)) => {}
    }
    Decision::Done(rest)
}

/// Where nothing new may be asked for, what was begun is still brought to an end.
fn finish_begun_work(
    o: &Observed,
    status: &mut ProgrammaticUserStatus,
    halt: Interrupt,
    now: Timestamp,
) -> Interrupt {
    match clean_up(o, status, now) {
        Err(Interrupt::Do(step)) => Interrupt::Do(step),
        Ok(()) | Err(Interrupt::Refused(_) | Interrupt::Failed(_)) => halt,
    }
}

/// Tokens that are to die at once do not wait for an attempt, which a tenant may hold up.
fn revoke_replaced(o: &Observed, status: &mut ProgrammaticUserStatus) -> Result<(), Interrupt> {
    cleanup::expedite_retiring(o, status)?;
    revocation::revoke_retiring(o, status)?;
    tolerate_failure(cleanup::delete_revoked(o, status)).map(drop)
}

fn clean_up(o: &Observed, status: &mut ProgrammaticUserStatus, now: Timestamp) -> Result<(), Interrupt> {
    revoke_replaced(o, status)?;
    recovery::recover(o, None, status, now)?;
    cleanup::finish_publication(o, status, now)?;
    cleanup::clean_up_abandoned(o, status, false)?;
    cleanup::delete_retired(o, status)
}

fn proceed(
    o: &Observed,
    desired: &Spec,
    status: &mut ProgrammaticUserStatus,
    force: Option<&'static str>,
    now: Timestamp,
) -> Result<(), Interrupt> {
    if let Some(nonce) = &o.answers.begun_attempt {
        return attempt::continue_attempt(o, desired, status, nonce, now);
    }
    revoke_replaced(o, status)?;
    if recovery::recover(o, Some(desired), status, now)? {
        return Ok(());
    }
    cleanup::finish_publication(o, status, now)?;
    let unsettled = tolerate_failure(cleanup::clean_up_abandoned(o, status, false))?;
    let unretired = tolerate_failure(cleanup::delete_retired(o, status))?;
    // Before anything that may have to wait until earlier users are gone.
    consumers::request_pods(o, status)?;
    consumers::restart(o, desired, status, now)?;
    confirm_unknown_users(o)?;
    let replace = |status: &mut ProgrammaticUserStatus, reason| match &unsettled {
        Some(problem) => Interrupt::Failed(problem.clone()),
        None => attempt::begin(o, desired, status, reason, now),
    };
    let Some(current) = status.journal.current.clone() else {
        return Err(replace(status, rotation::CREATE));
    };
    revocation::still_granted(o, &desired.access)?;
    if let Some(reason) = force.or_else(|| rotation::due(o, desired, status, &current)) {
        return Err(replace(status, reason));
    }
    let withdrawn = match revocation::check(o, current.granted.as_ref()) {
        Err(Interrupt::Do(step)) => return Err(Interrupt::Do(step)),
        Err(Interrupt::Refused(_)) => true,
        Ok(()) | Err(Interrupt::Failed(_)) => false,
    };
    if current.access.as_ref() != Some(&desired.access_digest) || o.full_check || withdrawn {
        if let Some(reason) = compare_with_platform(o, desired, status, &current, now)? {
            return Err(replace(status, reason));
        }
        journal::record_applied_access(o, status, desired);
    }
    unretired.map_or(Ok(()), |problem| Err(Interrupt::Failed(problem)))
}

/// Puts the access of the current user right, and tries its token. Why the user has to be replaced, if it has to.
fn compare_with_platform(
    o: &Observed,
    desired: &Spec,
    status: &mut ProgrammaticUserStatus,
    current: &Current,
    now: Timestamp,
) -> Result<Option<&'static str>, Interrupt> {
    let grants = resolve_access(o, desired)?;
    let Some(details) = own_user(o, &current.user_id, &current.nonce)? else {
        journal::forget_access(status);
        return Ok(Some(rotation::USER_MISSING));
    };
    record_token(status, &details, o.time(now));
    if !journal::record_current(o, status, &desired.access, now)? {
        return Ok(Some(rotation::SPEC_CHANGED));
    }
    apply_access(o, desired, &grants, &details)?;
    if is_accepted(o, &published(desired))? {
        return Ok(None);
    }
    let issued = status.token_issued_at.unwrap_or(now);
    let too_long = o
        .platform_now
        .is_some_and(|t| t.duration_since(issued) > PATIENCE);
    if current.access.is_none() && !too_long {
        return Err(not_accepted());
    }
    journal::forget_access(status);
    Ok(Some(rotation::TOKEN_REJECTED))
}

/// Users that the journal does not know are looked for once more before they are reported: an attempt may have been
/// swept after the list was made in which they were seen.
fn confirm_unknown_users(o: &Observed) -> Result<(), Interrupt> {
    let suspected = o.unknown_users.as_ref().is_some_and(|s| !s.is_empty());
    if suspected && o.answers.listed.is_none() {
        return Err(Interrupt::from(Step::ListUsers));
    }
    Ok(())
}
