//! Decides what to do next for one `ProgrammaticUser`. Pure: no IO, no clock, no randomness; the same observations give the
//! same decision.
//!
//! A reconcile calls [`next`] again and again. `next` reads what was observed and the answers so far, and returns one
//! [`Step`] to execute, or the [`Verdict`] that ends the reconcile. It is a *replay*: each call starts from the observed status, and
//! what it changes in that status is lost, unless it returns it in a `Journal` step or in the verdict. So nothing here counts calls.
//!
//! The order of the steps is the protocol that keeps tokens from being lost. At each × the process may die:
//!
//! ```text
//! 0. permit               a turn, and a place in the hour's budget, for one request: without it nothing is written
//!      ×                  nothing: the permit ends with the process
//! 1. journal: pending     the status names the attempt before the request
//!      ×                  no user, or one that nothing names: abandon, find it by the nonce, delete it
//! 2. create               the platform creates the user, and shows the token once; the request is sent at most once
//!      ×                  the token is lost: as above
//! 3. Secret               token, user id and nonce in one write: the commit record
//!      ×                  the Secret carries the nonce: roll forward to 4
//! 4. journal: current     the attempt becomes the current user; the user that it replaces becomes retiring
//! ```
//!
//! A user that replaces another, or that has to be in groups, is *staged* between 2 and 3: the operator keeps its token in a Secret
//! of its own namespace, and publishes it when the access is complete and the platform accepts the token.
//!
//! Before it abandons an attempt, the operator puts a tombstone where the attempt would be staged, and fences its Secret, so
//! that no write on its way can stage or publish the token any more. `docs/glossary.md` defines the words, `docs/architecture.md` draws
//! the order of all writes, and `tests/model` checks every order of crashes.

mod access;
mod attempt;
mod checksum;
mod class;
mod cleanup;
mod conditions;
mod consumers;
mod deletion;
mod endpoint;
mod flow;
mod granted;
mod journal;
mod live;
mod marker;
mod observed;
mod recovery;
mod retained;
mod revocation;
mod rotation;
mod schedule;
mod secret_rules;
mod spec;
mod staging;
mod step;
mod template;
#[cfg(test)]
mod tests;
mod user;
mod validation;
mod verdict;
mod window;
mod workload;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{NONCE_ANNOTATION, ProgrammaticUserStatus, Reason, USER_ID_ANNOTATION};
use crate::platform::client::Purpose;
use crate::platform::{UserDetails, UserType};

pub use checksum::{checksum_matches, set_checksum};
pub use class::check as check_class;
pub use conditions::set_conditions;
pub use endpoint::{check_endpoint, check_grant, limits};
pub use marker::{INSTANCE_LEN, Marker, NONCE_LEN, base32, is_instance};
pub use observed::{
    Answer, Answers, Catalog, Committed, Created, Deletion, Found, Observed, OwnSecret, SecretView, Staged,
};
pub use retained::{Fate, Retained};
pub use rotation::{is_asked, is_being_revoked};
pub use spec::{Spec, validate};
pub use step::{Fence, SecretDraft, Step, TokenSource};
pub use template::render;
pub use validation::validate_object;
pub use workload::{Consumers, Level, Pod, Restart, Rollout, Workload};

/// A failure that only a change of an object or of the platform can mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One word.
    pub reason: Reason,
    /// What is wrong, on which object, what to do.
    pub message: String,
    /// Whether a class with `onRevoked: Revoke` has the user deleted because of it.
    pub revokes: bool,
}

impl Refusal {
    /// A refusal. Only what the class does not allow any more ends a user.
    #[must_use]
    pub fn new(reason: Reason, message: String) -> Self {
        Self {
            reason,
            message,
            revokes: reason == Reason::NotAllowed,
        }
    }

    /// The same, with which the token stays, whatever the class says.
    #[must_use]
    pub fn keeping(self) -> Self {
        Self {
            revokes: false,
            ..self
        }
    }
}

/// Something that went wrong on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// One word.
    pub reason: Reason,
    /// What failed, and what the other side said.
    pub message: String,
    /// When trying again makes sense.
    pub retry: Retry,
}

/// When trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Soon, then less and less often.
    Backoff,
    /// Not before this.
    After(Duration),
    /// Only a change of an object or of the platform helps. The operator reconciles the object again from time to time, since it does not see every change.
    OnChange,
}

/// How a reconcile ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The status to leave; it is written only if it differs. `None` after the finalizer was removed: the object may be gone.
    pub status: Option<Box<ProgrammaticUserStatus>>,
    /// When to look again.
    pub requeue: Requeue,
    /// An Event, if something changed that people should hear of.
    pub event: Option<EventDraft>,
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeue {
    /// When something changes.
    OnChange,
    /// After a span that grows from try to try.
    Backoff,
    /// After this span.
    After(Duration),
    /// When the limits of the organization may leave room for one more create call.
    Permit {
        /// What the user is for.
        purpose: Purpose,
        /// Not before this.
        after: Duration,
        /// Something else is due after this span, whether or not there is room.
        latest: Option<Duration>,
    },
    /// A person has to act. Now and then, less and less often, and after this span at the latest: the operator does not see every
    /// change.
    Stalled(Option<Duration>),
}

/// A Kubernetes Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDraft {
    /// Whether a person should act.
    pub warning: bool,
    /// One word.
    pub reason: Reason,
    /// A sentence.
    pub message: String,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Take this step, and ask again.
    Do(Step),
    /// Leave it at that.
    Done(Verdict),
}

/// Decides what to do next. `now` is the local clock: nothing is deleted because of it.
#[must_use]
pub fn next(observed: &Observed, now: Timestamp) -> Decision {
    if observed.user.metadata.deletion_timestamp.is_some() {
        deletion::delete(observed, now)
    } else {
        live::next(observed, now)
    }
}

/// Whether the platform's user is the one of this marker: the guard before every deletion.
#[must_use]
pub fn is_marked(details: &UserDetails, marker: &Marker) -> bool {
    details.user_type == UserType::Programmatic
        && Marker::parse(&details.username).is_some_and(|m| m.is_of(marker))
}

/// The Secret that will carry the token of one user.
fn draft(observed: &Observed, desired: &Spec, nonce: &str, user_id: &str) -> SecretDraft {
    SecretDraft {
        name: desired.secret_name.clone(),
        layout: desired.layout.clone(),
        values: desired.values(),
        template: desired.template.clone(),
        annotations: BTreeMap::from([
            (NONCE_ANNOTATION.to_owned(), nonce.to_owned()),
            (USER_ID_ANNOTATION.to_owned(), user_id.to_owned()),
        ]),
        replace: version(&observed.next_secret),
    }
}

/// The version of a Secret of ours.
fn version(view: &SecretView) -> Option<String> {
    match view {
        SecretView::Ours(secret) => Some(secret.resource_version.clone()),
        SecretView::Absent | SecretView::Foreign(_) => None,
    }
}
