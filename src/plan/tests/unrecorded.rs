//! Users of which no version has recorded what they may do: the platform says it.

use super::granted::{class_of, editor_of, made_with, object, set_access, ways};
use super::*;
use crate::api::{Granted, OnRevoked, Role};

/// The platform's answer to the look at a user of an older version, which is an editor of act-1.
fn shown(step: &Step, o: &mut Observed) -> bool {
    let is_read = matches!(step, Step::ReadUser(_));
    if is_read {
        let details = own(o, "pu-1", NONCE);
        answer_read(step, o, Some(details));
    }
    is_read
}

#[test]
fn a_user_of_an_older_version_is_recorded_before_anything_else_whatever_its_object_says() {
    for (how, _, write) in ways() {
        let mut o = made_with(editor_of(&json!([])));
        let status = object(&mut o).status.as_mut().unwrap();
        status.journal.current.as_mut().unwrap().granted = None;
        set_access(&mut o, json!({"role": "Viewer", "accounts": [{"id": "act-1"}]}));
        class_of(&mut o).spec.on_revoked = OnRevoked::Revoke;
        write(&mut o);
        let (steps, _) = run(&mut o.clone(), shown);
        assert_eq!(steps[..3], ["look-up", "read", "journal"], "{how}");
        // It is what the platform shows, and not what the object asks for since.
        class_of(&mut o).spec.allow.roles = vec![Role::Viewer];
        let (steps, rest) = run(&mut o, shown);
        assert!(steps.contains(&"delete-user"), "{how}: {steps:?}");
        assert_eq!(reason(&rest), "NotAllowed", "{how}");
    }
    // A platform that does not answer holds nothing up, and says nothing.
    let mut o = made_with(editor_of(&json!([])));
    let status = object(&mut o).status.as_mut().unwrap();
    status.journal.current.as_mut().unwrap().granted = None;
    class_of(&mut o).spec.on_revoked = OnRevoked::Revoke;
    let (steps, rest) = run(&mut o, |step, o| {
        if let Step::ReadUser(id) = step {
            let answer = Err(problem(Reason::PlatformUnreachable));
            o.answers.details.insert(id.clone(), answer);
        }
        matches!(step, Step::ReadUser(_))
    });
    assert_eq!(
        (steps, reason(&rest).as_str()),
        (vec!["look-up", "read"], "Ready")
    );
    // A class that keeps its users needs no record.
    let mut o = made_with(editor_of(&json!([])));
    let status = object(&mut o).status.as_mut().unwrap();
    status.journal.current.as_mut().unwrap().granted = None;
    assert_eq!(run(&mut o, shown).0.len(), 0);
}

#[test]
fn what_the_platform_shows_of_a_user_is_what_it_may_do() {
    let catalog = Catalog {
        policies: serde_json::from_value(json!([
            {"id": "2", "name": "Account Editor"}, {"id": "3", "name": "Account Viewer"},
            {"id": "pol-1", "name": "ops"}, {"id": "pol-9", "name": "all", "type": "ORGANIZATION"},
        ]))
        .unwrap(),
        ..Catalog::default()
    };
    let of = |policies: serde_json::Value, groups: serde_json::Value| {
        let user = json!({"userId": "pu-1", "type": "programmatic", "policies": policies, "groups": groups});
        let details = serde_json::from_value(user).unwrap();
        serde_json::to_value(Granted::of_user(crate::api::Scope::Account, &details, &catalog)).unwrap()
    };
    let viewer = of(json!([{"policyId": "3", "accountIds": ["act-1"]}]), json!([]));
    assert_eq!(
        viewer,
        json!({"scope": "Account", "roles": ["Viewer"], "accounts": ["act-1"]})
    );
    let both =
        json!([{"policyId": "2", "accountIds": ["act-1"]}, {"policyId": "pol-1", "accountIds": ["act-2"]}]);
    let both = of(both, json!([{"id": "ugr-1", "name": "deployers"}]));
    assert_eq!(both["scope"], "Organization");
    assert_eq!(both["roles"], json!(["Editor", "PolicyBased"]));
    assert_eq!(both["policies"], json!([{"id": "pol-1", "name": "ops"}]));
    assert_eq!(both["groups"], json!([{"id": "ugr-1", "name": "deployers"}]));
    let whole = of(json!([{"policyId": "pol-9", "accountIds": ["act-1"]}]), json!([]));
    assert_eq!(
        whole["accounts"],
        json!(["act-1"]),
        "its object is refused, and its token stays"
    );
    // A policy that calls itself a built-in one is none.
    let posing = of(
        json!([{"policyId": "pol-3", "policyName": "Account Viewer", "accountIds": ["act-1"]}]),
        json!([]),
    );
    assert_eq!(posing["roles"], json!(["PolicyBased"]));
}
