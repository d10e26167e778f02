//! How a decision ends early: by a step whose answer is missing, or by what stands in the way.

use super::{Answer, Problem, Refusal, Step};

/// Why a decision could not be reached.
pub(super) enum Interrupt {
    /// Something has to be done or learned first.
    Do(Box<Step>),
    /// A person has to act.
    Refused(Refusal),
    /// Something went wrong.
    Failed(Problem),
}

impl From<Problem> for Interrupt {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl From<Refusal> for Interrupt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Step> for Interrupt {
    fn from(step: Step) -> Self {
        Self::Do(Box::new(step))
    }
}

/// What goes wrong with what is left of earlier users need not keep the current one from being looked after.
pub(super) fn tolerate_failure(outcome: Result<(), Interrupt>) -> Result<Option<Problem>, Interrupt> {
    match outcome {
        Ok(()) => Ok(None),
        Err(Interrupt::Failed(problem)) => Ok(Some(problem)),
        Err(halt) => Err(halt),
    }
}

/// The answer to a step, the step itself, or what went wrong with it.
pub(super) fn answer<T: Clone>(
    known: Option<&Answer<T>>,
    step: impl FnOnce() -> Step,
) -> Result<T, Interrupt> {
    match known {
        Some(Ok(value)) => Ok(value.clone()),
        Some(Err(problem)) => Err(Interrupt::Failed(problem.clone())),
        None => Err(Interrupt::from(step())),
    }
}
