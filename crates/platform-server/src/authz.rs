//! Decides what a caller may do: a pure function of its grants and the question.
//!
//! Nothing is allowed unless a statement allows it, and a denying statement wins over any number of allowing ones.

mod condition;
mod pattern;

use std::sync::Arc;

use serde::Deserialize;

pub use condition::{Condition, ExpectedValue, Facts, Operator};
pub use pattern::Pattern;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Effect {
    Allow,
    /// Takes it away, whatever else gives it.
    Deny,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Statement {
    pub effect: Effect,
    /// `service:action`, `*` stands for any run of characters.
    pub actions: Vec<String>,
    /// `service:id`, or a pattern without a colon, which is for ids of any service.
    pub resources: Vec<String>,
    /// What else has to be true; for a denial, not to be false.
    #[serde(default)]
    pub condition: Option<Condition>,
}

/// Where the statements of a policy can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// In the accounts of the grant only.
    Account,
    /// In the accounts of the grant; without accounts, or with `*`, in the whole organization.
    Organization,
}

/// A policy given to the caller, directly or by a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Names the policy in decisions.
    pub policy_id: String,
    /// From the policy's type.
    pub reach: Reach,
    /// Where it was given; `*` is every account.
    pub accounts: Vec<String>,
    /// The built-in administrator policy: the only one that can carry administrator-only actions.
    pub administrator: bool,
    pub statements: Arc<[Statement]>,
}

/// What a caller wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// `service:action`
    pub action: &'a str,
    /// `service:id`; `service:` for lists and for what does not exist yet, see [`could`].
    pub resource: &'a str,
    /// Where; `None` is the organization itself.
    pub account: Option<&'a str>,
    /// No custom policy, however wide, gives this action.
    pub administrator_only: bool,
    pub facts: &'a Facts,
}

/// The answer and the statement that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed by that statement of that policy.
    Allow {
        policy: String,
        /// Index of the statement in it.
        statement: usize,
    },
    /// Denied by that statement of that policy.
    Deny {
        policy: String,
        /// Index of the statement in it.
        statement: usize,
    },
    /// Denied because nothing allows it.
    Default,
}

impl Decision {
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}

impl Grant {
    fn everywhere(&self) -> bool {
        self.accounts.iter().any(|a| a == "*")
            || (self.reach == Reach::Organization && self.accounts.is_empty())
    }

    /// Whether the grant says anything about that account.
    #[must_use]
    pub fn covers(&self, account: &str) -> bool {
        self.everywhere() || self.accounts.iter().any(|a| a == account)
    }

    fn holds(&self, place: Option<&str>) -> bool {
        match place {
            Some(account) => self.covers(account),
            None => self.reach == Reach::Organization && self.everywhere(),
        }
    }
}

/// Answers a question. The first denying statement decides, else the first allowing one.
#[must_use]
pub fn decide(grants: &[Grant], question: Question<'_>) -> Decision {
    let mut allowed = Decision::Default;
    for grant in grants.iter().filter(|g| g.holds(question.account)) {
        for (index, statement) in grant.statements.iter().enumerate() {
            if !applies(statement, question) {
                continue;
            }
            match statement.effect {
                Effect::Deny => {
                    return Decision::Deny {
                        policy: grant.policy_id.clone(),
                        statement: index,
                    };
                }
                Effect::Allow if question.administrator_only && !grant.administrator => {}
                Effect::Allow if allowed == Decision::Default => {
                    allowed = Decision::Allow {
                        policy: grant.policy_id.clone(),
                        statement: index,
                    };
                }
                Effect::Allow => {}
            }
        }
    }
    allowed
}

/// Whether the caller administers the organization: whether it may give rights to any user.
#[must_use]
pub fn administers(grants: &[Grant]) -> bool {
    let action = "setup:updateUserPoliciesMapping";
    let question = Question {
        action,
        resource: "setup:",
        account: None,
        administrator_only: true,
        facts: &Facts::default(),
    };
    decide(grants, question).is_allowed()
}

/// Whether the caller has any right in an account: a statement allows something there, and none denies the account itself.
#[must_use]
pub fn sees(grants: &[Grant], account: &str) -> bool {
    let something = |g: &Grant| g.statements.iter().any(|s| s.effect == Effect::Allow);
    let question = Question {
        action: "setup:describeAccount",
        resource: &format!("setup:{account}"),
        account: Some(account),
        administrator_only: false,
        facts: &Facts::default(),
    };
    grants.iter().any(|g| g.covers(account) && something(g))
        && !matches!(decide(grants, question), Decision::Deny { .. })
}

/// Whether there can be a resource of the question's service on which the action is allowed: before lists, and before what
/// does not exist yet, nothing is known of the resource. The caller of this decides for each resource afterwards.
#[must_use]
pub fn could(grants: &[Grant], question: Question<'_>) -> bool {
    let service = question
        .resource
        .split_once(':')
        .map_or("", |(service, _)| service);
    let mut allowed = false;
    for grant in grants.iter().filter(|g| g.holds(question.account)) {
        for statement in grant.statements.iter().filter(|s| s.is_about(question.action)) {
            match statement.effect {
                Effect::Deny if statement.condition.is_none() && statement.is_for_all_of(service) => {
                    return false;
                }
                Effect::Deny => {}
                Effect::Allow => allowed |= grant.administrator || !question.administrator_only,
            }
        }
    }
    allowed
}

/// Whether the answer is not the same for all resources of the question's service.
#[must_use]
pub fn depends(grants: &[Grant], question: Question<'_>) -> bool {
    let service = question
        .resource
        .split_once(':')
        .map_or("", |(service, _)| service);
    let about = || {
        let holding = grants.iter().filter(|g| g.holds(question.account));
        let statements = holding.flat_map(|g| g.statements.iter().map(move |s| (g, s)));
        statements.filter(|(_, s)| s.is_about(question.action))
    };
    let always = about().any(|(grant, statement)| {
        statement.effect == Effect::Allow
            && (grant.administrator || !question.administrator_only)
            && statement.condition.is_none()
            && statement.is_for_all_of(service)
    });
    let denied = about().any(|(_, statement)| statement.effect == Effect::Deny);
    could(grants, question) && (denied || !always)
}

impl Statement {
    fn is_about(&self, action: &str) -> bool {
        self.actions.iter().any(|pattern| matches(pattern, action))
    }

    fn is_for_all_of(&self, service: &str) -> bool {
        let all = |id: &str| !id.is_empty() && id.bytes().all(|b| b == b'*');
        self.resources
            .iter()
            .any(|pattern| match pattern.split_once(':') {
                Some((of, id)) => all(id) && matches(of, service),
                None => all(pattern),
            })
    }
}

fn applies(statement: &Statement, question: Question<'_>) -> bool {
    let (service, id) = question
        .resource
        .split_once(':')
        .unwrap_or(("", question.resource));
    // What cannot be said allows nothing, and denies.
    let unsaid = statement.effect == Effect::Deny;
    statement.is_about(question.action)
        && statement.resources.iter().any(|pattern| {
            matches(
                pattern,
                if pattern.contains(':') {
                    question.resource
                } else {
                    id
                },
            )
        })
        && statement
            .condition
            .as_ref()
            .is_none_or(|condition| condition.holds(service, question.facts).unwrap_or(unsaid))
}

/// Compares a text with a pattern in which `*` stands for any run of characters, none included. Linear in
/// practice, and without recursion: patterns come from callers.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (p, t) = (pattern.as_bytes(), text.as_bytes());
    let (mut i, mut j) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while j < t.len() {
        if p.get(i) == Some(&b'*') {
            star = Some((i + 1, j));
            i += 1;
        } else if p.get(i) == Some(&t[j]) {
            i += 1;
            j += 1;
        } else if let Some((after, from)) = star {
            star = Some((after, from + 1));
            i = after;
            j = from + 1;
        } else {
            return false;
        }
    }
    p[i..].iter().all(|c| *c == b'*')
}
