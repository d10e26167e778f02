//! Errors of talking to Kubernetes.

use std::time::Duration;

use kube::core::Status;

use crate::api::Reason;
use crate::plan::{Problem, Retry};

/// A failed reconcile: nothing that a status could say, since the status cannot be written either.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object changed in the meantime; the next reconcile sees it.
    #[error("the object changed while it was reconciled")]
    Conflict,
    /// The API server refused or did not answer.
    #[error("cannot {0}: {1}")]
    Kube(&'static str, String),
    /// An object from the API server lacks what every object has.
    #[error("the API server sent an object without {0}")]
    Malformed(&'static str),
    /// The API server took longer than a permit for a create call lasts.
    #[error(
        "the API server took too long to record an attempt to create a user: nothing was sent to the platform"
    )]
    PermitEnded,
    /// A fault of the operator.
    #[error("the operator's own code panicked on this object; the line before says where")]
    Panicked,
}

impl Error {
    /// One word for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Conflict => "Conflict",
            Self::Kube(..) => "KubernetesError",
            Self::Malformed(_) => "MalformedObject",
            Self::PermitEnded => "PermitEnded",
            Self::Panicked => Reason::InternalError.as_str(),
        }
    }

    /// When to try again: at once after a conflict, else after `pause`.
    pub(super) fn again(&self, pause: impl FnOnce() -> Duration) -> Duration {
        match self {
            Self::Conflict => Duration::from_millis(100),
            _ => pause(),
        }
    }

    /// Of a request that is not about a Secret's content.
    pub(super) fn from_kube(doing: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |error| match error {
            kube::Error::Api(status) if status.is_conflict() => Self::Conflict,
            // What is written here holds no token, so that the whole sentence may be shown.
            kube::Error::Api(status) => {
                let sentence: String = status.message.chars().take(500).collect();
                Self::Kube(doing, format!("{}: {sentence}", message_of(&status)))
            }
            other => Self::Kube(doing, describe(&other)),
        }
    }
}

/// Code and reason of a refusal, without its text: the text may quote what was sent, and what was sent may be a
/// token.
pub(super) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => message_of(status),
        kube::Error::SerdeError(_) => "the API server's answer cannot be read".to_owned(),
        _ => "no answer from the API server".to_owned(),
    }
}

/// Code and reason of a refusal.
pub(super) fn message_of(status: &Status) -> String {
    format!("the API server said {} {}", status.code, status.reason)
}

/// A problem with the Secret; `doing` is what it cannot be.
pub(super) fn secret_problem(name: &str, doing: &str, error: &kube::Error) -> Problem {
    Problem {
        reason: Reason::SecretRejected,
        message: format!("Secret {name} cannot be {doing}: {}", describe(error)),
        retry: Retry::Backoff,
    }
}
