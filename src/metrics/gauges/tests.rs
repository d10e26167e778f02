use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{Gauges, UserGauges};
use crate::api::ProgrammaticUser;
use crate::metrics::UserFacts;

const HOUR: i64 = 3600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn user(status: &serde_json::Value) -> ProgrammaticUser {
    serde_json::from_value(json!({
        "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
        "metadata": {"name": "ci", "creationTimestamp": at(0)},
        "spec": {"className": "c", "scope": "Account", "access": {"role": "Viewer", "accounts": [{"id": "act-1"}]}},
        "status": status,
    }))
    .unwrap()
}

fn ready(status: &str, reason: &str) -> serde_json::Value {
    json!([{"type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": at(HOUR)}])
}

#[test]
fn users_are_counted_by_reasons_of_a_closed_set() {
    let mut found = UserGauges::default();
    let now = at(3 * HOUR);
    let mut add = |status| found.add(&UserFacts::from(&user(&status)), None, now, now);
    add(json!(null));
    add(json!({"conditions": ready("True", "Ready")}));
    add(json!({"conditions": ready("False", "SecretConflict")}));
    add(json!({"conditions": ready("perhaps", "made-up")}));
    let by: Vec<_> = found.by_condition.into_iter().collect();
    let expected = [
        (("False", "SecretConflict"), 1),
        (("True", "Ready"), 1),
        (("Unknown", "New"), 1),
        (("Unknown", "Other"), 1),
    ];
    assert_eq!(by, expected);
    // The one without a condition was made three hours ago.
    assert_eq!(found.oldest_not_ready, Duration::from_hours(3));
}

#[test]
fn conditions_beside_ready_are_counted_while_they_are_true() {
    let mut found = UserGauges::default();
    let mut conditions = ready("True", "Ready");
    for (kind, status, reason) in [
        ("RestartingConsumers", "True", "RolloutStuck"),
        ("WaitingForConsumers", "True", "made-up"),
        ("Suspended", "False", "Suspended"),
        ("Other", "True", "Ready"),
    ] {
        let condition = json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": at(0)});
        conditions.as_array_mut().unwrap().push(condition);
    }
    let facts = UserFacts::from(&user(&json!({"conditions": conditions})));
    found.add(&facts, None, at(0), at(0));
    found.add(&facts, None, at(0), at(0));
    let conditions: Vec<_> = found.conditions.into_iter().collect();
    let expected = [
        (("RestartingConsumers", "RolloutStuck"), 2),
        (("WaitingForConsumers", "Other"), 2),
    ];
    assert_eq!(conditions, expected);
}

#[test]
fn a_token_is_overdue_by_its_rotation_or_by_what_the_class_allows() {
    let status = json!({
        "tokenIssuedAt": at(0), "nextRotation": at(9 * HOUR),
        "journal": {"current": {"nonce": "n", "userId": "pu-1", "fingerprint": ""}},
    });
    let overdue = |max_age, hours: i64| {
        let mut found = UserGauges::default();
        found.add(&UserFacts::from(&user(&status)), max_age, at(0), at(hours * HOUR));
        (
            found.oldest_token.as_secs() / 3600,
            found.overdue.as_secs() / 3600,
        )
    };
    assert_eq!(overdue(None, 8), (8, 0));
    assert_eq!(overdue(None, 10), (10, 1));
    assert_eq!(overdue(Some(Duration::from_hours(7)), 8), (8, 1));
}

#[test]
fn without_users_there_is_no_series() {
    let registry = Gauges::default().registry();
    let mut text = String::new();
    prometheus_client::encoding::text::encode_registry(&mut text, &registry).unwrap();
    assert!(text.lines().all(|l| l.starts_with('#')), "{text}");
}
