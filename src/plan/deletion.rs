//! The end of a user: its object is being deleted, or its time is over. Nothing of it may be left on the platform.

use jiff::Timestamp;

use super::conditions::journal_invalid;
use super::flow::{Interrupt, answer};
use super::revocation::{REVOKED_BY_CLASS, record_unknown};
use super::user::committed_user;
use super::verdict::{Outcome, verdict};
use super::{
    Decision, Observed, Problem, Refusal, Requeue, Retained, SecretView, Step, Verdict, cleanup, journal,
    recovery, retained, staging,
};
use crate::api::{DeletionPolicy, Journal, ProgrammaticUserStatus, Reason};

/// The object is being deleted.
pub(super) fn delete(o: &Observed, now: Timestamp) -> Decision {
    if !o.has_finalizer() || o.answers.finalizer_removed {
        return Decision::Done(Verdict {
            status: None,
            requeue: Requeue::OnChange,
            event: None,
        });
    }
    let mut status = o.status();
    let stalled = |status, refusal: &Refusal| {
        let refusal = Refusal::new(
            Reason::DeletionBlocked,
            format!("deletion waits: {}", refusal.message),
        );
        Decision::Done(verdict(o, status, None, &Outcome::Stalled(&refusal), now))
    };
    if !o.intact {
        return stalled(status, &journal_invalid());
    }
    let asked = o.user.spec.deletion_policy == DeletionPolicy::Retain;
    let retain = asked && retained::may_stay(o) && retained::is_held(o, &status);
    if retain && let Err(Interrupt::Do(step)) = record_unknown(o, &mut status, now) {
        return Decision::Do(*step);
    }
    match delete_users(o, &mut status, retain, now)
        .and_then(|()| delete_or_release_secrets(o, &status, retain))
    {
        Ok(()) => Decision::Do(Step::RemoveFinalizer),
        Err(Interrupt::Do(step)) => Decision::Do(*step),
        Err(Interrupt::Refused(refusal)) => stalled(status, &refusal),
        Err(Interrupt::Failed(problem)) => {
            let problem = Problem {
                reason: Reason::DeletionBlocked,
                message: format!("deletion waits: {}", problem.message),
                retry: problem.retry,
            };
            Decision::Done(verdict(o, status, None, &Outcome::Waiting(&problem), now))
        }
    }
}

/// The time of `spec.expireAt` has come: user and Secret go, the object stays.
pub(super) fn expire(
    o: &Observed,
    status: ProgrammaticUserStatus,
    end: Timestamp,
    now: Timestamp,
) -> Decision {
    let message = format!(
        "the user and its Secret were deleted because spec.expireAt is {end}: set a later time to have a new user made"
    );
    end_of_life(o, status, &Refusal::new(Reason::Expired, message), now)
}

/// The class does not allow the user, and wants such users gone.
pub(super) fn revoke(
    o: &Observed,
    status: ProgrammaticUserStatus,
    refusal: &Refusal,
    now: Timestamp,
) -> Decision {
    let message = format!("{}{REVOKED_BY_CLASS}", refusal.message);
    end_of_life(o, status, &Refusal::new(refusal.reason, message), now)
}

/// The annotation `revoke-now` asks that the token dies at once, and the operator cannot replace it because of `refusal`.
pub(super) fn revoke_now(
    o: &Observed,
    status: ProgrammaticUserStatus,
    refusal: &Refusal,
    now: Timestamp,
) -> Decision {
    let message = format!(
        "{} (user and Secret were deleted because annotation {} asks for it)",
        refusal.message,
        crate::api::REVOKE_NOW_ANNOTATION
    );
    end_of_life(o, status, &Refusal::new(refusal.reason, message), now)
}

/// The token has reached the class's maximum age, and cannot be replaced because of `refusal`.
pub(super) fn too_old(
    o: &Observed,
    status: ProgrammaticUserStatus,
    refusal: &Refusal,
    now: Timestamp,
) -> Decision {
    let message = format!(
        "user and Secret were deleted because the token reached the class's rotation.maxAge and could not be replaced ({}): {}. A new user is made when that is put right",
        refusal.reason, refusal.message
    );
    end_of_life(o, status, &Refusal::new(Reason::TooOld, message), now)
}

fn end_of_life(o: &Observed, mut status: ProgrammaticUserStatus, why: &Refusal, now: Timestamp) -> Decision {
    match delete_users(o, &mut status, false, now).and_then(|()| delete_or_release_secrets(o, &status, false))
    {
        Ok(()) => {
            status.journal = Journal {
                attempt_times: std::mem::take(&mut status.journal.attempt_times),
                ..Journal::default()
            };
            status.user_id = None;
            status.secret_name = None;
            status.token_last_digits = None;
            status.token_issued_at = None;
            status.token_ends_at = None;
            status.next_rotation = None;
            Decision::Done(verdict(o, status, None, &Outcome::Stalled(why), now))
        }
        Err(Interrupt::Do(step)) => Decision::Do(*step),
        Err(Interrupt::Refused(refusal)) => {
            Decision::Done(verdict(o, status, None, &Outcome::Stalled(&refusal), now))
        }
        Err(Interrupt::Failed(problem)) => {
            Decision::Done(verdict(o, status, None, &Outcome::Waiting(&problem), now))
        }
    }
}

/// Everything on the platform goes, but for the current user if it is to be kept.
fn delete_users(
    o: &Observed,
    status: &mut ProgrammaticUserStatus,
    keep: bool,
    now: Timestamp,
) -> Result<(), Interrupt> {
    if let Some(pending) = status.journal.pending.clone() {
        match committed_user(o, status, &pending.nonce) {
            Some(user_id) if keep => journal::promote(o, status, &user_id, now),
            // The Secret stays: no slow process may change it any more.
            None if keep => return recovery::give_up(o, None, status, &pending, now).map(drop),
            // Committed or not, it is looked for by its nonce, like one that was given up.
            _ => journal::abandon(status, &pending.nonce),
        }
        return Err(Interrupt::from(Step::Journal(Box::new(status.clone()), None)));
    }
    let journal = status.journal.clone();
    for staged in &o.staged {
        staging::unstage(o, staged)?;
    }
    let current = journal.current.iter().filter(|_| !keep);
    if o.organization.is_none()
        && (current.clone().next().is_some() || !journal.retiring.is_empty() || !journal.abandoned.is_empty())
    {
        return Err(organization_gone(o).into());
    }
    for user in current {
        let deleted = answer(o.answers.deleted.get(&user.user_id), || {
            Step::DeleteUser(user.user_id.clone(), o.marker(&user.nonce))
        })?;
        cleanup::reidentify(status, &user.nonce, deleted)?;
    }
    for old in &journal.retiring {
        let deleted = cleanup::revoke(o, old)?;
        cleanup::reidentify(status, &old.nonce, deleted)?;
    }
    // Where there is a sign of users that the journal does not know, all of this object's are looked for.
    let signs = o.unknown_users.as_ref().is_some_and(|s| !s.is_empty()) || has_unknown_secret(o, status);
    let all = !keep && o.organization.is_some() && (signs || !status.journal.abandoned.is_empty());
    cleanup::clean_up_abandoned(o, status, all)
}

/// A Secret of this object with a token that the journal knows nothing of.
fn has_unknown_secret(o: &Observed, status: &ProgrammaticUserStatus) -> bool {
    let known = |nonce: &String| status.journal.current.as_ref().is_some_and(|c| c.nonce == *nonce);
    [&o.current_secret, &o.next_secret]
        .into_iter()
        .any(|view| match view {
            SecretView::Ours(secret) => secret.nonce.as_ref().is_some_and(|nonce| !known(nonce)),
            SecretView::Absent | SecretView::Foreign(_) => false,
        })
}

/// The operator deletes the Secret last, or releases it.
fn delete_or_release_secrets(
    o: &Observed,
    status: &ProgrammaticUserStatus,
    keep: bool,
) -> Result<(), Interrupt> {
    let record = Retained::new(o, status).filter(|_| keep);
    let keep = record.is_some();
    if let Some(record) = record {
        // Before the Secret becomes the tenant's: from then on, only the record says that there is a user.
        answer(o.answers.recorded.as_ref(), || Step::Record(Box::new(record)))?;
    }
    for view in [&o.current_secret, &o.next_secret] {
        let SecretView::Ours(secret) = view else {
            continue;
        };
        // A Secret without a token is a fence, which is of no more use.
        if keep && secret.nonce.is_some() {
            answer(o.answers.released.as_ref(), || Step::Release(secret.clone()))?;
        } else {
            answer(o.answers.secrets_deleted.get(&secret.name), || {
                Step::DeleteSecret(secret.clone())
            })?;
        }
    }
    Ok(())
}

fn organization_gone(o: &Observed) -> Refusal {
    let status = o.status();
    let name = status.organization_name.unwrap_or_default();
    let user = status.user_id.unwrap_or_default();
    Refusal::new(
        Reason::OrganizationGone,
        format!(
            "Organization {name} is gone, so user {user} cannot be deleted on the platform: create the Organization again, or delete the user there, delete this object, and remove its finalizer {}",
            crate::api::FINALIZER
        ),
    )
}
