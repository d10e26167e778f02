//! What callers of the platform write into policies.

use programmatic_users::server::authz::{
    Condition, Facts, Grant, Pattern, Question, Reach, Statement, could, decide, depends, matches, sees,
};
use serde_json::Value;

use super::{first_line, text};

fn facts() -> Facts {
    let attributes = [
        ("elastigroup:name", "web-prod"),
        ("elastigroup:tags/Email", "a@example.com"),
    ];
    Facts {
        attributes: attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        email: Some("a@example.com".to_owned()),
    }
}

/// The JSON of a policy's statements. What is allowed could be, and no policy but the built-in one gives what is an
/// administrator's.
pub fn policy(data: &[u8]) {
    let Ok(Value::Array(all)) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let mut statements: Vec<Statement> = Vec::new();
    for value in all {
        if let Some(condition) = value.get("condition") {
            let strict = Condition::parse(condition);
            let stored = serde_json::from_value::<Condition>(condition.clone());
            assert!(
                strict.is_err() || stored.is_ok(),
                "what is taken cannot be read again: {condition}"
            );
            if let Ok(condition) = strict {
                let _ = condition.holds("elastigroup", &Facts::default());
            }
        }
        statements.extend(serde_json::from_value(value).ok());
    }
    let facts = facts();
    let grants = [Grant {
        policy_id: "pol-1".to_owned(),
        reach: Reach::Account,
        accounts: vec!["act-1".to_owned()],
        administrator: false,
        statements: statements.into(),
    }];
    for (resource, account) in [
        ("elastigroup:sig-1", "act-1"),
        ("setup:u-1", "act-1"),
        ("elastigroup:sig-1", "act-2"),
    ] {
        let question = Question {
            action: "elastigroup:createGroup",
            resource,
            account: Some(account),
            administrator_only: false,
            facts: &facts,
        };
        let allowed = decide(&grants, question).is_allowed();
        assert!(
            !allowed || (could(&grants, question) && account == "act-1"),
            "{resource} in {account}"
        );
        let _ = (depends(&grants, question), sees(&grants, account));
        let administrators = Question {
            administrator_only: true,
            ..question
        };
        assert!(!decide(&grants, administrators).is_allowed());
    }
}

/// Lines: a pattern, and what it is compared with.
pub fn pattern(data: &[u8]) {
    let (pattern, value) = first_line(data);
    let value = text(value);
    let compiled = Pattern::new(&pattern);
    assert_eq!(compiled.as_str(), pattern);
    assert!(
        compiled.is_valid() || compiled.fits(&value).is_none(),
        "{pattern:?}"
    );
    let fits = matches(&pattern, &value);
    assert!(fits || pattern != value, "{pattern:?} does not fit itself");
    assert!(matches(&format!("*{pattern}*"), &format!("a{value}b")) || !fits);
    assert!(!pattern.bytes().all(|b| b == b'*') || pattern.is_empty() || fits);
}
