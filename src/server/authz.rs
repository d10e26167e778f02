//! Who may do what: one pure function.

use serde::{Deserialize, Serialize};

/// A policy document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// What it allows and denies.
    pub statements: Vec<Statement>,
}

/// One statement of a policy document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// `ALLOW` or `DENY`.
    pub effect: Effect,
    /// `service:action`, with `*`.
    pub actions: Vec<String>,
    /// `service:id` or `*`, with `*`.
    pub resources: Vec<String>,
}

/// What a statement does to what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Effect {
    /// Allows it, unless another statement denies it.
    Allow,
    /// Denies it, whatever else allows it.
    Deny,
}

/// A policy and where it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The policy's id.
    pub policy: String,
    /// Account ids, or `"*"`.
    pub accounts: Vec<String>,
    /// Its document.
    pub document: Document,
}

impl Grant {
    /// Whether it holds in `account`; for what belongs to no account only a grant for all accounts holds.
    #[must_use]
    pub fn holds_in(&self, account: Option<&str>) -> bool {
        self.accounts
            .iter()
            .any(|a| a == "*" || Some(a.as_str()) == account)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `service:action`.
    pub action: &'a str,
    /// `service:id`, or `*` for what has no id yet.
    pub resource: &'a str,
    /// The account that it belongs to; `None`: to the organization.
    pub account: Option<&'a str>,
}

/// The answer, and the policy that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed by this policy.
    Allowed(String),
    /// Denied by this policy, or, without one, since nothing allows it.
    Denied(Option<String>),
}

impl Decision {
    /// Whether it may be done.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// Decides: nothing is allowed unless a statement allows it, and a denial wins.
#[must_use]
pub fn decide(grants: &[Grant], request: Request) -> Decision {
    let mut allowed = None;
    for grant in grants.iter().filter(|g| g.holds_in(request.account)) {
        for statement in &grant.document.statements {
            let matches = statement.actions.iter().any(|a| matches(a, request.action))
                && statement.resources.iter().any(|r| matches(r, request.resource));
            match (matches, statement.effect) {
                (true, Effect::Deny) => return Decision::Denied(Some(grant.policy.clone())),
                (true, Effect::Allow) => {
                    allowed.get_or_insert_with(|| grant.policy.clone());
                }
                (false, _) => {}
            }
        }
    }
    allowed.map_or(Decision::Denied(None), Decision::Allowed)
}

/// Whether `pattern` matches all of `text`; `*` stands for any run of characters, also none.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    let mut rest = rest;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Decision, Document, Effect, Grant, Request, Statement, decide, matches};

    /// The obvious, slow way.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|i| naive(rest, &text[i..])),
            Some((c, rest)) => text.first() == Some(c) && naive(rest, &text[1..]),
        }
    }

    fn statement() -> impl Strategy<Value = Statement> {
        let word = "[ab*]{1,3}:[ab*]{1,3}";
        (
            any::<bool>(),
            prop::collection::vec(word, 1..3),
            prop::collection::vec("(\\*|[ab*]{1,3}:[ab*]{1,3})", 1..3),
        )
            .prop_map(|(allow, actions, resources)| Statement {
                effect: if allow { Effect::Allow } else { Effect::Deny },
                actions,
                resources,
            })
    }

    proptest! {
        #[test]
        fn wildcards_match_as_the_naive_way_does(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&pattern, &text), naive(&p, &t));
        }

        #[test]
        fn decisions_are_those_of_the_naive_way(
            documents in prop::collection::vec((prop::collection::vec(statement(), 0..4), prop::sample::select(vec!["*", "act-1", "act-2"])), 0..4),
            action in "[ab]{1,2}:[ab]{1,2}", resource in "[ab]{1,2}:[ab]{1,2}", account in prop::option::of(Just("act-1")),
        ) {
            let grants: Vec<Grant> = documents.iter().enumerate().map(|(i, (statements, account))| Grant {
                policy: i.to_string(), accounts: vec![(*account).to_owned()], document: Document { statements: statements.clone() },
            }).collect();
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            let hit = |s: &Statement| s.actions.iter().any(|a| naive(&chars(a), &chars(&action)))
                && s.resources.iter().any(|r| naive(&chars(r), &chars(&resource)));
            let live = documents.iter().filter(|(_, a)| *a == "*" || Some(*a) == account).flat_map(|(s, _)| s);
            let denied = live.clone().any(|s| s.effect == Effect::Deny && hit(s));
            let allowed = live.clone().any(|s| s.effect == Effect::Allow && hit(s));
            let decision = decide(&grants, Request { action: &action, resource: &resource, account });
            prop_assert_eq!(decision.is_allowed(), allowed && !denied);
            prop_assert!(!matches!(decision, Decision::Denied(Some(_))) || denied);
        }
    }
}
