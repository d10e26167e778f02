//! The class against what a token may do, where that is not what its object asks for.

use jiff::SignedDuration;

use super::power::{Way, ends, in_the_way};
use super::*;
use crate::api::{Granted, OnRevoked, Role};

const NEXT: &str = "eeeeffffgggghhhh";

pub(super) fn class_of(o: &mut Observed) -> &mut ProgrammaticUserClass {
    Arc::make_mut(o.class.as_mut().unwrap())
}

pub(super) fn object(o: &mut Observed) -> &mut ProgrammaticUser {
    Arc::make_mut(&mut o.user)
}

pub(super) fn set_access(o: &mut Observed, access: serde_json::Value) {
    object(o).spec.access = Some(serde_json::from_value(access).unwrap());
}

/// A user with this access, made and published.
pub(super) fn made_with(access: serde_json::Value) -> Observed {
    let mut o = observed(editor());
    set_access(&mut o, access);
    let (_, rest) = run(&mut o, |_, _| false);
    assert_eq!(reason(&rest), "Ready");
    object(&mut o).status = rest.status.map(|s| *s);
    o.current_secret = own_secret(NONCE);
    o.next_secret = o.current_secret.clone();
    (o.answers, o.staged) = (Answers::default(), Vec::new());
    NEXT.clone_into(&mut o.fresh_nonce);
    o
}

fn granted(o: &Observed) -> &Granted {
    let status = o.user.status.as_ref().unwrap();
    status.journal.current.as_ref().unwrap().granted.as_ref().unwrap()
}

pub(super) fn editor_of(groups: &serde_json::Value) -> serde_json::Value {
    json!({"role": "Editor", "accounts": [{"id": "act-1"}], "groups": groups})
}

/// What a token had, what the class withdraws of it, and what its object asks for since, which the class allows.
type Withdrawal = (
    serde_json::Value,
    fn(&mut ProgrammaticUserClass),
    serde_json::Value,
);

fn withdrawals() -> Vec<Withdrawal> {
    let viewer = json!({"role": "Viewer", "accounts": [{"id": "act-1"}]});
    let ops = json!({"role": "PolicyBased", "accounts": [{"id": "act-1"}], "policies": [{"name": "ops"}]});
    vec![
        (
            editor_of(&json!([])),
            |class| class.spec.allow.roles = vec![Role::Viewer],
            viewer.clone(),
        ),
        (
            json!({"role": "Viewer", "accounts": [{"id": "act-1"}, {"id": "act-2"}]}),
            |class| class.spec.allow.accounts = vec!["act-1".to_owned()],
            viewer.clone(),
        ),
        (
            editor_of(&json!([{"name": "deployers"}])),
            |class| class.spec.allow.groups = Vec::new(),
            editor_of(&json!([])),
        ),
        (
            editor_of(&json!([{"name": "deployers"}])),
            |class| class.spec.allow.groups = vec!["ugr-9".to_owned()],
            editor_of(&json!([])),
        ),
        (
            ops,
            |class| class.spec.allow.policies = vec!["pol-9".to_owned()],
            viewer,
        ),
    ]
}

/// What a tenant may write to have its object left as it is.
pub(super) fn ways() -> Vec<Way> {
    let mut ways = in_the_way();
    ways.push((
        "a Secret of a shape that the class does not allow",
        "SecretNotAllowed",
        |o| {
            object(o).spec.secret.name = Some("other".to_owned());
            class_of(o).spec.allow.secret = crate::api::AllowSecret::default();
        },
    ));
    ways.push(("an account that does not exist", "UnknownAccount", |o| {
        let access = object(o).spec.access.as_mut().unwrap();
        access.accounts[0].id = "act-404".to_owned();
        class_of(o).spec.allow.accounts.push("act-404".to_owned());
    }));
    ways.push(("a class of another organization", "OrganizationChanged", |o| {
        class_of(o).spec.organization_name = "other".to_owned();
    }));
    ways
}

#[test]
fn an_object_that_cannot_be_carried_out_keeps_no_access_that_the_class_withdrew() {
    for (had, withdraw, asks) in withdrawals() {
        for (how, _, write) in ways() {
            let mut o = made_with(had.clone());
            set_access(&mut o, asks.clone());
            class_of(&mut o).spec.on_revoked = OnRevoked::Revoke;
            // An object that asks for no access has none of the class's, either.
            write(&mut o);
            let allowed = run(&mut o.clone(), |_, _| false);
            assert!(
                !allowed.0.contains(&"delete-user"),
                "{had} {how}: {:?}",
                allowed.0
            );
            withdraw(class_of(&mut o));
            let reported = format!("{had} -> {asks}: {how}");
            assert_eq!(reason(&ends(o, &reported)), "NotAllowed", "{reported}");
        }
    }
}

#[test]
fn a_class_that_keeps_its_users_revokes_nothing() {
    for (had, withdraw, asks) in withdrawals() {
        let mut o = made_with(had);
        set_access(&mut o, asks);
        object(&mut o).spec.suspend = true;
        withdraw(class_of(&mut o));
        assert!(!run(&mut o, |_, _| false).0.contains(&"delete-user"));
    }
}

#[test]
fn a_replaced_token_whose_access_was_withdrawn_has_no_overlap() {
    let mut o = made_with(editor_of(&json!([])));
    class_of(&mut o).spec.on_revoked = OnRevoked::Revoke;
    class_of(&mut o).spec.allow.roles = vec![Role::Viewer];
    set_access(&mut o, json!({"role": "Viewer", "accounts": [{"id": "act-1"}]}));
    let (steps, rest) = run(&mut o, |step, o| {
        if let Step::Create(_) = step {
            o.answers.created = Some(Created::Yes {
                user_id: "pu-2".to_owned(),
                last_digits: "cd34".to_owned(),
            });
        }
        matches!(step, Step::Create(_))
    });
    assert!(steps.contains(&"publish"), "{steps:?}");
    let status = rest.status.unwrap();
    assert_eq!(status.journal.retiring.len(), 1);
    assert_eq!(
        granted_roles(status.journal.retiring[0].granted.as_ref()),
        [Role::Editor]
    );
    object(&mut o).status = Some(*status);
    (o.answers, o.staged) = (Answers::default(), Vec::new());
    o.current_secret = own_secret(NEXT);
    o.next_secret = o.current_secret.clone();
    // While the class allows it, it lives.
    let mut allowed = o.clone();
    class_of(&mut allowed).spec.allow.roles.push(Role::Editor);
    assert!(!run(&mut allowed, |_, _| false).0.contains(&"delete-user"));
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps[..2], ["journal", "delete-user"]);
    assert!(rest.status.unwrap().journal.retiring.is_empty());
}

fn granted_roles(granted: Option<&Granted>) -> &[Role] {
    &granted.unwrap().roles
}

#[test]
fn access_is_recorded_before_the_user_gets_it() {
    let mut o = made_with(editor_of(&json!([])));
    assert!(granted(&o).groups.is_empty());
    set_access(&mut o, editor_of(&json!([{"name": "deployers"}])));
    let reads = |step: &Step, o: &mut Observed| {
        if let Step::ReadUser(id) = step {
            let details = Some(own(o, id, NONCE));
            answer_read(step, o, details);
        }
        matches!(step, Step::ReadUser(_))
    };
    let mut steps = Vec::new();
    let rest = run(&mut o, |step, o| {
        if let Step::PutGroups(..) = step {
            // A crash here leaves a record of both.
            let names: Vec<_> = granted(o)
                .groups
                .iter()
                .map(|g| (g.id.clone(), g.name.clone()))
                .collect();
            assert_eq!(names, [(Some("ugr-1".to_owned()), Some("deployers".to_owned()))]);
        }
        steps.push(name(step));
        reads(step, o)
    })
    .1;
    assert_eq!(steps, ["look-up", "read", "journal", "groups", "verify"]);
    object(&mut o).status = rest.status.map(|s| *s);

    // What it has no more is in the record until the platform has confirmed the change.
    o.answers = Answers::default();
    set_access(&mut o, editor_of(&json!([])));
    let rest = run(&mut o, |step, o| {
        if let Step::PutGroups(id, _) = step {
            let failed = Err(problem(Reason::PlatformError));
            o.answers.groups_put.insert(id.clone(), failed);
            return true;
        }
        if let Step::ReadUser(id) = step {
            let mut user: crate::platform::UserDetails = own(o, id, NONCE);
            user.groups = serde_json::from_value(json!([{"id": "ugr-1", "name": "deployers"}])).unwrap();
            let details = Some(user);
            answer_read(step, o, details);
        }
        matches!(step, Step::ReadUser(_))
    })
    .1;
    let status = rest.status.unwrap();
    let current = status.journal.current.unwrap();
    assert_eq!(current.granted.unwrap().groups.len(), 1);
}

#[test]
fn a_record_that_would_grow_too_long_ends_with_a_new_user() {
    let mut o = made_with(editor_of(&json!([])));
    let status = object(&mut o).status.as_mut().unwrap();
    let granted = status.journal.current.as_mut().unwrap().granted.as_mut().unwrap();
    granted.accounts = (0..256).map(|n| format!("act-{n}")).collect();
    set_access(&mut o, editor_of(&json!([{"name": "deployers"}])));
    let (steps, _) = run(&mut o, |step, o| {
        if let Step::ReadUser(id) = step {
            let details = Some(own(o, id, NONCE));
            answer_read(step, o, details);
        }
        matches!(step, Step::ReadUser(_))
    });
    assert!(
        steps.contains(&"create") && !steps[..4].contains(&"groups"),
        "{steps:?}"
    );
}

#[test]
fn a_policy_that_was_renamed_on_the_platform_is_not_withdrawn() {
    let ops = json!({"role": "PolicyBased", "accounts": [{"id": "act-1"}], "policies": [{"name": "ops"}]});
    for (now_named, ends) in [("operations", false), ("ops", true)] {
        let mut o = made_with(ops.clone());
        object(&mut o).spec.suspend = true;
        class_of(&mut o).spec.on_revoked = OnRevoked::Revoke;
        class_of(&mut o).spec.allow.policies = vec!["operations".to_owned()];
        let mut catalog = catalog();
        let policies = &mut Arc::make_mut(&mut catalog).policies;
        now_named.clone_into(&mut policies.iter_mut().find(|p| p.id == "pol-1").unwrap().name);
        o.answers.catalog = Some(Ok(found(catalog)));
        let (steps, _) = run(&mut o, |_, _| false);
        assert_eq!(steps.contains(&"delete-user"), ends, "{now_named}: {steps:?}");
    }
}

#[test]
fn a_policy_of_the_organization_ends_with_the_right_to_all_accounts() {
    let mut catalog = catalog();
    let policies = &mut Arc::make_mut(&mut catalog).policies;
    policies.iter_mut().find(|p| p.id == "pol-1").unwrap().policy_type = "ORGANIZATION".to_owned();
    let ops = json!({"role": "PolicyBased", "accounts": [{"id": "act-1"}], "policies": [{"name": "ops"}]});
    let mut o = observed(editor());
    set_access(&mut o, ops);
    o.answers.catalog = Some(Ok(found(catalog.clone())));
    let (_, rest) = run(&mut o, |_, _| false);
    object(&mut o).status = rest.status.map(|s| *s);
    assert_eq!(granted(&o).accounts, ["act-1", "*"]);
    (o.current_secret, o.next_secret) = (own_secret(NONCE), own_secret(NONCE));
    (o.answers, o.staged) = (Answers::default(), Vec::new());
    o.answers.catalog = Some(Ok(found(catalog)));
    class_of(&mut o).spec.on_revoked = OnRevoked::Revoke;
    class_of(&mut o).spec.allow.accounts = vec!["act-1".to_owned()];
    let (steps, rest) = run(&mut o, |_, _| false);
    assert!(steps.contains(&"delete-user"), "{steps:?}");
    assert_eq!(reason(&rest), "NotAllowed");
}

#[test]
fn a_request_that_the_platform_refuses_keeps_no_token_that_is_too_old() {
    for (changed, ends) in [(true, true), (false, false)] {
        let mut o = made_with(editor_of(&json!([])));
        class_of(&mut o).spec.rotation = serde_json::from_value(json!({"maxAge": "48h"})).unwrap();
        object(&mut o).spec.rotation =
            serde_json::from_value(json!({"every": "40h", "overlap": "1h"})).unwrap();
        let rest = run(&mut o, |_, _| false).1;
        object(&mut o).status = rest.status.map(|s| *s);
        o.answers = Answers::default();
        object(&mut o).spec.description = changed.then(|| "a word that the platform refuses".to_owned());
        o.platform_now = Some(now() + SignedDuration::from_hours(48));
        let (steps, rest) = run(&mut o, |step, o| {
            if let Step::Create(_) = step {
                o.answers.created = Some(Created::No(problem(Reason::RejectedByPlatform)));
            }
            matches!(step, Step::Create(_))
        });
        assert_eq!(steps.contains(&"delete-user"), ends, "{steps:?}");
        assert_eq!(reason(&rest), if ends { "TooOld" } else { "RejectedByPlatform" });
    }
}

#[test]
fn a_retained_user_ends_when_its_class_allows_less_than_it_may_do() {
    for (had, withdraw, _) in withdrawals() {
        let mut o = made_with(had.clone());
        object(&mut o).spec.deletion_policy = crate::api::DeletionPolicy::Retain;
        object(&mut o).metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
        let mut record = None;
        run(&mut o, |step, _| {
            if let Step::Record(user) = step {
                record = Some((**user).clone());
            }
            false
        });
        let user = record.unwrap();
        let fate = |class: &ProgrammaticUserClass| {
            let all = catalog();
            let catalog = user.needs_catalog(class).then_some(&*all);
            user.fate(Some(class), &BTreeMap::new(), Some(now()), catalog)
        };
        let mut class = class();
        class.spec.on_revoked = OnRevoked::Revoke;
        assert_eq!(fate(&class), Fate::Stays, "{had}");
        withdraw(&mut class);
        assert_ne!(fate(&class), Fate::Stays, "{had}");
        class.spec.on_revoked = OnRevoked::Keep;
        assert_eq!(fate(&class), Fate::Stays, "{had}");
    }
}
