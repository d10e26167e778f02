//! The one type that holds a token.

use serde::Deserialize;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A bearer token in memory.
///
/// It can neither be printed, serialised nor cloned, and its memory is wiped when it is dropped. The only ways
/// out are [`Token::expose`], which each use has to justify, and [`Token::last_digits`].
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Token(Box<str>);

impl Token {
    /// Takes a token, without the white space around it: a trailing newline in a file or Secret would make HTTP
    /// clients refuse the header. `None` if nothing printable is left or if it holds anything but visible ASCII.
    #[must_use]
    pub fn new(raw: &str) -> Option<Self> {
        let trimmed = raw.trim();
        let usable = !trimmed.is_empty() && trimmed.bytes().all(|b| b.is_ascii_graphic());
        usable.then(|| Self(trimmed.into()))
    }

    /// The token itself, for an `Authorization` header, a hash or the data of the Secret; for nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last four characters: what the platform itself shows of a token later on. Empty for a token so short
    /// that four characters would give it away.
    #[must_use]
    pub fn last_digits(&self) -> &str {
        if self.0.len() < 16 {
            ""
        } else {
            &self.0[self.0.len() - 4..]
        }
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Token;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a token")
            }
            // The error must not carry the value: serde's own `invalid_value` would print it.
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Token, E> {
                Token::new(v).ok_or_else(|| E::custom("not a usable token"))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn white_space_is_cut_and_nonsense_refused() {
        assert_eq!(
            Token::new(" abc\n").map(|t| t.expose().to_owned()).as_deref(),
            Some("abc")
        );
        assert!(Token::new(" \n").is_none());
        assert!(Token::new("a b").is_none());
        assert!(Token::new("a\u{e9}").is_none());
    }

    #[test]
    fn a_short_token_shows_no_digits() {
        assert_eq!(
            Token::new("0123456789")
                .map(|t| t.last_digits().to_owned())
                .as_deref(),
            Some("")
        );
        assert_eq!(
            Token::new("0123456789abcdef")
                .map(|t| t.last_digits().to_owned())
                .as_deref(),
            Some("cdef")
        );
    }

    #[test]
    fn a_decoding_error_does_not_quote_the_value() {
        let error = serde_json::from_str::<Token>("\"very secret\"")
            .err()
            .map(|e| e.to_string());
        assert!(
            error.as_deref().is_some_and(|e| !e.contains("secret")),
            "{error:?}"
        );
        let error = serde_json::from_str::<Token>("12345678901234")
            .err()
            .map(|e| e.to_string());
        assert!(error.is_some());
    }
}
