//! Conditions of statements: what the resource of a request has to be like.
//!
//! The form is the vendor's: operators, in each of them keys such as `spot:elastigroup:name` or
//! `spot:elastigroup:tags/Email`, and for each key a value, a list of values, or the variable `${spot:userEmail}`. Keys of
//! Ocean CD, such as `oceancdNamespace`, have no prefix. Several operators, several keys and the list `And` all have to
//! hold; of several values one is enough. A key is about resources of its own service, and never holds of others.
//!
//! A pattern that fits a part of a value only is one of those things that cannot be said, see [`Pattern`].
//!
//! What is missing (an attribute of the resource, the address of a caller without one) equals nothing. Whether it is unequal
//! to something cannot be said, and of a resource that is not known nothing can: what cannot be said allows nothing, and keeps
//! no statement from denying. The vendor does not publish what it does there.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::pattern::Pattern;

/// Stands for the caller's e-mail address; programmatic users have none.
const EMAIL: &str = "${spot:userEmail}";
/// Lists within lists.
const DEEPEST: usize = 5;
/// The keys without a prefix, all of one service.
const OCEANCD: [&str; 4] = [
    "oceancdWorkloadName",
    "oceancdNamespace",
    "oceancdClusterId",
    "oceancdWorkloadType",
];

/// What is known of the resource and of the caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Value by `service:attribute`.
    pub attributes: BTreeMap<String, String>,
    /// The caller's e-mail address.
    pub email: Option<String>,
}

/// How an attribute is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equals,
    /// `StringNotEquals`: none of the values.
    NotEquals,
    EqualsIgnoreCase,
    Contains,
    /// `StringPatternMatch`: a regular expression, see [`Pattern`].
    PatternMatch,
}

/// What an attribute is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedValue {
    Text(String),
    /// The caller's e-mail address, which is no pattern whatever the operator is.
    Email,
    /// What this fits.
    Pattern(Pattern),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub enum Condition {
    /// All of these.
    All(Vec<Condition>),
    /// One attribute, compared with values.
    Compare {
        operator: Operator,
        /// `service:attribute`
        key: String,
        /// One of these.
        values: Vec<ExpectedValue>,
    },
}

impl TryFrom<Value> for Condition {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        // Of stored ones: a policy from when any pattern was taken must not cost its holders all other rights.
        read(&value, DEEPEST, false).map_err(|(path, words)| format!("{path}{words}"))
    }
}

impl Operator {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "StringEquals" => Self::Equals,
            "StringNotEquals" => Self::NotEquals,
            "StringEqualsIgnoreCase" => Self::EqualsIgnoreCase,
            "StringContains" => Self::Contains,
            "StringPatternMatch" => Self::PatternMatch,
            _ => return None,
        })
    }

    fn fits(self, value: &str, wanted: &str) -> bool {
        match self {
            Self::Equals | Self::NotEquals | Self::PatternMatch => value == wanted,
            Self::EqualsIgnoreCase => value.to_lowercase() == wanted.to_lowercase(),
            Self::Contains => value.contains(wanted),
        }
    }
}

impl Condition {
    /// Reads a condition, or says where (after the place of the condition itself) and why it cannot be read.
    pub fn parse(value: &Value) -> Result<Self, (String, &'static str)> {
        read(value, DEEPEST, true)
    }

    /// How many regular expressions are in it.
    #[must_use]
    pub fn patterns(&self) -> usize {
        match self {
            Self::All(all) => all.iter().map(Self::patterns).sum(),
            Self::Compare { values, .. } => {
                let patterns = values.iter().filter(|v| matches!(v, ExpectedValue::Pattern(_)));
                patterns.count()
            }
        }
    }

    /// Whether it holds of a resource of that service; `None` if too little is known to say so.
    #[must_use]
    pub fn holds(&self, service: &str, facts: &Facts) -> Option<bool> {
        match self {
            Self::All(all) => {
                let each: Vec<_> = all.iter().map(|one| one.holds(service, facts)).collect();
                // Then it does not matter what cannot be said of the others.
                if each.contains(&Some(false)) {
                    return Some(false);
                }
                each.iter().all(Option::is_some).then_some(true)
            }
            Self::Compare { key, .. } if key.split_once(':').is_none_or(|(of, _)| of != service) => {
                Some(false)
            }
            Self::Compare {
                operator,
                key,
                values,
            } => {
                // Every resource that can be looked up has a name.
                if facts.attributes.is_empty() {
                    return None;
                }
                let value = facts.attributes.get(key);
                let missing = (*operator != Operator::NotEquals).then_some(false);
                let fits = |wanted: &ExpectedValue| {
                    let Some(value) = value else { return missing };
                    match wanted {
                        ExpectedValue::Text(text) => Some(operator.fits(value, text)),
                        ExpectedValue::Email => {
                            let email = facts.email.as_ref();
                            email.map_or(missing, |email| Some(operator.fits(value, email)))
                        }
                        ExpectedValue::Pattern(pattern) => pattern.fits(value),
                    }
                };
                let each: Vec<_> = values.iter().map(fits).collect();
                let one = if each.contains(&Some(true)) {
                    Some(true)
                } else {
                    (!each.contains(&None)).then_some(false)
                };
                if *operator == Operator::NotEquals {
                    one.map(|equal| !equal)
                } else {
                    one
                }
            }
        }
    }
}

/// A problem with the value itself.
fn at(words: &'static str) -> (String, &'static str) {
    (String::new(), words)
}

/// Strictly means that patterns have to be regular expressions.
fn read(value: &Value, depth: usize, strict: bool) -> Result<Condition, (String, &'static str)> {
    let operators = value.as_object().ok_or(at("must be an object"))?;
    if operators.is_empty() {
        return Err(at("must contain at least 1 items"));
    }
    let mut all = Vec::new();
    for (name, inner) in operators {
        let below = |(path, words): (String, &'static str)| (format!(".{name}{path}"), words);
        if name == "And" {
            all.push(read_list(inner, depth, strict).map_err(below)?);
        } else if let Some(operator) = Operator::of(name) {
            all.extend(read_keys(operator, inner, strict).map_err(below)?);
        } else {
            let words = "must be one of [StringEquals, StringNotEquals, StringContains, StringEqualsIgnoreCase, StringPatternMatch, And]";
            return Err(below(at(words)));
        }
    }
    Ok(Condition::All(all))
}

fn read_list(list: &Value, depth: usize, strict: bool) -> Result<Condition, (String, &'static str)> {
    let items = list.as_array().filter(|l| !l.is_empty());
    let items = items.ok_or(at("must contain at least 1 items"))?;
    let depth = depth.checked_sub(1).ok_or(at("is nested too deeply"))?;
    let one = |(i, item)| read(item, depth, strict).map_err(|(path, words)| (format!(".{i}{path}"), words));
    items
        .iter()
        .enumerate()
        .map(one)
        .collect::<Result<_, _>>()
        .map(Condition::All)
}

/// The attribute of a key, after its service.
fn attribute(key: &str) -> Option<String> {
    if OCEANCD.contains(&key) {
        return Some(format!("oceancd:{key}"));
    }
    let attribute = key.strip_prefix("spot:")?;
    let (service, name) = attribute.split_once(':')?;
    (!service.is_empty() && !name.is_empty()).then(|| attribute.to_owned())
}

fn read_keys(
    operator: Operator,
    keys: &Value,
    strict: bool,
) -> Result<Vec<Condition>, (String, &'static str)> {
    let keys = keys.as_object().filter(|k| !k.is_empty());
    let keys = keys.ok_or(at("must contain at least 1 items"))?;
    let mut all = Vec::new();
    for (key, value) in keys {
        let wrong = |words| (format!(".{key}"), words);
        let attribute = attribute(key).ok_or(wrong("must be like spot:service:attribute"))?;
        let texts: Option<Vec<&str>> = match value {
            Value::String(one) => Some(vec![one.as_str()]),
            Value::Array(several) => several.iter().map(Value::as_str).collect(),
            _ => None,
        };
        let texts = texts.filter(|t| !t.is_empty());
        let texts = texts.ok_or(wrong("must be a string or a list of strings"))?;
        let wanted = |text: &str| match operator {
            _ if text == EMAIL => ExpectedValue::Email,
            Operator::PatternMatch => ExpectedValue::Pattern(Pattern::new(text)),
            _ => ExpectedValue::Text(text.to_owned()),
        };
        let values: Vec<ExpectedValue> = texts.into_iter().map(wanted).collect();
        let broken =
            |value: &ExpectedValue| matches!(value, ExpectedValue::Pattern(pattern) if !pattern.is_valid());
        if strict && values.iter().any(broken) {
            return Err(wrong("must be a valid regular expression"));
        }
        all.push(Condition::Compare {
            operator,
            key: attribute,
            values,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
