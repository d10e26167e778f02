//! Conditions of statements: what the resource of a request has to be like.
//!
//! The form is the vendor's: operators, in each of them keys such as `spot:elastigroup:name` or
//! `spot:elastigroup:tags/Email`, and for each key a value, a list of values, or the variable `${spot:userEmail}`.
//! Several operators, several keys and the list `And` all have to hold; of several values one is enough. A key is about
//! resources of its own service, and never holds of others.
//!
//! What is missing (an attribute of the resource, the address of a caller without one) equals nothing. Whether it is unequal
//! to something cannot be said, and of a resource that is not known nothing can: what cannot be said allows nothing, and keeps
//! no statement from denying. The vendor does not publish what it does there.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::matches;

/// Stands for the caller's e-mail address; programmatic users have none.
const EMAIL: &str = "${spot:userEmail}";
/// Lists within lists.
const DEEPEST: usize = 5;

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
    /// `StringEquals`
    Equals,
    /// `StringNotEquals`: none of the values.
    NotEquals,
    /// `StringEqualsIgnoreCase`
    EqualsIgnoreCase,
    /// `StringContains`
    Contains,
    /// `StringPatternMatch`, where `*` stands for any run of characters.
    PatternMatch,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub enum Condition {
    /// All of these.
    All(Vec<Condition>),
    /// One attribute, compared with values.
    Compare {
        /// How.
        operator: Operator,
        /// `service:attribute`
        key: String,
        /// One of these.
        values: Vec<String>,
    },
}

impl TryFrom<Value> for Condition {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        Self::parse(&value).map_err(|(path, words)| format!("{path}{words}"))
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
            Self::Equals | Self::NotEquals => value == wanted,
            Self::EqualsIgnoreCase => value.to_lowercase() == wanted.to_lowercase(),
            Self::Contains => value.contains(wanted),
            Self::PatternMatch => matches(wanted, value),
        }
    }
}

impl Condition {
    /// Reads a condition, or says where (after the place of the condition itself) and why it cannot be read.
    pub fn parse(value: &Value) -> Result<Self, (String, &'static str)> {
        read(value, DEEPEST)
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
                let known = |wanted: &String| match wanted.as_str() {
                    EMAIL => facts.email.clone(),
                    _ => Some(wanted.clone()),
                };
                let fits = |wanted: String| value.is_some_and(|v| operator.fits(v, &wanted));
                let one = values.iter().filter_map(known).any(fits);
                let all_known = value.is_some() && values.iter().all(|v| known(v).is_some());
                match operator {
                    Operator::NotEquals if one => Some(false),
                    Operator::NotEquals => all_known.then_some(true),
                    _ => Some(one),
                }
            }
        }
    }
}

/// A problem with the value itself.
fn at(words: &'static str) -> (String, &'static str) {
    (String::new(), words)
}

fn read(value: &Value, depth: usize) -> Result<Condition, (String, &'static str)> {
    let operators = value.as_object().ok_or(at("must be an object"))?;
    if operators.is_empty() {
        return Err(at("must contain at least 1 items"));
    }
    let mut all = Vec::new();
    for (name, inner) in operators {
        let below = |(path, words): (String, &'static str)| (format!(".{name}{path}"), words);
        if name == "And" {
            all.push(read_list(inner, depth).map_err(below)?);
        } else if let Some(operator) = Operator::of(name) {
            all.extend(read_keys(operator, inner).map_err(below)?);
        } else {
            let words = "must be one of [StringEquals, StringNotEquals, StringContains, StringEqualsIgnoreCase, StringPatternMatch, And]";
            return Err(below(at(words)));
        }
    }
    Ok(Condition::All(all))
}

fn read_list(list: &Value, depth: usize) -> Result<Condition, (String, &'static str)> {
    let items = list.as_array().filter(|l| !l.is_empty());
    let items = items.ok_or(at("must contain at least 1 items"))?;
    let depth = depth.checked_sub(1).ok_or(at("is nested too deeply"))?;
    let one = |(i, item)| read(item, depth).map_err(|(path, words)| (format!(".{i}{path}"), words));
    items
        .iter()
        .enumerate()
        .map(one)
        .collect::<Result<_, _>>()
        .map(Condition::All)
}

fn read_keys(operator: Operator, keys: &Value) -> Result<Vec<Condition>, (String, &'static str)> {
    let keys = keys.as_object().filter(|k| !k.is_empty());
    let keys = keys.ok_or(at("must contain at least 1 items"))?;
    let mut all = Vec::new();
    for (key, value) in keys {
        let wrong = |words| (format!(".{key}"), words);
        let attribute = key.strip_prefix("spot:").filter(|rest| {
            let parts = rest.split_once(':');
            parts.is_some_and(|(service, name)| !service.is_empty() && !name.is_empty())
        });
        let attribute = attribute.ok_or(wrong("must be like spot:service:attribute"))?;
        let values = match value {
            Value::String(one) => vec![one.clone()],
            Value::Array(several) => {
                let texts: Option<Vec<String>> =
                    several.iter().map(|v| v.as_str().map(str::to_owned)).collect();
                texts
                    .filter(|t| !t.is_empty())
                    .ok_or(wrong("must be a string or a list of strings"))?
            }
            _ => return Err(wrong("must be a string or a list of strings")),
        };
        all.push(Condition::Compare {
            operator,
            key: attribute.to_owned(),
            values,
        });
    }
    Ok(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(pairs: &[(&str, &str)], email: Option<&str>) -> Facts {
        Facts {
            attributes: pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            email: email.map(str::to_owned),
        }
    }

    #[test]
    fn each_operator() {
        let name = [("elastigroup:name", "web-prod")];
        for (condition, holds) in [
            (
                json!({"StringEquals": {"spot:elastigroup:name": "web-prod"}}),
                Some(true),
            ),
            (
                json!({"StringEquals": {"spot:elastigroup:name": ["a", "web-prod"]}}),
                Some(true),
            ),
            (
                json!({"StringEquals": {"spot:elastigroup:name": "web"}}),
                Some(false),
            ),
            (
                json!({"StringNotEquals": {"spot:elastigroup:name": "web"}}),
                Some(true),
            ),
            (
                json!({"StringNotEquals": {"spot:elastigroup:name": ["web", "web-prod"]}}),
                Some(false),
            ),
            (
                json!({"StringEqualsIgnoreCase": {"spot:elastigroup:name": "WEB-Prod"}}),
                Some(true),
            ),
            (
                json!({"StringContains": {"spot:elastigroup:name": "prod"}}),
                Some(true),
            ),
            (
                json!({"StringPatternMatch": {"spot:elastigroup:name": "web-*"}}),
                Some(true),
            ),
            (
                json!({"StringPatternMatch": {"spot:elastigroup:name": "*-dev"}}),
                Some(false),
            ),
            (
                json!({"StringContains": {"spot:elastigroup:name": "web"}, "StringPatternMatch": {"spot:elastigroup:name": "*dev"}}),
                Some(false),
            ),
            (
                json!({"And": [{"StringContains": {"spot:elastigroup:name": "web"}}, {"StringContains": {"spot:elastigroup:name": "prod"}}]}),
                Some(true),
            ),
            (
                json!({"StringNotEquals": {"spot:ocean:name": "web"}}),
                Some(false),
            ),
        ] {
            let parsed = Condition::parse(&condition).unwrap();
            assert_eq!(
                parsed.holds("elastigroup", &facts(&name, None)),
                holds,
                "{condition}"
            );
        }
    }

    #[test]
    fn what_is_missing_equals_nothing_and_is_not_known_to_be_unequal() {
        let name = |operator: &str, wanted: &str| json!({operator: {"spot:elastigroup:name": wanted}});
        let tag = |operator: &str| json!({operator: {"spot:elastigroup:tags/Email": "x"}});
        let (equal, other) = ("StringEquals", "StringNotEquals");
        let web = facts(&[("elastigroup:name", "web")], None);
        for (condition, holds) in [
            (tag(equal), Some(false)),
            (tag("StringContains"), Some(false)),
            (tag(other), None),
            (json!({"And": [name(equal, "web"), tag(other)]}), None),
            (json!({"And": [tag(other), name(equal, "web")]}), None),
            // Whatever the other one is.
            (json!({"And": [tag(other), name(equal, "db")]}), Some(false)),
            (json!({"And": [name(equal, "db"), tag(other)]}), Some(false)),
        ] {
            let parsed = Condition::parse(&condition).unwrap();
            assert_eq!(parsed.holds("elastigroup", &web), holds, "{condition}");
            let unknown = parsed.holds("elastigroup", &Facts::default());
            assert_eq!(unknown, None, "{condition} of an unknown resource");
            let elsewhere = parsed.holds("ocean", &web);
            assert_eq!(elsewhere, Some(false), "{condition} is about other resources");
        }
    }

    #[test]
    fn the_caller_by_e_mail() {
        let tagged = [("elastigroup:tags/Email", "ann@example.com")];
        for (operator, wanted, of_ann, of_bob, of_robot) in [
            ("StringEquals", json!(EMAIL), true, false, Some(false)),
            ("StringNotEquals", json!(EMAIL), false, true, None),
            // Whoever asks.
            (
                "StringEquals",
                json!([EMAIL, "ann@example.com"]),
                true,
                true,
                Some(true),
            ),
            (
                "StringNotEquals",
                json!([EMAIL, "ann@example.com"]),
                false,
                false,
                Some(false),
            ),
        ] {
            let condition = json!({operator: {"spot:elastigroup:tags/Email": wanted}});
            let parsed = Condition::parse(&condition).unwrap();
            let holds = |email| parsed.holds("elastigroup", &facts(&tagged, email));
            assert_eq!(holds(Some("ann@example.com")), Some(of_ann), "{condition}");
            assert_eq!(holds(Some("bob@example.com")), Some(of_bob), "{condition}");
            assert_eq!(
                holds(None),
                of_robot,
                "{condition}: a programmatic user has no address"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_place() {
        for (condition, place) in [
            (json!([]), ""),
            (json!({}), ""),
            (json!({"StringLike": {}}), ".StringLike"),
            (json!({"StringEquals": {}}), ".StringEquals"),
            (json!({"StringEquals": {"name": "x"}}), ".StringEquals.name"),
            (
                json!({"StringEquals": {"spot:elastigroup:name": []}}),
                ".StringEquals.spot:elastigroup:name",
            ),
            (
                json!({"And": [{"StringEquals": {"spot:x:y": 1}}]}),
                ".And.0.StringEquals.spot:x:y",
            ),
            (
                json!({"And": [{"And": [{"And": [{"And": [{"And": [{"And": [{"StringEquals": {"spot:x:y": "z"}}]}]}]}]}]}]}),
                ".And.0.And.0.And.0.And.0.And.0.And",
            ),
        ] {
            assert_eq!(Condition::parse(&condition).unwrap_err().0, place, "{condition}");
        }
    }
}
