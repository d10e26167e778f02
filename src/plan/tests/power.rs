//! The class wins over what a tenant writes: suspension, deletion policy, specs that are wrong or cannot be read.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::{OnRevoked, REVOKE_NOW_ANNOTATION, SUSPENDED, SecretSpec};

/// A user with its Secret, of a class after this change.
pub(super) fn made_under(change: impl FnOnce(&mut ProgrammaticUserClass)) -> Observed {
    let mut o = made();
    change(Arc::make_mut(o.class.as_mut().unwrap()));
    o
}

pub(super) fn revoking(class: &mut ProgrammaticUserClass) {
    class.spec.on_revoked = OnRevoked::Revoke;
}

pub(super) fn withdrawn(class: &mut ProgrammaticUserClass) {
    revoking(class);
    class.spec.namespaces.match_names.clear();
}

pub(super) fn aged(hours: i64) -> impl FnOnce(&mut ProgrammaticUserClass) {
    move |class| {
        class.spec.rotation = serde_json::from_value(json!({ "maxAge": format!("{hours}h") })).unwrap();
    }
}

pub(super) fn object(o: &mut Observed) -> &mut ProgrammaticUser {
    Arc::make_mut(&mut o.user)
}

/// As long after the token was made.
pub(super) fn later(o: &mut Observed, hours: i64) {
    o.platform_now = Some(now() + SignedDuration::from_hours(hours));
}

/// What it is, the reason that the status gives, and how it is written.
pub(super) type Way = (&'static str, &'static str, fn(&mut Observed));

/// What a tenant may write to have its object left alone, with the reason that the status gives.
pub(super) fn in_the_way() -> Vec<Way> {
    vec![
        ("suspended", "Suspended", |o| object(o).spec.suspend = true),
        ("unreadable", "InvalidSpec", |o| {
            o.unreadable = Some("invalid duration".to_owned());
        }),
        ("windows that never open", "InvalidSpec", |o| {
            object(o).spec.rotation = serde_json::from_value(json!({
                "every": "1h", "overlap": "1m", "windows": [{"cron": "0 0 30 2 *", "duration": "1h"}],
            }))
            .unwrap();
        }),
        ("no access", "AccessMissing", |o| object(o).spec.access = None),
        ("a Secret of somebody else", "SecretConflict", |o| {
            object(o).spec.secret = SecretSpec {
                name: Some("theirs".to_owned()),
                ..SecretSpec::default()
            };
            o.next_secret = SecretView::Foreign("belongs to somebody".to_owned());
        }),
    ]
}

pub(super) const GONE: [&str; 2] = ["delete-user", "delete-secret"];

pub(super) fn ends(mut o: Observed, how: &str) -> Verdict {
    let (steps, rest) = run(&mut o, |_, _| false);
    let last: Vec<_> = steps.iter().filter(|s| GONE.contains(s)).collect();
    assert_eq!(last, GONE.iter().collect::<Vec<_>>(), "{how}: {steps:?}");
    assert_eq!(condition(&rest, READY).unwrap().0, "False", "{how}");
    assert!(rest.status.as_ref().unwrap().journal.is_empty(), "{how}");
    rest
}

#[test]
fn a_class_that_is_withdrawn_or_deleted_revokes_whatever_the_object_says() {
    for (how, _, write) in in_the_way() {
        let mut o = made_under(withdrawn);
        write(&mut o);
        assert_eq!(reason(&ends(o, how)), "NotAllowed", "{how}");

        let mut o = made_under(|class| {
            revoking(class);
            class.metadata.deletion_timestamp = Some(Time(now()));
        });
        write(&mut o);
        let rest = ends(o, how);
        assert!(
            condition(&rest, STALLED).unwrap().2.contains("is being deleted"),
            "{how}"
        );
    }
    // What the class allows less of, too, as far as it can be seen.
    for (how, _, write) in in_the_way().into_iter().filter(|(how, ..)| *how != "no access") {
        let mut o = made_under(|class| {
            revoking(class);
            class.spec.allow.roles.clear();
        });
        write(&mut o);
        assert_eq!(reason(&ends(o, how)), "NotAllowed", "{how}");
    }
}

#[test]
fn a_class_that_keeps_leaves_the_token_until_it_is_too_old() {
    let mut o = made_under(|class| {
        aged(48)(class);
        class.metadata.deletion_timestamp = Some(Time(now()));
    });
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!((steps.len(), reason(&rest).as_str()), (0, "NotAllowed"));
    let status = rest.status.unwrap();
    assert_eq!(status.token_ends_at, Some(now() + SignedDuration::from_hours(48)));
    object(&mut o).status = Some(*status);
    later(&mut o, 48);
    assert_eq!(reason(&ends(o, "kept")), "TooOld");
}

#[test]
fn a_token_that_is_too_old_ends_whatever_the_object_says() {
    for (how, why, write) in in_the_way() {
        let mut o = made_under(aged(72));
        object(&mut o).spec.rotation =
            serde_json::from_value(json!({"every": "40h", "overlap": "1h"})).unwrap();
        write(&mut o);
        let before = run(&mut o, |_, _| false);
        let rest = before.1;
        assert!(!before.0.contains(&"delete-user"), "{how}: {:?}", before.0);
        let reported = if why == "Suspended" { "Ready" } else { why };
        assert_eq!(reason(&rest), reported, "{how}");
        object(&mut o).status = rest.status.map(|s| *s);
        o.answers = Answers::default();
        later(&mut o, 72);
        if why == "Suspended" {
            // This one can be replaced.
            "eeeeffffgggghhhh".clone_into(&mut o.fresh_nonce);
            let (steps, rest) = run(&mut o, |_, _| false);
            assert!(
                steps.contains(&"create") && steps.contains(&"publish"),
                "{steps:?}"
            );
            assert_eq!(condition(&rest, SUSPENDED).unwrap().0, "True");
            continue;
        }
        let rest = ends(o.clone(), how);
        assert_eq!(reason(&rest), "TooOld", "{how}");
        assert!(condition(&rest, STALLED).unwrap().2.contains(why), "{how}");
        // It stays said until the object is put right.
        object(&mut o).status = rest.status.map(|s| *s);
        (o.current_secret, o.answers) = (SecretView::Absent, Answers::default());
        if matches!(o.next_secret, SecretView::Ours(_)) {
            o.next_secret = SecretView::Absent;
        }
        let (steps, rest) = run(&mut o, |_, _| false);
        assert_eq!((steps.len(), reason(&rest).as_str()), (0, "TooOld"), "{how}");
    }
}

#[test]
fn nothing_ends_by_its_age_at_the_first_look_of_a_new_version_or_class() {
    let mut o = made();
    object(&mut o).spec.rotation = serde_json::from_value(json!({"every": "1h", "overlap": "30m"})).unwrap();
    o.unreadable = Some("invalid".to_owned());
    aged(2)(Arc::make_mut(o.class.as_mut().unwrap()));
    later(&mut o, 100);
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!((steps.len(), reason(&rest).as_str()), (0, "InvalidSpec"));
    let status = rest.status.unwrap();
    assert_eq!(
        status.token_ends_at,
        Some(now() + SignedDuration::from_hours(102))
    );
    object(&mut o).status = Some(*status);
    later(&mut o, 101);
    assert_eq!(run(&mut o, |_, _| false).0.len(), 0);
    later(&mut o, 102);
    assert_eq!(reason(&ends(o, "after its time")), "TooOld");
}

#[test]
fn a_class_that_vanished_is_remembered_by_the_end_that_it_set() {
    let mut o = made_under(aged(48));
    let rest = run(&mut o, |_, _| false).1;
    object(&mut o).status = rest.status.map(|s| *s);
    o.class = None;
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!((steps.len(), reason(&rest).as_str()), (0, "UnknownClass"));
    object(&mut o).status = rest.status.map(|s| *s);
    later(&mut o, 48);
    assert_eq!(reason(&ends(o, "class gone")), "TooOld");
}

#[test]
fn revoke_now_and_expiry_do_not_wait() {
    for (how, why, write) in in_the_way() {
        let mut o = made();
        write(&mut o);
        object(&mut o).metadata.annotations = Some(BTreeMap::from([(
            REVOKE_NOW_ANNOTATION.to_owned(),
            "1".to_owned(),
        )]));
        if why == "Suspended" {
            "eeeeffffgggghhhh".clone_into(&mut o.fresh_nonce);
            let (steps, rest) = run(&mut o, |_, _| false);
            assert!(
                steps.contains(&"create") && steps.contains(&"publish"),
                "{steps:?}"
            );
            let status = rest.status.unwrap();
            assert!(
                status
                    .journal
                    .retiring
                    .iter()
                    .all(crate::api::Retiring::is_revoked)
            );
        } else {
            assert_eq!(reason(&ends(o, how)), why, "{how}");
        }
        let mut o = made();
        write(&mut o);
        object(&mut o).spec.expire_at = Some(now());
        assert_eq!(reason(&ends(o, how)), "Expired");
    }
}

#[test]
fn overlaps_end_on_time_while_an_object_is_suspended() {
    let mut o = made();
    object(&mut o).spec.suspend = true;
    let status = object(&mut o).status.as_mut().unwrap();
    status.journal.retiring.push(crate::api::Retiring {
        nonce: "ddddccccbbbbaaaa".to_owned(),
        user_id: "pu-0".to_owned(),
        not_before: now() + SignedDuration::from_hours(1),
        not_after: None,
        replaced_at: None,
        secret_name: None,
        granted: None,
    });
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(
        (steps.len(), rest.requeue),
        (0, Requeue::After(Duration::from_hours(1)))
    );
    later(&mut o, 1);
    assert_eq!(run(&mut o, |_, _| false).0, ["delete-user"]);
}

#[test]
fn an_object_is_suspended_only_if_the_class_allows_it() {
    let mut o = made_under(|class| class.spec.allow.suspend = false);
    object(&mut o).spec.suspend = true;
    object(&mut o).metadata.annotations = Some(BTreeMap::from([(
        crate::api::ROTATE_AT_ANNOTATION.to_owned(),
        "1".to_owned(),
    )]));
    "eeeeffffgggghhhh".clone_into(&mut o.fresh_nonce);
    let (steps, rest) = run(&mut o, |_, _| false);
    assert!(steps.contains(&"create"), "{steps:?}");
    let (truth, why, message) = condition(&rest, SUSPENDED).unwrap();
    assert_eq!((truth.as_str(), why.as_str()), ("False", "NotAllowed"));
    assert!(message.contains("allow.suspend"));
    assert_eq!(condition(&rest, READY).unwrap().0, "True");
}
