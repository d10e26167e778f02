//! Each list of `allow` against what an object may ask for: a cell for each claim of the threat model.

use super::*;

/// What an object asks for, what a class allows it by, and the reason without that.
type Row = (serde_json::Value, serde_json::Value, &'static str);

fn rows() -> Vec<Row> {
    let secret = |asked: serde_json::Value, allowed: serde_json::Value| -> Row {
        (
            json!({"secret": asked}),
            json!({"secret": allowed}),
            "SecretNotAllowed",
        )
    };
    vec![
        secret(json!({"name": "other"}), json!({"names": ["other"]})),
        secret(json!({"name": "a.b"}), json!({"names": ["*.b"]})),
        secret(json!({"keys": {"token": "TOKEN"}}), json!({"keys": ["TOKEN"]})),
        secret(
            json!({"extraKeys": {"A_TOKEN": "token"}}),
            json!({"keys": ["*_TOKEN"]}),
        ),
        secret(
            json!({"template": {"labels": {"example.com/team": "x"}}}),
            json!({"labels": ["example.com/*"]}),
        ),
        secret(
            json!({"template": {"labels": {"team": "x"}}}),
            json!({"labels": ["team"]}),
        ),
        secret(
            json!({"template": {"annotations": {"example.com/note": "x"}}}),
            json!({"annotations": ["example.com/note"]}),
        ),
        secret(
            json!({"template": {"data": {"spot.ini": "x"}}}),
            json!({"template": ["spot.ini"]}),
        ),
        (
            json!({"access": {"role": "Viewer", "accounts": [{"id": "act-1"}]}}),
            json!({"roles": ["Viewer"]}),
            "NotAllowed",
        ),
        (
            json!({"access": {"role": "Editor", "accounts": [{"id": "act-2"}]}}),
            json!({"accounts": ["act-2"]}),
            "NotAllowed",
        ),
        (
            json!({"access": {"role": "Editor", "accounts": [{"id": "act-1"}], "groups": [{"name": "deployers"}]}}),
            json!({"groups": ["deployers"]}),
            "NotAllowed",
        ),
        (
            json!({"access": {"role": "Editor", "accounts": [{"id": "act-1"}], "groups": [{"name": "deployers"}]}}),
            json!({"groups": ["ugr-1"]}),
            "NotAllowed",
        ),
    ]
}

/// Of an object of the class that allows least, with this change and these more lists.
fn outcome(asks: &serde_json::Value, allow: &serde_json::Value) -> Verdict {
    let mut spec = json!({"className": "editors", "scope": "Organization", "access": {"role": "Editor", "accounts": [{"id": "act-1"}]}});
    spec.as_object_mut()
        .unwrap()
        .extend(asks.as_object().unwrap().clone());
    let mut lists = json!({"roles": ["Editor"], "accounts": ["act-1"]});
    lists
        .as_object_mut()
        .unwrap()
        .extend(allow.as_object().unwrap().clone());
    let mut o = observed(user(&spec));
    Arc::make_mut(o.class.as_mut().unwrap()).spec.allow = serde_json::from_value(lists).unwrap();
    let mut catalog = catalog();
    let two = serde_json::from_value(json!({"accountId": "act-2", "name": "two"})).unwrap();
    Arc::make_mut(&mut catalog).accounts.push(two);
    o.answers.catalog = Some(Ok(found(catalog)));
    run(&mut o, |_, _| false).1
}

#[test]
fn an_object_has_what_its_class_allows_and_no_more() {
    assert_eq!(reason(&outcome(&json!({}), &json!({}))), "Ready");
    for (asks, allow, refused) in rows() {
        let without = outcome(&asks, &json!({}));
        assert_eq!(reason(&without), refused, "{asks}");
        let (_, _, message) = condition(&without, READY).unwrap();
        assert!(message.contains("ask its owner to add it to"), "{message}");
        assert!(
            without.status.unwrap().journal.is_empty(),
            "{asks}: something was begun"
        );
        assert_eq!(reason(&outcome(&asks, &allow)), "Ready", "{asks} with {allow}");
    }
}

#[test]
fn no_class_allows_what_helm_takes_for_a_release_or_a_reserved_key() {
    let all = json!({"secret": {"names": ["*"], "labels": ["*"], "annotations": ["*"], "keys": ["*"], "template": ["*"]}});
    for asks in [
        json!({"name": "sh.helm.release.v1.app.v2"}),
        json!({"template": {"labels": {"helm.sh/chart": "x"}}}),
        json!({"template": {"annotations": {"a.kubernetes.io/x": "x"}}}),
    ] {
        let rest = outcome(&json!({ "secret": asks }), &all);
        assert_eq!(reason(&rest), "SecretNotAllowed", "{asks}");
    }
}

#[test]
fn the_shape_of_a_secret_costs_no_token() {
    let mut o = made();
    let class = Arc::make_mut(o.class.as_mut().unwrap());
    class.spec.on_revoked = crate::api::OnRevoked::Revoke;
    class.spec.allow.secret = crate::api::AllowSecret::default();
    Arc::make_mut(&mut o.user).spec.secret.name = Some("other".to_owned());
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!((steps, reason(&rest).as_str()), (vec![], "SecretNotAllowed"));
    assert!(rest.status.unwrap().journal.current.is_some());
}

#[test]
fn a_group_that_only_a_star_allows_carries_no_more_than_the_class_does() {
    let asks = json!({"className": "editors", "scope": "Organization",
        "access": {"role": "Editor", "accounts": [{"id": "act-1"}], "groups": [{"name": "deployers"}]}});
    let with = |carries: &[&str], allow: serde_json::Value| {
        let mut o = observed(user(&asks));
        let class = Arc::make_mut(o.class.as_mut().unwrap());
        class.spec.allow = serde_json::from_value(allow).unwrap();
        let mut catalog = catalog();
        Arc::make_mut(&mut catalog).groups[0].policy_names = carries.iter().map(|&c| c.to_owned()).collect();
        o.answers.catalog = Some(Ok(found(catalog)));
        reason(&run(&mut o, |_, _| false).1)
    };
    let allow = |groups: &str, policies: &[&str], accounts: &str| json!({"roles": ["Editor"], "accounts": [accounts], "policies": policies, "groups": [groups]});
    assert_eq!(with(&[], allow("*", &[], "act-1")), "Ready");
    assert_eq!(with(&["Admin"], allow("*", &[], "*")), "NotAllowed");
    assert_eq!(with(&["Admin"], allow("*", &["Admin"], "act-1")), "NotAllowed");
    assert_eq!(with(&["Admin"], allow("*", &["Admin"], "*")), "Ready");
    // The owner of the class answers for a group that it names.
    assert_eq!(with(&["Admin"], allow("deployers", &[], "act-1")), "Ready");
}

#[test]
fn a_wrong_shape_of_the_secret_does_not_hide_a_group_that_was_withdrawn() {
    let mut o = made();
    let user = Arc::make_mut(&mut o.user);
    user.spec.access.as_mut().unwrap().groups =
        serde_json::from_value(json!([{"name": "deployers"}])).unwrap();
    user.spec.secret.name = Some("other".to_owned());
    let class = Arc::make_mut(o.class.as_mut().unwrap());
    class.spec.on_revoked = crate::api::OnRevoked::Revoke;
    class.spec.allow.secret = crate::api::AllowSecret::default();
    class.spec.allow.groups = vec!["ugr-9".to_owned()];
    let (steps, rest) = run(&mut o, |_, _| false);
    assert!(steps.contains(&"delete-user"), "{steps:?}");
    assert_eq!(reason(&rest), "NotAllowed");
}

/// A user of the class's group by id, with the class's `onRevoked: Revoke`, and what the platform has besides.
fn in_group(change: impl Fn(&mut Observed, &mut Catalog)) -> (Vec<&'static str>, Verdict) {
    let mut o = made();
    let user = Arc::make_mut(&mut o.user);
    user.spec.access.as_mut().unwrap().groups =
        serde_json::from_value(json!([{"name": "deployers"}])).unwrap();
    let class = Arc::make_mut(o.class.as_mut().unwrap());
    class.spec.on_revoked = crate::api::OnRevoked::Revoke;
    class.spec.allow.groups = vec!["ugr-1".to_owned()];
    let mut catalog = catalog();
    change(&mut o, Arc::make_mut(&mut catalog));
    o.answers.catalog = Some(Ok(found(catalog)));
    run(&mut o, |_, _| false)
}

#[test]
fn another_group_of_the_same_name_withdraws_nothing() {
    let (steps, rest) = in_group(|_, catalog| {
        let mut another = catalog.groups[0].clone();
        another.id = "ugr-2".to_owned();
        catalog.groups.push(another);
    });
    assert!(!steps.contains(&"delete-user"), "{steps:?}");
    assert_eq!(reason(&rest), "NotAllowed");
}

#[test]
fn an_entry_that_is_wrong_hides_no_group_that_was_withdrawn() {
    let (steps, _) = in_group(|o, _| {
        let access = Arc::make_mut(&mut o.user).spec.access.as_mut().unwrap();
        access
            .groups
            .insert(0, serde_json::from_value(json!({"name": "nonsense"})).unwrap());
        let class = Arc::make_mut(o.class.as_mut().unwrap());
        class.spec.allow.groups = vec!["ugr-9".to_owned(), "nonsense".to_owned()];
    });
    assert!(steps.contains(&"delete-user"), "{steps:?}");
}

#[test]
fn an_object_without_a_user_does_not_mention_a_revocation() {
    let refused = |name: &str| {
        let mut o = observed(editor());
        let access = Arc::make_mut(&mut o.user).spec.access.as_mut().unwrap();
        access.groups = serde_json::from_value(json!([{ "name": name }])).unwrap();
        let class = Arc::make_mut(o.class.as_mut().unwrap());
        class.spec.on_revoked = crate::api::OnRevoked::Revoke;
        class.spec.allow.groups = vec!["ugr-9".to_owned()];
        let rest = run(&mut o, |_, _| false).1;
        condition(&rest, READY).unwrap().2.replace(name, "GROUP")
    };
    assert_eq!(refused("deployers"), refused("nobody-made-this"));
}
