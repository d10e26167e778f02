//! The names of policies that move from one to another on the platform, and attempts that cannot go on.

use super::granted::{class_of, made_with, object};
use super::rotation::created;
use super::*;
use crate::api::{OnRevoked, Pending, Retiring, Role};

fn ops() -> serde_json::Value {
    json!({"role": "PolicyBased", "accounts": [{"id": "act-1"}], "policies": [{"name": "ops"}]})
}

/// "ops", which a user has, is called something else now, and perhaps another policy has its name.
fn renamed(name_passes: bool) -> Arc<Catalog> {
    let mut catalog = catalog();
    for policy in &mut Arc::make_mut(&mut catalog).policies {
        match policy.id.as_str() {
            "pol-1" => policy.name = "ops-wide".to_owned(),
            "pol-2" if name_passes => policy.name = "ops".to_owned(),
            _ => {}
        }
    }
    catalog
}

#[test]
fn a_name_that_another_policy_has_now_allows_that_policy_and_no_other() {
    for name_passes in [false, true] {
        let mut o = made_with(ops());
        object(&mut o).spec.suspend = true;
        class_of(&mut o).spec.on_revoked = OnRevoked::Revoke;
        class_of(&mut o).spec.allow.policies = vec!["ops".to_owned()];
        o.answers.catalog = Some(Ok(found(renamed(name_passes))));
        let (steps, _) = run(&mut o, |_, _| false);
        assert_eq!(steps.contains(&"delete-user"), name_passes, "{steps:?}");
    }
}

#[test]
fn a_user_whose_policy_gave_its_name_away_is_compared_with_the_platform_at_once() {
    let mut o = made_with(ops());
    class_of(&mut o).spec.on_revoked = OnRevoked::Revoke;
    class_of(&mut o).spec.allow.policies = vec!["pol-2".to_owned()];
    o.answers.catalog = Some(Ok(found(renamed(true))));
    let (steps, _) = run(&mut o, |step, o| {
        if let Step::ReadUser(id) = step {
            let details = Some(own(o, id, NONCE));
            answer_read(step, o, details);
        }
        matches!(step, Step::ReadUser(_))
    });
    assert_eq!(steps[..3], ["read", "journal", "policies"], "{steps:?}");
}

/// An attempt that cannot be fenced, beside a replaced user whose access the class withdraws.
#[test]
fn a_replaced_user_is_revoked_before_an_attempt_that_cannot_go_on() {
    let mut o = made_with(json!({"role": "Viewer", "accounts": [{"id": "act-1"}]}));
    class_of(&mut o).spec.on_revoked = OnRevoked::Revoke;
    let journal = &mut object(&mut o).status.as_mut().unwrap().journal;
    let mut editor = journal.current.as_ref().unwrap().granted.clone().unwrap();
    editor.roles = vec![Role::Editor];
    let hours = jiff::SignedDuration::from_hours(1);
    journal.retiring.push(Retiring {
        nonce: "1111222233334444".to_owned(),
        user_id: "pu-7".to_owned(),
        not_before: now().checked_add(hours).unwrap(),
        not_after: None,
        replaced_at: None,
        secret_name: None,
        granted: Some(editor),
    });
    journal.pending = Some(Pending {
        nonce: "5555666677772222".to_owned(),
        started_at: now().checked_sub(hours).unwrap(),
        reason: "Requested".to_owned(),
        fingerprint: "x".to_owned(),
        secret_name: "ci".to_owned(),
        rotate_at: None,
        revoke_now: None,
        granted: None,
    });
    class_of(&mut o).spec.allow.roles = vec![Role::Viewer];
    let (steps, rest) = run(&mut o, |step, o| {
        if let Step::Fence(_) = step {
            o.answers.fenced = Some(Err(problem(Reason::SecretRejected)));
            return true;
        }
        created(step, o)
    });
    assert_eq!(steps[..2], ["journal", "delete-user"], "{steps:?}");
    assert_eq!(reason(&rest), "SecretRejected");
    assert!(rest.status.unwrap().journal.retiring.is_empty());
}
