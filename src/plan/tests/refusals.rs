//! What is refused, and what is looked up.

use super::*;

fn class_spec(o: &mut Observed) -> &mut crate::api::ProgrammaticUserClassSpec {
    &mut Arc::make_mut(o.class.as_mut().unwrap()).spec
}

#[test]
fn bad_input_costs_no_step_on_the_platform_but_reading() {
    type Change = fn(&mut Observed);
    let cases: [(&str, &str, Change); 12] = [
        ("UnknownClass", "there is no ProgrammaticUserClass editors", |o| {
            o.class = None;
        }),
        (
            "UnknownOrganization",
            "names Organization acme, which does not exist",
            |o| o.organization = None,
        ),
        ("SecretConflict", "Secret ci belongs to", |o| {
            o.next_secret = SecretView::Foreign("belongs to Certificate web".to_owned());
        }),
        ("NotAllowed", "is not open to namespace payments", |o| {
            class_spec(o).namespaces.match_names.clear();
        }),
        ("NotAllowed", "does not allow scope Organization", |o| {
            class_spec(o).scopes.remove(1);
        }),
        ("NotAllowed", "does not allow role Editor", |o| {
            class_spec(o).allow.roles.remove(1);
        }),
        ("NotAllowed", "does not allow act-1 among its accounts", |o| {
            class_spec(o).allow.accounts.clear();
        }),
        ("NotAllowed", "allows 1 users in a namespace", |o| {
            class_spec(o).max_users_per_namespace = Some(1);
            o.quota_used = 1;
        }),
        ("UnknownAccount", "organization acme has no account act-9", |o| {
            Arc::make_mut(&mut o.user).spec.access.as_mut().unwrap().accounts[0].id = "act-9".to_owned();
        }),
        ("UnknownGroup", "has no group named \"nobody\"", |o| {
            Arc::make_mut(&mut o.user).spec.access.as_mut().unwrap().groups =
                serde_json::from_value(json!([{"name": "nobody"}])).unwrap();
        }),
        ("AccessMissing", "set spec.access", |o| {
            Arc::make_mut(&mut o.user).spec.access = None;
        }),
        (
            "InvalidSpec",
            "secret.account act-2 is not among the accounts",
            |o| {
                Arc::make_mut(&mut o.user).spec.secret.account = Some("act-2".to_owned());
            },
        ),
    ];
    for (wanted, text, change) in cases {
        let mut o = observed(editor());
        change(&mut o);
        let (steps, rest) = run(&mut o, |_, _| false);
        assert!(steps.iter().all(|s| *s == "look-up"), "{wanted}: {steps:?}");
        let (status, reason, message) = condition(&rest, STALLED).unwrap_or_default();
        assert_eq!((status.as_str(), reason.as_str()), ("True", wanted), "{message}");
        assert!(message.contains(text), "{message}");
        assert!(rest.event.is_some_and(|e| e.warning), "{wanted}");
    }
}

fn policy_based(name: &str) -> ProgrammaticUser {
    user(
        &json!({"className": "editors", "scope": "Organization", "access": {
        "role": "PolicyBased", "accounts": [{"id": "act-1"}, {"id": "act-2"}], "policies": [{"name": name}]}}),
    )
}

#[test]
fn policies_are_found_by_name_and_only_one_may_have_it() {
    let mut o = observed(policy_based("ops"));
    let mut body = None;
    run(&mut o, |step, _| {
        if let Step::Create(create) = step {
            body = Some(create.clone());
        }
        false
    });
    let body = serde_json::to_value(body.unwrap()).unwrap();
    assert_eq!(
        body["policies"],
        json!([{"policyId": "pol-1", "accountIds": ["act-1", "act-2"]}])
    );
    assert_eq!(body.get("accounts"), None);

    for (name, text) in [("none", "has no policy named"), ("twice", "use the id instead")] {
        let (_, rest) = run(&mut observed(policy_based(name)), |_, _| false);
        let (_, reason, message) = condition(&rest, STALLED).unwrap();
        assert_eq!(reason, "UnknownPolicy");
        assert!(message.contains(text), "{message}");
    }
}

#[test]
fn what_is_not_in_a_remembered_catalog_is_looked_up_again() {
    let mut o = observed(editor());
    let mut asked = Vec::new();
    run(&mut o, |step, o| {
        let Step::LookUp(fresh) = step else { return false };
        asked.push(*fresh);
        let catalog = if *fresh { catalog() } else { Arc::default() };
        o.answers.catalog = Some(Ok(Found {
            catalog,
            fresh: *fresh,
            again: None,
        }));
        true
    });
    assert_eq!(asked, [false, true]);
}

/// Many objects that name what there is not share one look-up: the others wait for the next, and who knows asks for none.
#[test]
fn an_unknown_name_has_no_catalog_read_that_others_have_just_read() {
    let mut o = observed(policy_based("none"));
    let old = |again| {
        move |step: &Step, o: &mut Observed| {
            let Step::LookUp(_) = step else { return false };
            let again = Some(Duration::from_secs(again));
            o.answers.catalog = Some(Ok(Found {
                again,
                fresh: false,
                catalog: catalog(),
            }));
            true
        }
    };
    let (steps, rest) = run(&mut o, old(20));
    assert_eq!(
        (steps, rest.requeue),
        (vec!["look-up"], Requeue::After(Duration::from_secs(20)))
    );
    assert!(
        condition(&rest, STALLED).is_none(),
        "it may have been made a moment ago"
    );
    assert_eq!(condition(&rest, READY).unwrap().1, "UnknownPolicy");
    // The next look says it, whatever others have had read meanwhile; and so does each later one.
    for _ in 0..2 {
        Arc::make_mut(&mut o.user).status = run(&mut o, |_, _| false).1.status.map(|s| *s);
        o.answers = Answers::default();
        let mut asked = Vec::new();
        let (_, rest) = run(&mut o, |step, o| {
            if let Step::LookUp(fresh) = step {
                asked.push(*fresh);
            }
            old(25)(step, o)
        });
        assert_eq!(
            (asked, condition(&rest, STALLED).unwrap().1),
            (vec![false], "UnknownPolicy".to_owned())
        );
    }
    // Another question is another one.
    Arc::make_mut(&mut o.user).metadata.generation = Some(2);
    o.answers = Answers::default();
    assert!(condition(&run(&mut o, old(20)).1, STALLED).is_none());
}

#[test]
fn a_user_stays_with_its_organization() {
    let mut o = made();
    class_spec(&mut o).organization_name = "other".to_owned();
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, Vec::<&str>::new());
    assert_eq!(reason(&rest), "OrganizationChanged");
}

#[test]
fn another_cause_of_the_same_reason_is_reported() {
    let mut o = observed(editor());
    class_spec(&mut o).allow.roles.clear();
    let (_, rest) = run(&mut o, |_, _| false);
    Arc::make_mut(&mut o.user).status = rest.status.map(|s| *s);
    o.answers = Answers::default();
    let class = Arc::make_mut(o.class.as_mut().unwrap());
    class.spec.allow.roles.push(crate::api::Role::Editor);
    class.spec.allow.accounts.clear();
    let (_, rest) = run(&mut o, |_, _| false);
    assert!(
        condition(&rest, STALLED)
            .unwrap()
            .2
            .contains("among its accounts")
    );
}

#[test]
fn another_request_id_is_no_news() {
    let mut conditions = Vec::new();
    let mut set = |message: &str| {
        set_conditions(
            &mut conditions,
            Some(1),
            now(),
            &[(READY, false, "PlatformError", message)],
        );
        conditions[0].message.clone()
    };
    let first = set("GET /x: broken [500 E, request r-1]");
    assert_eq!(set("GET /x: broken [500 E, request r-2]"), first);
    assert_ne!(set("GET /x: worse [500 E, request r-3]"), first);
}

#[test]
fn what_a_class_does_not_allow_any_more_stays_or_goes_as_the_class_says() {
    let withdraw = |o: &mut Observed, on_revoked| {
        let class = Arc::make_mut(o.class.as_mut().unwrap());
        class.spec.namespaces.match_names.clear();
        class.spec.on_revoked = on_revoked;
    };
    let mut o = made();
    withdraw(&mut o, crate::api::OnRevoked::Keep);
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!((steps, reason(&rest).as_str()), (vec![], "NotAllowed"));
    assert!(rest.status.unwrap().journal.current.is_some());

    let mut o = made();
    withdraw(&mut o, crate::api::OnRevoked::Revoke);
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, ["delete-user", "delete-secret"]);
    assert_eq!(reason(&rest), "NotAllowed");
    let message = condition(&rest, READY).unwrap().2;
    let status = *rest.status.unwrap();
    assert!(status.journal.current.is_none() && status.user_id.is_none());

    // No work is left, and no other condition.
    Arc::make_mut(&mut o.user).status = Some(status);
    o.answers = Answers::default();
    (o.current_secret, o.next_secret) = (SecretView::Absent, SecretView::Absent);
    let (steps, rest) = run(&mut o, |_, _| false);
    assert!(steps.is_empty());
    assert_eq!(condition(&rest, READY).unwrap().2, message);
}

#[test]
fn a_platform_that_cannot_be_asked_withdraws_nothing() {
    let mut o = observed(user(&json!({
        "className": "editors", "scope": "Organization",
        "access": {"role": "Editor", "accounts": [{"id": "act-1"}], "groups": [{"name": "deployers"}]}
    })));
    let (_, rest) = run(&mut o, |_, _| false);
    Arc::make_mut(&mut o.user).status = rest.status.map(|s| *s);
    o.current_secret = own_secret(NONCE);
    o.next_secret = o.current_secret.clone();
    class_spec(&mut o).on_revoked = crate::api::OnRevoked::Revoke;
    for known in [
        Err(problem(Reason::PlatformUnreachable)),
        Ok(found(Arc::new(Catalog::default()))),
    ] {
        o.answers = Answers {
            catalog: Some(known),
            ..Answers::default()
        };
        let (steps, rest) = run(&mut o.clone(), |_, _| false);
        assert!(!steps.contains(&"delete-user"), "{steps:?}");
        assert!(rest.status.unwrap().journal.current.is_some());
    }
    class_spec(&mut o).allow.groups.clear();
    o.answers = Answers::default();
    assert!(run(&mut o, |_, _| false).0.contains(&"delete-user"));
}

#[test]
fn nothing_is_begun_for_a_secret_that_cannot_be_written() {
    let mut o = made();
    let immutable = |view: &mut SecretView| {
        let SecretView::Ours(secret) = view else { panic!() };
        (secret.immutable, secret.unedited) = (true, false);
    };
    immutable(&mut o.current_secret);
    immutable(&mut o.next_secret);
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!((steps, reason(&rest).as_str()), (vec![], "SecretImmutable"));
}
