//! The admin credential: which token is in use, and whether the platform refuses it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::Error;
use crate::Token;

/// One or two tokens, tried in order.
pub(super) struct AdminCredential {
    tokens: Vec<Token>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How often the token in use was refused. A call notes it when it takes a token, so that a late refusal of an older
    /// token changes nothing, even after the tokens began with the first again.
    refusals: usize,
    /// The refusal of the last one: until a probe is answered nothing else is sent.
    breaker: Option<Error>,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CredentialFailover {
    /// From now on another token is used.
    Switched,
    /// Another token is used already.
    TryNext,
    /// From now on nothing is sent.
    New,
    /// The same as before.
    Known,
}

impl AdminCredential {
    pub(super) fn new(token: Token, previous: Option<Token>) -> Self {
        Self {
            tokens: [token].into_iter().chain(previous).collect(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often a token was refused so far: the argument of [`Self::at`] and [`Self::refused`].
    pub(super) fn refusals(&self) -> usize {
        self.state().refusals
    }

    /// The token in use after so many refusals.
    pub(super) fn at(&self, refusals: usize) -> &Token {
        &self.tokens[refusals % self.tokens.len()]
    }

    /// The token in use.
    pub(super) fn token(&self) -> &Token {
        self.at(self.refusals())
    }

    /// Whether it is not the first.
    pub(super) fn uses_previous(&self) -> bool {
        !self.refusals().is_multiple_of(self.tokens.len())
    }

    /// All of them, for taking them out of texts.
    pub(super) fn all(&self) -> Vec<&Token> {
        self.tokens.iter().collect()
    }

    /// An error if the credential counts as refused: the platform's own words, the same each time.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.state().breaker.clone().map_or(Ok(()), Err)
    }

    /// The platform does not know the token that was in use after so many refusals. If there is no other one, the credential
    /// counts as refused, and a probe begins with the first again.
    pub(super) fn refused(&self, refusals: usize, error: &Error) -> CredentialFailover {
        let mut state = self.state();
        if state.refusals != refusals {
            // Another call has found out before.
            return match state.breaker {
                None => CredentialFailover::TryNext,
                Some(_) => CredentialFailover::Known,
            };
        }
        state.refusals += 1;
        if !state.refusals.is_multiple_of(self.tokens.len()) {
            return CredentialFailover::Switched;
        }
        state.open(error)
    }

    /// The token is known, and not an administrator's.
    pub(super) fn forbidden(&self, error: &Error) -> CredentialFailover {
        self.state().open(error)
    }

    /// A probe was answered.
    pub(super) fn accepted(&self) {
        self.state().breaker = None;
    }
}

impl State {
    fn open(&mut self, error: &Error) -> CredentialFailover {
        if self.breaker.is_some() {
            return CredentialFailover::Known;
        }
        self.breaker = Some(error.clone());
        CredentialFailover::New
    }
}

#[cfg(test)]
mod tests {
    use super::{AdminCredential, CredentialFailover};
    use crate::Token;
    use crate::client::error::Error;

    fn token(digit: char) -> Option<Token> {
        Token::new(&digit.to_string().repeat(64))
    }

    fn no() -> Error {
        Error::refused("GET /x", 401, None, b"", &[])
    }

    #[test]
    fn the_previous_token_is_used_until_it_is_refused_too() {
        let admin = AdminCredential::new(token('a').unwrap(), token('b'));
        assert!(!admin.uses_previous());
        assert_eq!(admin.refused(0, &no()), CredentialFailover::Switched);
        assert_eq!(admin.token().last_digits(), "bbbb");
        let late = admin.refused(0, &no());
        assert_eq!(
            late,
            CredentialFailover::TryNext,
            "a call that was sent with the first is late"
        );
        assert_eq!(admin.token().last_digits(), "bbbb");
        assert_eq!(admin.refused(1, &no()), CredentialFailover::New);
        assert_eq!(admin.check(), Err(no()));
        assert_eq!(
            admin.token().last_digits(),
            "aaaa",
            "a probe begins with the first"
        );
        let late = admin.refused(0, &no());
        assert_eq!(
            late,
            CredentialFailover::Known,
            "the probe still begins with the first"
        );
        assert_eq!(admin.token().last_digits(), "aaaa");
        admin.accepted();
        assert_eq!(admin.check(), Ok(()));
    }

    #[test]
    fn a_single_token_that_is_refused_is_the_end() {
        let admin = AdminCredential::new(token('a').unwrap(), None);
        assert_eq!(admin.refused(0, &no()), CredentialFailover::New);
        assert_eq!(
            admin.refused(0, &no()),
            CredentialFailover::Known,
            "several calls at one time"
        );
        assert_eq!(admin.check(), Err(no()));
    }
}
