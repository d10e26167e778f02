//! The decision against a slow and simple one.

use std::sync::Arc;

use programmatic_users::server::authz::{
    Condition, Decision, Effect, ExpectedValue, Facts, Grant, Operator, Question, Reach, Statement, could,
    decide, depends, matches,
};
use proptest::prelude::*;
use serde_json::json;

/// What attributes can be, and addresses.
const NAMES: &[&str] = &["fits", "Fits", "me", "you", "eve"];

fn naive_matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, _) => text.is_empty(),
        (Some((b'*', rest)), _) => (0..=text.len()).any(|n| naive_matches(rest, &text[n..])),
        (Some((p, rest)), Some((t, more))) => p == t && naive_matches(rest, more),
        (Some(_), None) => false,
    }
}

/// Whether a value surely fits, and whether it possibly does.
fn naive_fits(operator: Operator, value: &str, wanted: &str) -> (bool, bool) {
    let both = |fits: bool| (fits, fits);
    match operator {
        Operator::Equals | Operator::NotEquals => both(value == wanted),
        Operator::EqualsIgnoreCase => both(value.eq_ignore_ascii_case(wanted)),
        Operator::Contains => both((0..value.len()).any(|from| value[from..].starts_with(wanted))),
        // Without an engine: those that the conditions below have, as the whole and in a part.
        Operator::PatternMatch => match wanted {
            "^me$" => both(value == "me"),
            "f?its|m" => (
                matches!(value, "fits" | "its" | "m"),
                value.contains("its") || value.contains('m'),
            ),
            "[a-f]" => (false, value.contains(['e', 'f'])),
            "e.*" => (value.starts_with('e'), value.contains('e')),
            other => panic!("what does {other} fit?"),
        },
    }
}

/// Each comparison is true or false; where that cannot be said, it is what `unsaid` is.
fn naive_holds(condition: &Condition, service: &str, facts: &Facts, unsaid: bool) -> bool {
    let (operator, key, values) = match condition {
        Condition::All(all) => return all.iter().all(|c| naive_holds(c, service, facts, unsaid)),
        Condition::Compare {
            operator,
            key,
            values,
        } => (operator, key, values),
    };
    if !key.starts_with(&format!("{service}:")) {
        return false;
    }
    if facts.attributes.is_empty() {
        return unsaid;
    }
    let found = facts.attributes.get(key);
    let (mut surely, mut possibly) = (false, false);
    for value in values {
        let (operator, wanted) = match value {
            ExpectedValue::Text(text) => (*operator, Some(text.as_str())),
            ExpectedValue::Pattern(pattern) => (*operator, Some(pattern.as_str())),
            ExpectedValue::Email if *operator == Operator::PatternMatch => {
                (Operator::Equals, facts.email.as_deref())
            }
            ExpectedValue::Email => (*operator, facts.email.as_deref()),
        };
        let (sure, may) = match (found, wanted) {
            (Some(found), Some(wanted)) => naive_fits(operator, found, wanted),
            // It equals nothing, and may be unequal to anything.
            _ => (false, operator == Operator::NotEquals),
        };
        surely |= sure;
        possibly |= may;
    }
    match (*operator == Operator::NotEquals, unsaid) {
        (true, true) => !surely,
        (true, false) => !possibly,
        (false, true) => possibly,
        (false, false) => surely,
    }
}

/// Collects every statement that applies, then looks at what is among them.
fn naive(grants: &[Grant], q: Question<'_>) -> bool {
    let mut effects = Vec::new();
    for g in grants {
        let star = g.accounts.contains(&"*".to_owned());
        let whole = g.reach == Reach::Organization && (star || g.accounts.is_empty());
        let holds = match q.account {
            None => whole,
            Some(a) => whole || star || g.accounts.contains(&a.to_owned()),
        };
        for s in g.statements.iter().filter(|_| holds) {
            let action = s
                .actions
                .iter()
                .any(|p| naive_matches(p.as_bytes(), q.action.as_bytes()));
            let (_, id) = q.resource.split_once(':').unwrap();
            let resource = s.resources.iter().any(|p| {
                let text = if p.contains(':') { q.resource } else { id };
                naive_matches(p.as_bytes(), text.as_bytes())
            });
            let (service, _) = q.resource.split_once(':').unwrap();
            let fits = s
                .condition
                .as_ref()
                .is_none_or(|c| naive_holds(c, service, q.facts, s.effect == Effect::Deny));
            if action && resource && fits {
                effects.push((s.effect, g.administrator));
            }
        }
    }
    let denied = effects.iter().any(|(e, _)| *e == Effect::Deny);
    let allowed = effects
        .iter()
        .any(|(e, admin)| *e == Effect::Allow && (*admin || !q.administrator_only));
    allowed && !denied
}

fn condition() -> impl Strategy<Value = Option<Condition>> {
    let own = "${spot:userEmail}";
    let conditions = vec![
        json!({"StringEquals": {"spot:s:name": "fits"}}),
        json!({"StringNotEquals": {"spot:s:name": "fits"}}),
        json!({"StringEquals": {"spot:s:owner": own}}),
        json!({"StringNotEquals": {"spot:s:owner": own}}),
        json!({"StringEquals": {"spot:s:owner": ["me", own]}}),
        json!({"StringNotEquals": {"spot:s:owner": ["me", own]}}),
        json!({"StringNotEquals": {"spot:t:name": "fits"}}),
        json!({"StringContains": {"spot:s:name": "it"}}),
        json!({"StringContains": {"spot:s:owner": ["e", own]}}),
        json!({"StringEqualsIgnoreCase": {"spot:s:name": "FITS"}}),
        json!({"StringEqualsIgnoreCase": {"spot:s:owner": own}}),
        json!({"StringPatternMatch": {"spot:s:owner": "^me$"}}),
        json!({"StringPatternMatch": {"spot:s:name": "f?its|m"}}),
        json!({"StringPatternMatch": {"spot:s:name": ["[a-f]", "e.*"]}}),
        json!({"StringPatternMatch": {"spot:s:owner": own}}),
        json!({"And": [{"StringEquals": {"spot:s:name": "fits"}}, {"StringNotEquals": {"spot:s:owner": own}}]}),
    ];
    prop::option::weighted(
        0.4,
        prop::sample::select(conditions).prop_map(|c| serde_json::from_value(c).unwrap()),
    )
}

fn pick(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(values).prop_map(str::to_owned)
}

fn statement() -> impl Strategy<Value = Statement> {
    let actions = pick(&["*", "*:*", "s:*", "s:read*", "s:readOne", "t:*", "*:delete"]);
    let resources = pick(&["*", "s:*", "s:x1", "x*", "x1", "t:*", "s:x*"]);
    (
        prop::bool::weighted(0.8),
        prop::collection::vec(actions, 1..3),
        prop::collection::vec(resources, 1..3),
        condition(),
    )
        .prop_map(|(allow, actions, resources, condition)| Statement {
            effect: if allow { Effect::Allow } else { Effect::Deny },
            actions,
            resources,
            condition,
        })
}

fn grant() -> impl Strategy<Value = Grant> {
    (
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::collection::vec(pick(&["*", "act-1", "act-2"]), 0..3),
        prop::collection::vec(statement(), 1..4),
    )
        .prop_map(|(organization, administrator, accounts, statements)| Grant {
            policy_id: "p".into(),
            reach: if organization {
                Reach::Organization
            } else {
                Reach::Account
            },
            accounts,
            administrator,
            statements: Arc::from(statements),
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_decision_is_the_naive_one(
        grants in prop::collection::vec(grant(), 0..4),
        action in pick(&["s:readOne", "s:readAll", "s:delete", "t:readOne"]),
        resource in pick(&["s:", "s:x1", "s:x2", "t:y"]),
        account in prop::option::of(pick(&["act-1", "act-2", "act-3"])),
        administrator_only in prop::bool::weighted(0.3),
        name in prop::option::of(pick(NAMES)),
        owner in prop::option::of(pick(NAMES)),
        email in prop::option::of(pick(NAMES)),
    ) {
        let attribute = |key: &str, value: Option<String>| value.map(|value| (key.to_owned(), value));
        let attributes = attribute("s:name", name).into_iter().chain(attribute("s:owner", owner)).collect();
        let facts = Facts { attributes, email };
        let question =
            Question { action: &action, resource: &resource, account: account.as_deref(), administrator_only, facts: &facts };
        let decision = decide(&grants, question);
        prop_assert_eq!(decision.is_allowed(), naive(&grants, question));
        // What is said of all resources of a service holds for each of them.
        let service = resource.split_once(':').unwrap().0;
        let open = Question { resource: &format!("{service}:"), facts: &Facts::default(), ..question };
        prop_assert!(could(&grants, open) || !decision.is_allowed());
        if !depends(&grants, open) && resource.len() > service.len() + 1 {
            prop_assert_eq!(could(&grants, open), decision.is_allowed());
        }
        // The statement that is named is one that says so.
        if let Decision::Allow { statement, .. } = &decision {
            prop_assert!(grants.iter().any(|g| g.statements.get(*statement).is_some_and(|s| s.effect == Effect::Allow)));
        }
    }

    #[test]
    fn patterns_match_like_the_naive_ones(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
        prop_assert_eq!(matches(&pattern, &text), naive_matches(pattern.as_bytes(), text.as_bytes()));
    }
}
