//! A token in the operator's own namespace: published when the platform accepts it, then deleted.

use super::flow::{Interrupt, answer};
use super::spec::Spec;
use super::user::{is_accepted, not_accepted};
use super::{Committed, Observed, Staged, Step, TokenSource, draft};

/// The token has been seen to work before pods may see it; the Secret is then the record, and nothing stays staged.
pub(super) fn publish(o: &Observed, desired: &Spec, nonce: &str, user_id: &str) -> Result<(), Interrupt> {
    if !is_accepted(o, &TokenSource::Staged(nonce.to_owned()))? {
        return Err(not_accepted());
    }
    match &o.answers.published {
        None => {
            let step = Step::Publish(nonce.to_owned(), draft(o, desired, nonce, user_id));
            return Err(Interrupt::from(step));
        }
        Some(Committed::Yes) => {}
        // It is staged still: the next reconcile looks at the Secrets and decides.
        Some(Committed::No(problem) | Committed::Unknown(problem)) => {
            return Err(Interrupt::Failed(problem.clone()));
        }
    }
    o.staged(nonce).map_or(Ok(()), |staged| unstage(o, staged))
}

/// Deletes what was staged of an attempt.
pub(super) fn unstage(o: &Observed, staged: &Staged) -> Result<(), Interrupt> {
    answer(o.answers.unstaged.get(&staged.nonce), || {
        Step::Unstage(staged.clone())
    })
}
