//! The user and its token, as the platform has them, and the Secret that is to carry the token.

use jiff::{SignedDuration, Timestamp};

use super::flow::{Interrupt, answer};
use super::spec::Spec;
use super::{Observed, Problem, Refusal, Retry, SecretView, Step, TokenSource, is_marked};
use crate::api::{ProgrammaticUserStatus, Reason, SecretValue};
use crate::platform::UserDetails;

/// A token that the platform has not accepted for so long is given up.
pub(super) const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// The user, if the platform has it. One that is not of this object is left alone, whatever journal and Secret say.
pub(super) fn own_user(o: &Observed, user_id: &str, nonce: &str) -> Result<Option<UserDetails>, Interrupt> {
    let details = answer(o.answers.details.get(user_id), || {
        Step::ReadUser(user_id.to_owned())
    })?;
    if details.as_ref().is_some_and(|d| !is_marked(d, &o.marker(nonce))) {
        return Err(Refusal::new(
            Reason::UserNotOurs,
            format!("user {user_id}, which the journal and the Secret name, was not made for this object: nothing is done to it. Delete this object and create it again; find out who changed its status or Secret"),
        )
        .into());
    }
    Ok(details)
}

/// The user of an attempt whose token the Secret carries. A tenant may write the Secret's annotations: they count only where
/// they name the user that is staged, if one is, and none that the journal has for another attempt.
pub(super) fn committed_user(o: &Observed, status: &ProgrammaticUserStatus, nonce: &str) -> Option<String> {
    let user_id = o.secret_with(nonce)?.user_id.clone()?;
    let staged = o.staged(nonce).and_then(|staged| staged.user_id.as_ref());
    let current = status.journal.current.iter().map(|c| (&c.nonce, &c.user_id));
    let retiring = status.journal.retiring.iter().map(|r| (&r.nonce, &r.user_id));
    let is_another = current
        .chain(retiring)
        .any(|(n, id)| n != nonce && *id == user_id);
    (!is_another && staged.is_none_or(|staged| *staged == user_id)).then_some(user_id)
}

/// Where the published token is.
pub(super) fn published(desired: &Spec) -> TokenSource {
    let token = desired
        .layout
        .iter()
        .find(|(_, value)| **value == SecretValue::Token);
    TokenSource::Published {
        secret: desired.secret_name.clone(),
        key: token.map(|(key, _)| key.clone()).unwrap_or_default(),
    }
}

/// Whether the platform accepts the token that is kept there.
pub(super) fn is_accepted(o: &Observed, token: &TokenSource) -> Result<bool, Interrupt> {
    answer(o.answers.verified.get(token), || Step::Verify(token.clone()))
}

pub(super) fn not_accepted() -> Interrupt {
    Interrupt::Failed(Problem {
        reason: Reason::TokenNotAccepted,
        message: "the platform does not accept the new token yet (some platforms need a few seconds)"
            .to_owned(),
        retry: Retry::Backoff,
    })
}

/// A Secret of that name that is not ours, or that nothing can be written into.
pub(super) fn conflict(o: &Observed, name: &str) -> Result<(), Refusal> {
    match &o.next_secret {
        SecretView::Foreign(owner) => {
            let message = format!(
                "Secret {name} {owner}; it is left alone and no user is made: choose another spec.secret.name, or delete that Secret"
            );
            Err(Refusal::new(Reason::SecretConflict, message))
        }
        SecretView::Ours(secret) if secret.immutable => {
            let message = format!(
                "Secret {name} was made immutable, so that its token cannot be replaced: delete that Secret, and one with a new token is made at once"
            );
            Err(Refusal::new(Reason::SecretImmutable, message))
        }
        SecretView::Ours(_) | SecretView::Absent => Ok(()),
    }
}

/// What the platform says of the token. A time that cannot be its own does not count: the token's age is counted from now.
pub(super) fn record_token(status: &mut ProgrammaticUserStatus, details: &UserDetails, now: Timestamp) {
    if let Some(token) = details.tokens.first() {
        status
            .token_last_digits
            .get_or_insert_with(|| token.token_last_digits.clone());
        if status.token_issued_at.is_none() {
            let issued = crate::platform::parse_token_time(&token.created_at, now);
            status.token_issued_at = Some(issued.unwrap_or(now));
        }
    }
}
