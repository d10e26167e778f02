//! The admin credential: which token is in use, and whether the platform refuses it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::Error;
use crate::Token;

/// One or two tokens, tried in order.
pub(super) struct AdminCredential {
    tokens: Vec<Token>,
    /// Which one is in use.
    used: AtomicUsize,
    /// The refusal of the last one: until a probe is answered nothing else is sent.
    breaker: Mutex<Option<Error>>,
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
            used: AtomicUsize::new(0),
            breaker: Mutex::default(),
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn at(&self, index: usize) -> &Token {
        &self.tokens[index]
    }

    /// The token in use.
    pub(super) fn token(&self) -> &Token {
        self.at(self.used())
    }

    /// Whether it is not the first.
    pub(super) fn uses_previous(&self) -> bool {
        self.used() > 0
    }

    /// All of them, for taking them out of texts.
    pub(super) fn all(&self) -> Vec<&Token> {
        self.tokens.iter().collect()
    }

    /// An error if the credential counts as refused: the platform's own words, the same each time.
    pub(super) fn check(&self) -> Result<(), Error> {
        let breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker.clone().map_or(Ok(()), Err)
    }

    /// The platform does not know the token `used`. If there is no other one, the credential counts as refused, and
    /// a probe begins with the first again.
    pub(super) fn refused(&self, used: usize, error: &Error) -> CredentialFailover {
        if self.used() != used {
            // Another call has found out before.
            return match self.check() {
                Ok(()) => CredentialFailover::TryNext,
                Err(_) => CredentialFailover::Known,
            };
        }
        let next = used + 1;
        if next < self.tokens.len() {
            self.used.store(next, Ordering::Relaxed);
            return CredentialFailover::Switched;
        }
        self.used.store(0, Ordering::Relaxed);
        self.forbidden(error)
    }

    /// The token is known, and not an administrator's.
    pub(super) fn forbidden(&self, error: &Error) -> CredentialFailover {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if breaker.is_some() {
            return CredentialFailover::Known;
        }
        *breaker = Some(error.clone());
        CredentialFailover::New
    }

    /// A probe was answered.
    pub(super) fn accepted(&self) {
        *self.breaker.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
