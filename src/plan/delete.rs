//! An object that is being deleted: nothing of it may be left on the platform before its finalizer goes.

use jiff::Timestamp;

use super::live::{Remains, remains, settling};
use super::status::{Outcome, rest};
use super::{Again, Deletion, Next, Observed, Problem, Refusal, Rest, SecretView, Step};
use crate::api::{Abandoned, ProgrammaticUserStatus};

pub(super) fn next(o: &Observed, now: Timestamp) -> Next {
    if !o.has_finalizer() || o.learned.finalizer_removed {
        return Next::Stop(Rest {
            status: None,
            again: Again::OnChange,
            event: None,
        });
    }
    let mut status = o.status();
    let blocked = |status: ProgrammaticUserStatus, problem: &Problem| {
        let message = format!("deletion waits: {}", problem.message);
        let problem = Problem {
            reason: "DeletionBlocked",
            message,
            retry: problem.retry,
        };
        Next::Stop(rest(o, status, None, &Outcome::Waiting(&problem), now))
    };
    // Committed or not, an attempt that was pending is looked for by its nonce, like one that was given up.
    if let Some(pending) = status.journal.pending.take() {
        status.journal.abandoned.push(Abandoned { nonce: pending.nonce });
        return Next::Do(Step::Journal(Box::new(status), None));
    }
    let journal = status.journal.clone();
    let known = journal.current.iter().map(|c| (&c.user_id, &c.nonce));
    let known: Vec<_> = known
        .chain(journal.retiring.iter().map(|r| (&r.user_id, &r.nonce)))
        .collect();
    if o.organization.is_none() && (!known.is_empty() || !journal.abandoned.is_empty()) {
        return Next::Stop(rest(
            o,
            status,
            None,
            &Outcome::Stalled(&organization_gone(o)),
            now,
        ));
    }
    for (user_id, nonce) in known {
        match o.learned.deleted.get(user_id) {
            None => return Next::Do(Step::DeleteUser(user_id.clone(), o.marker(nonce))),
            Some(Err(problem)) => return blocked(status, problem),
            Some(Ok(Deletion::Gone)) => {}
            // The journal names somebody else's user: our own is looked for by its marker instead.
            Some(Ok(Deletion::NotOurs)) => {
                let nonce = nonce.clone();
                status.journal.current.take_if(|c| c.nonce == nonce);
                status.journal.retiring.retain(|r| r.nonce != nonce);
                status.journal.abandoned.push(Abandoned { nonce });
                return Next::Do(Step::Journal(Box::new(status), None));
            }
        }
    }
    if !journal.abandoned.is_empty() {
        match remains(o, &mut status, true) {
            Ok(()) => {}
            Err(Remains::Do(step)) => return Next::Do(*step),
            Err(Remains::Failed(problem)) => return blocked(status, &problem),
            Err(Remains::Settling) => return blocked(status, &settling()),
        }
    }
    match (&o.secret, &o.learned.secret_deleted) {
        (SecretView::Ours(secret), None) => Next::Do(Step::DeleteSecret(secret.clone())),
        (SecretView::Ours(_), Some(Err(problem))) => blocked(status, problem),
        _ => Next::Do(Step::RemoveFinalizer),
    }
}

fn organization_gone(o: &Observed) -> Refusal {
    let status = o.status();
    let name = status.organization_name.unwrap_or_default();
    let user = status.user_id.unwrap_or_default();
    Refusal::new(
        "DeletionBlocked",
        format!(
            "deletion waits: Organization {name} is gone, so user {user} cannot be deleted on the platform: create the Organization again, or delete the user there and remove finalizer {}",
            crate::api::FINALIZER
        ),
    )
}
