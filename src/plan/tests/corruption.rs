//! A status that somebody or something damaged.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::api::Retiring;

/// A status with something in every field, as the operator writes it.
fn written() -> Observed {
    let mut o = made();
    let uid = o.user.metadata.uid.clone().unwrap();
    let user = Arc::make_mut(&mut o.user);
    let mut status = user.status.clone().unwrap();
    status.journal.retiring.push(Retiring {
        nonce: "rrrrbbbbccccdddd".to_owned(),
        user_id: "pu-2".to_owned(),
        not_before: now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap(),
        not_after: None,
        replaced_at: None,
        secret_name: Some("older".to_owned()),
        granted: status.journal.current.as_ref().unwrap().granted.clone(),
    });
    status.last_handled_rotate_at = Some("once".to_owned());
    status.next_rotation = Some(now());
    let whole = ProgrammaticUser {
        status: None,
        ..user.clone()
    };
    assert_eq!(whole.metadata.uid, Some(uid));
    set_checksum(&o.instance, &whole, &mut status);
    user.status = Some(status);
    o
}

/// Every place in a tree.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let at = format!("{at}/{key}");
                found.push(at.clone());
                places(inner, &at, found);
            }
        }
        Value::Array(all) => {
            for (i, inner) in all.iter().enumerate() {
                let at = format!("{at}/{i}");
                found.push(at.clone());
                places(inner, &at, found);
            }
        }
        _ => {}
    }
}

fn remove(tree: &mut Value, at: &str) {
    let (parent, last) = at.rsplit_once('/').unwrap();
    match tree.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.remove(last);
        }
        Some(Value::Array(all)) => {
            all.remove(last.parse().unwrap());
        }
        _ => {}
    }
}

fn damage() -> impl Strategy<Value = Option<Value>> {
    let text = prop_oneof![
        Just("pu-1".to_owned()),
        Just("pu-2".to_owned()),
        Just(NONCE.to_owned()),
        Just("rrrrbbbbccccdddd".to_owned()),
        Just("2020-01-01T00:00:00Z".to_owned()),
        Just("2030-01-01T00:00:00Z".to_owned()),
        ".{0,12}",
    ];
    prop_oneof![
        Just(None),
        text.prop_map(|t| Some(Value::String(t))),
        any::<i64>().prop_map(|n| Some(Value::from(n))),
        Just(Some(Value::Null)),
        Just(Some(json!([]))),
        Just(Some(json!({}))),
        Just(Some(
            json!([{"nonce": NONCE, "userId": "pu-1", "notBefore": "2020-01-01T00:00:00Z"}])
        )),
        Just(Some(
            json!({"nonce": "rrrrbbbbccccdddd", "userId": "pu-2", "fingerprint": "x"})
        )),
    ]
}

/// What a plan may not do because of a damaged status.
const DELETES: [&str; 6] = [
    "delete-user",
    "delete-secret",
    "delete-old-secret",
    "remove-finalizer",
    "unstage",
    "release",
];

/// Runs the plan with the users of the journal on the platform; the ids that it deletes, too.
fn outcome(o: &mut Observed) -> (Vec<&'static str>, BTreeSet<String>) {
    let users: Vec<UserName> = [("pu-1", NONCE), ("pu-2", "rrrrbbbbccccdddd")]
        .map(|(id, nonce)| {
            serde_json::from_value(
                json!({"userId": id, "type": "programmatic", "username": o.marker(nonce).name("ci")}),
            )
            .unwrap()
        })
        .to_vec();
    let mut deleted = BTreeSet::new();
    let (steps, _) = run(o, |step, o| {
        match step {
            Step::ListUsers => o.answers.listed = Some(Ok(users.clone())),
            Step::DeleteUser(id, _) => {
                deleted.insert(id.clone());
                return false;
            }
            _ => return false,
        }
        true
    });
    (steps, deleted)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_damage_to_a_status_deletes_anything(pick: prop::sample::Index, with in damage(), more: Option<prop::sample::Index>, deleting: bool) {
        let mut o = written();
        let whole = serde_json::to_value(o.user.status.as_ref().unwrap()).unwrap();
        let mut tree = whole.clone();
        for pick in std::iter::once(pick).chain(more) {
            let mut all = vec![String::new()];
            places(&tree, "", &mut all);
            let at = pick.get(&all);
            match &with {
                _ if at.is_empty() => tree = json!({}),
                None => remove(&mut tree, at),
                Some(value) => *tree.pointer_mut(at).unwrap() = value.clone(),
            }
        }
        // What cannot be read stops the reconcile before there is a plan.
        let Ok(status) = serde_json::from_value::<ProgrammaticUserStatus>(tree) else {
            return Ok(());
        };
        let people = |s: &ProgrammaticUserStatus| ProgrammaticUserStatus {
            conditions: Vec::new(),
            observed_generation: None,
            token_last_digits: None,
            next_rotation: None,
            ..s.clone()
        };
        let unharmed = people(&status) == people(o.user.status.as_ref().unwrap());
        let user = Arc::make_mut(&mut o.user);
        user.status = Some(status);
        o.fresh_nonce = "ffffbbbbccccdddd".to_owned();
        o.expired_attempts = BTreeSet::from([NONCE.to_owned(), "rrrrbbbbccccdddd".to_owned()]);
        if deleting {
            user.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
        }
        o.intact = checksum_matches(&o.instance, &o.user);
        let blank = o.user.status.as_ref().unwrap().journal == crate::api::Journal::default();
        prop_assert_eq!(o.intact, unharmed || blank);
        let (steps, deleted) = outcome(&mut o);
        if !deleting {
            prop_assert!(steps.iter().all(|s| !DELETES.contains(s)), "{:?}", steps);
        } else if !o.intact {
            prop_assert_eq!(steps, Vec::<&str>::new());
        } else {
            // Deleted by people: nothing of it may be left, and nothing else is touched.
            prop_assert_eq!(deleted, BTreeSet::from(["pu-1".to_owned(), "pu-2".to_owned()]));
        }
    }
}
