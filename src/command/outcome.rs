//! How a command ends.

use std::io::Write as _;

use super::output::clean;

/// What a command found.
#[derive(Debug)]
pub(super) struct Report {
    /// For standard output.
    pub(super) text: String,
    /// Whether all that was checked is healthy; exit code 3 says that it is not.
    pub(super) healthy: bool,
}

impl Report {
    pub(super) fn new(text: String) -> Self {
        Self { text, healthy: true }
    }

    pub(super) fn of(text: String, healthy: bool) -> Self {
        Self { text, healthy }
    }
}

/// Why a command found nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The flags do not say what to do: exit code 2.
    Usage(String),
    /// Something did not work: exit code 1.
    Failed(String),
}

pub(super) type Outcome = Result<Report, Failure>;

/// One line on standard error.
pub(super) fn say(text: &str) {
    // The reader has closed the pipe and expects no more output.
    let _ = writeln!(std::io::stderr(), "{}", clean(text));
}
