//! What is left of earlier attempts and of replaced users, and when it may go.

use jiff::Timestamp;

use super::flow::{Interrupt, answer};
use super::user::committed_user;
use super::{Deletion, Marker, Observed, Problem, Retry, Step, consumers, rotation, schedule, staging};
use crate::api::{Abandoned, ProgrammaticUserStatus, Reason, Retiring};

fn settling(o: &Observed) -> Problem {
    Problem {
        reason: Reason::Recovering,
        message:
            "an earlier attempt ended without a certain answer: waiting until none of it can appear any more"
                .to_owned(),
        retry: Retry::After(o.settle_recheck()),
    }
}

/// An attempt that was given up although its token is in the Secret: pods may have it, so that its user goes as any other
/// that is replaced. The order in which attempts are given up does not let this happen; should it, no token that is in
/// use may die of it.
pub(super) fn finish_publication(
    o: &Observed,
    status: &mut ProgrammaticUserStatus,
    now: Timestamp,
) -> Result<(), Interrupt> {
    let carried = |a: &Abandoned| Some((a.nonce.clone(), committed_user(o, status, &a.nonce)?));
    let Some((nonce, user_id)) = status.journal.abandoned.iter().find_map(carried) else {
        return Ok(());
    };
    status.journal.abandoned.retain(|a| a.nonce != nonce);
    status.journal.retiring.push(Retiring {
        nonce,
        user_id,
        not_before: schedule::overlap_ends(o, o.time(now)),
        not_after: None,
        replaced_at: None,
        secret_name: None,
        granted: None,
    });
    Err(Interrupt::from(Step::Journal(Box::new(status.clone()), None)))
}

/// Where `revoke-now` asks that old tokens die at once, those of earlier replacements do not wait for the next one.
pub(super) fn expedite_retiring(o: &Observed, status: &mut ProgrammaticUserStatus) -> Result<(), Interrupt> {
    let Some(now) = o.platform_now.filter(|_| rotation::is_revoked(o, status)) else {
        return Ok(());
    };
    let mut late = status
        .journal
        .retiring
        .iter_mut()
        .filter(|r| r.not_before > now || consumers::latest(o, r).is_some_and(|at| at > now))
        .peekable();
    if late.peek().is_none() {
        return Ok(());
    }
    late.for_each(|old| old.revoke(now));
    Err(Interrupt::from(Step::Journal(Box::new(status.clone()), None)))
}

/// Deletes what given-up attempts left behind, and forgets an attempt once nothing of it can appear any more.
///
/// The list of users is read after the journal was, and only attempts that the journal held then are forgotten.
/// With `all`, users of this object go that the journal does not know, too: nothing of it may stay. One whose short marker may
/// be another object's stays, and the Organization reports it.
pub(super) fn clean_up_abandoned(
    o: &Observed,
    status: &mut ProgrammaticUserStatus,
    all: bool,
) -> Result<(), Interrupt> {
    if status.journal.abandoned.is_empty() && !all {
        return Ok(());
    }
    let listed = match &o.answers.listed {
        None => return Err(Interrupt::from(Step::ListUsers)),
        Some(Err(problem)) => return Err(Interrupt::Failed(problem.clone())),
        Some(Ok(listed)) => listed,
    };
    let kept = |nonce: &str| {
        let journal = &status.journal;
        journal.current.as_ref().is_some_and(|c| c.nonce == nonce)
            || journal.retiring.iter().any(|r| r.nonce == nonce)
    };
    for user in listed {
        let Some(marker) = Marker::parse(&user.username) else {
            continue;
        };
        let given_up = status.journal.abandoned.iter().any(|a| a.nonce == marker.nonce);
        // By its digest alone a user goes only where the digest is no other object's.
        let alone = !(marker.is_short() && o.answers.shared_digest);
        let unknown = all && alone && !kept(&marker.nonce);
        if !marker.is_of(&o.marker(&marker.nonce)) || !(given_up || unknown) {
            continue;
        }
        match o.answers.deleted.get(&*user.user_id) {
            None => {
                let step = Step::DeleteUser(user.user_id.to_string(), marker);
                return Err(Interrupt::from(step));
            }
            Some(Err(problem)) => return Err(Interrupt::Failed(problem.clone())),
            Some(Ok(_)) => {}
        }
    }
    // Nothing staged may outlive its attempt, and nothing that bars it goes earlier.
    for staged in &o.staged {
        let given_up = status.journal.abandoned.iter().any(|a| a.nonce == staged.nonce);
        if given_up && (staged.user_id.is_some() || o.expired_attempts.contains(&staged.nonce)) {
            staging::unstage(o, staged)?;
        }
    }
    status
        .journal
        .abandoned
        .retain(|a| !o.expired_attempts.contains(&a.nonce));
    if status.journal.abandoned.is_empty() {
        Ok(())
    } else {
        Err(Interrupt::Failed(settling(o)))
    }
}

/// Deletes replaced users whose overlap is over and that no pod keeps, with the Secret that was theirs alone. Never one
/// whose token the Secret carries, whatever the journal says; but a revoked one goes all the same: a tenant may write into its
/// Secret which attempt it carries (`plan::tests::forgery`).
pub(super) fn delete_retired(o: &Observed, status: &mut ProgrammaticUserStatus) -> Result<(), Interrupt> {
    delete_replaced(o, status, |_| true)
}

/// The same of those that are revoked: these wait for nothing else that the object needs.
pub(super) fn delete_revoked(o: &Observed, status: &mut ProgrammaticUserStatus) -> Result<(), Interrupt> {
    delete_replaced(o, status, Retiring::is_revoked)
}

fn delete_replaced(
    o: &Observed,
    status: &mut ProgrammaticUserStatus,
    which: impl Fn(&Retiring) -> bool,
) -> Result<(), Interrupt> {
    let Some(now) = o.platform_now else {
        return Ok(());
    };
    for old in status.journal.retiring.clone().into_iter().filter(which) {
        let carried = !old.is_revoked() && o.secret_with(&old.nonce).is_some();
        let current = status.journal.current.as_ref();
        let in_use = current.is_some_and(|c| c.nonce == old.nonce || c.user_id == old.user_id);
        let due = old.not_before <= now && !carried && !in_use;
        if due && !consumers::keep(o, status, &old, now)? {
            let deletion = revoke(o, &old)?;
            reidentify(status, &old.nonce, deletion)?;
            status.journal.retiring.retain(|r| r.nonce != old.nonce);
        }
    }
    Ok(())
}

/// Where the journal names a user without our marker, the operator finds its own user by the marker instead.
pub(super) fn reidentify(
    status: &mut ProgrammaticUserStatus,
    nonce: &str,
    deletion: Deletion,
) -> Result<(), Interrupt> {
    if deletion == Deletion::Gone {
        return Ok(());
    }
    status.journal.current.take_if(|c| c.nonce == nonce);
    status.journal.retiring.retain(|r| r.nonce != nonce);
    status.journal.abandoned.push(Abandoned {
        nonce: nonce.to_owned(),
    });
    Err(Interrupt::from(Step::Journal(Box::new(status.clone()), None)))
}

/// Deletes one replaced user and the Secret that was its alone.
pub(super) fn revoke(o: &Observed, old: &crate::api::Retiring) -> Result<Deletion, Interrupt> {
    let deletion = answer(o.answers.deleted.get(&old.user_id), || {
        Step::DeleteUser(old.user_id.clone(), o.marker(&old.nonce))
    })?;
    if let Some(name) = &old.secret_name {
        let (name, nonce) = (name.clone(), old.nonce.clone());
        let known = o.answers.old_secrets_deleted.get(&(name.clone(), nonce.clone()));
        answer(known, || Step::DeleteOldSecret { name, nonce })?;
    }
    Ok(deletion)
}
