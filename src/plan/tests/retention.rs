//! Users that stay when their objects go, and what their class decides about them.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::power::*;
use super::*;
use crate::api::DeletionPolicy;

fn retaining(o: &mut Observed) {
    object(o).spec.deletion_policy = DeletionPolicy::Retain;
}

#[test]
fn without_the_class_nothing_is_retained() {
    let only_delete = |class: &mut ProgrammaticUserClass| {
        class.spec.allow.deletion_policies = vec![DeletionPolicy::Delete];
    };
    let deleting = |mut o: Observed| {
        retaining(&mut o);
        object(&mut o).metadata.deletion_timestamp = Some(Time(now()));
        run(&mut o, |_, _| false).0
    };
    let whole = ["delete-user", "delete-secret", "remove-finalizer"];
    assert_eq!(deleting(made_under(only_delete)), whole);
    assert_eq!(deleting(made_under(withdrawn)), whole);
    let mut o = made();
    o.class = None;
    assert_eq!(deleting(o), whole);
    assert_eq!(deleting(made()), ["record", "release", "remove-finalizer"]);

    // No user is made for it.
    let mut o = observed(editor());
    only_delete(Arc::make_mut(o.class.as_mut().unwrap()));
    retaining(&mut o);
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(
        (steps.len(), reason(&rest).as_str()),
        (0, "DeletionPolicyNotAllowed")
    );
    // One that was there before is looked after, and not revoked for it.
    let mut o = made_under(|class| {
        only_delete(class);
        revoking(class);
    });
    retaining(&mut o);
    object(&mut o).metadata.annotations = Some(BTreeMap::from([(
        crate::api::ROTATE_AT_ANNOTATION.to_owned(),
        "1".to_owned(),
    )]));
    "eeeeffffgggghhhh".clone_into(&mut o.fresh_nonce);
    let (steps, rest) = run(&mut o, |_, _| false);
    assert!(
        steps.contains(&"create") && !steps.contains(&"delete-user"),
        "{steps:?}"
    );
    assert_eq!(reason(&rest), "DeletionPolicyNotAllowed");
    assert!(condition(&rest, STALLED).is_some());
}

#[test]
fn what_cannot_be_recorded_is_not_let_go_of() {
    let mut o = made();
    retaining(&mut o);
    object(&mut o).metadata.deletion_timestamp = Some(Time(now()));
    let (steps, rest) = run(&mut o, |step, o| {
        let Step::Record(user) = step else { return false };
        assert_eq!(
            (user.user_id.as_str(), user.class.as_str(), user.secret.as_str()),
            ("pu-1", "editors", "ci")
        );
        o.answers.recorded = Some(Err(problem(Reason::SecretRejected)));
        true
    });
    assert_eq!(
        (steps, reason(&rest).as_str()),
        (vec!["record"], "DeletionBlocked")
    );
}

#[test]
fn the_class_is_held_before_its_first_user_is_made() {
    let mut o = observed(editor());
    Arc::make_mut(o.class.as_mut().unwrap()).metadata.finalizers = None;
    let (steps, _) = run(&mut o, |_, _| false);
    assert_eq!(
        steps[..6],
        [
            "look-up",
            "reserve",
            "finalizer",
            "hold-class",
            "dry-run",
            "intent"
        ]
    );
    // It was deleted meanwhile.
    let mut o = observed(editor());
    Arc::make_mut(o.class.as_mut().unwrap()).metadata.finalizers = None;
    let (steps, rest) = run(&mut o, |step, o| {
        let hold = matches!(step, Step::HoldClass);
        if hold {
            o.class = None;
        }
        hold
    });
    assert_eq!(
        (steps.last(), reason(&rest).as_str()),
        (Some(&"hold-class"), "UnknownClass")
    );
}

#[test]
fn retained_users_end_with_their_class() {
    let user = Retained {
        uid: "uid-1".to_owned(),
        nonce: NONCE.to_owned(),
        user_id: "pu-1".to_owned(),
        class: "editors".to_owned(),
        organization: "acme".to_owned(),
        namespace: "payments".to_owned(),
        secret: "ci".to_owned(),
        issued_at: Some(now()),
        expire_at: None,
        granted: None,
    };
    let fate = |class: &ProgrammaticUserClass, hours: i64| {
        let time = now() + SignedDuration::from_hours(hours);
        user.fate(Some(class), &BTreeMap::new(), Some(time), None) == Fate::Stays
    };
    let with = |change: fn(&mut ProgrammaticUserClass)| {
        let mut class = class();
        change(&mut class);
        class
    };
    assert!(fate(&class(), 1000) && fate(&with(revoking), 1000));
    assert!(!fate(&with(withdrawn), 0));
    let closed = |class: &mut ProgrammaticUserClass| class.spec.namespaces.match_names.clear();
    assert!(fate(&with(closed), 0), "onRevoked: Keep");
    let deleted = |class: &mut ProgrammaticUserClass| {
        class.metadata.deletion_timestamp = Some(Time(now()));
    };
    assert!(fate(&with(deleted), 0), "onRevoked: Keep");
    assert!(!fate(
        &with(|c| {
            revoking(c);
            c.metadata.deletion_timestamp = Some(Time(now()));
        }),
        0
    ));
    let bounded = with(|class| aged(48)(class));
    assert!(fate(&bounded, 47) && !fate(&bounded, 48));
    assert_eq!(
        user.fate(Some(&bounded), &BTreeMap::new(), None, None),
        Fate::Stays
    );
    assert_eq!(user.fate(None, &BTreeMap::new(), Some(now()), None), Fate::Stays);
    let expiring = Retained {
        expire_at: Some(now()),
        ..user.clone()
    };
    assert_ne!(
        expiring.fate(None, &BTreeMap::new(), Some(now()), None),
        Fate::Stays
    );
}
