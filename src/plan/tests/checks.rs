//! What a full check finds changed on the platform is put back, or the user is replaced.

use super::rotation::*;
use super::*;

#[test]
fn access_is_put_back_where_a_check_finds_it_changed() {
    let mut o = in_use();
    object(&mut o).spec.access.as_mut().unwrap().groups =
        serde_json::from_value(json!([{"name": "deployers"}])).unwrap();
    let user = |o: &Observed, groups: serde_json::Value| -> UserDetails {
        let mut user: serde_json::Value = own(o, "pu-1", NONCE);
        user["groups"] = groups;
        serde_json::from_value(user).unwrap()
    };
    let with = |groups: serde_json::Value| {
        move |step: &Step, o: &mut Observed| {
            let read = matches!(step, Step::ReadUser(_));
            if read {
                let details = Some(user(o, groups.clone()));
                answer_read(step, o, details);
            }
            read
        }
    };
    let (steps, rest) = run(&mut o, with(json!([])));
    assert_eq!(steps, ["look-up", "read", "journal", "groups", "verify"]);
    later(&mut o, rest);
    o.current_secret = own_secret(NONCE);
    o.next_secret = own_secret(NONCE);
    assert_eq!(
        run(&mut o, with(json!([]))).0,
        ["look-up"],
        "without a check only the class is asked, with the names that are remembered"
    );
    o.full_check = true;
    o.answers = Answers::default();
    let (steps, rest) = run(&mut o, with(json!([{"id": "ugr-9"}])));
    assert_eq!(steps, ["look-up", "read", "groups", "verify"]);
    assert_eq!(rest.status.as_deref(), o.user.status.as_ref(), "no news");
    o.answers = Answers::default();
    assert_eq!(
        run(&mut o, with(json!([{"id": "ugr-1"}]))).0,
        ["look-up", "read", "verify"]
    );
}

#[test]
fn a_user_or_token_that_people_removed_is_replaced() {
    let mut o = in_use();
    o.full_check = true;
    let mut reasons = Vec::new();
    let (steps, _) = run(&mut o, |step, o| {
        if let Step::Journal(status, Some(_)) = step {
            reasons.push(status.journal.pending.as_ref().unwrap().reason.clone());
        }
        created(step, o)
    });
    assert_eq!(steps[..2], ["look-up", "read"]);
    assert_eq!(steps[2..], REPLACEMENT[1..]);
    let mut o = in_use();
    o.full_check = true;
    let (steps, _) = run(&mut o, |step, o| {
        if let Step::Journal(status, Some(_)) = step {
            reasons.push(status.journal.pending.as_ref().unwrap().reason.clone());
        }
        if matches!(step, Step::ReadUser(_)) {
            let details = Some(own(o, "pu-1", NONCE));
            answer_read(step, o, details);
            return true;
        }
        if matches!(step, Step::Verify(TokenSource::Published { .. })) {
            answer_verify(step, o, false);
            return true;
        }
        created(step, o)
    });
    assert!(steps.contains(&"intent"));
    assert_eq!(reasons, ["UserMissing", "TokenRejected"]);
}

#[test]
fn the_role_of_a_user_is_put_back_where_a_check_finds_it_changed() {
    let grants = |policies: serde_json::Value| {
        let mut o = in_use();
        o.full_check = true;
        let mut put = None;
        let (_, rest) = run(&mut o, |step, o| {
            match step {
                Step::ReadUser(_) => {
                    let mut user: serde_json::Value = own(o, "pu-1", NONCE);
                    user["policies"] = policies.clone();
                    let details = Some(serde_json::from_value(user).unwrap());
                    answer_read(step, o, details);
                    return true;
                }
                Step::PutPolicies(_, grants) => put = Some(serde_json::to_value(grants).unwrap()),
                _ => {}
            }
            false
        });
        assert_eq!(reason(&rest), "Ready");
        put
    };
    let editor = json!([{"policyId": "2", "accountIds": ["act-1"]}]);
    assert_eq!(grants(editor.clone()), None);
    for changed in [
        json!([]),
        json!([{"policyId": "3", "accountIds": ["act-1"]}]),
        json!([{"policyId": "2", "accountIds": ["act-1", "act-2"]}]),
        json!([{"policyId": "2", "accountIds": ["act-1"]}, {"policyId": "1"}]),
    ] {
        assert_eq!(grants(changed.clone()), Some(editor.clone()), "{changed}");
    }
}
