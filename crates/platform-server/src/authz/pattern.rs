//! Regular expressions of conditions.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};

/// Bytes that one may take: they come from callers, and are compiled by each request that they decide.
const LARGEST: usize = 1 << 18;
/// Characters that one may have: what is read takes room, too.
const LONGEST: usize = 512;

/// A regular expression; equal to another one that is written the same.
///
/// The vendor does not say whether it has to be found in a value or to be the whole of it. Where that makes a difference,
/// whether it fits cannot be said.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    /// To be found anywhere, and to be the whole; when it is first asked for, which most requests never do.
    compiled: OnceLock<Option<(Regex, Regex)>>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Nothing is compiled yet.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            compiled: OnceLock::new(),
        }
    }

    /// `None`: it cannot be compiled, and whether it fits can never be said.
    fn compiled(&self) -> Option<&(Regex, Regex)> {
        let compile = |text: &str| {
            let mut builder = RegexBuilder::new(text);
            builder.size_limit(LARGEST).build().ok()
        };
        let both = || {
            if self.text.chars().count() > LONGEST {
                return None;
            }
            // By itself first: with a bracket too many it could be one together with these.
            let anywhere = compile(&self.text)?;
            Some((anywhere, compile(&format!(r"\A(?:{})\z", self.text))?))
        };
        self.compiled.get_or_init(both).as_ref()
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.compiled().is_some()
    }

    /// Whether it fits a value: `None` if it does so in a part of it only.
    #[must_use]
    pub fn fits(&self, value: &str) -> Option<bool> {
        let (anywhere, whole) = self.compiled()?;
        if whole.is_match(value) {
            return Some(true);
        }
        (!anywhere.is_match(value)).then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_whole_or_a_part_or_neither() {
        for (pattern, value, fits) in [
            ("^prod-.*$", "prod-1", Some(true)),
            ("^prod-.*$", "my-prod-1", Some(false)),
            ("prod-.*", "prod-1", Some(true)),
            ("prod", "prod", Some(true)),
            ("^prod-", "prod-1", None),
            ("prod", "prod-1", None),
            ("prod-*", "prod-1", None),
            // The longer one too.
            ("prod|prod-1", "prod-1", Some(true)),
            ("^a$|^b$", "b", Some(true)),
            ("^a|b$", "ac", None),
            ("(?i)PROD", "prod", Some(true)),
            ("", "", Some(true)),
            ("", "prod", None),
        ] {
            assert_eq!(Pattern::new(pattern).fits(value), fits, "{pattern} and {value}");
        }
    }

    #[test]
    fn what_cannot_be_compiled_fits_nobody_knows_what() {
        for text in [
            "*-dev",
            "(",
            "a)|(?:b",
            "[",
            r"(a)\1",
            "(?=a)",
            "a{1000}{1000}{1000}",
            &"a".repeat(LONGEST + 1),
        ] {
            let pattern = Pattern::new(text);
            assert!(!pattern.is_valid(), "{text}");
            assert_eq!(pattern.fits("a"), None, "{text}");
        }
    }
}
