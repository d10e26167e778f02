//! Tests of decisions: a small world answers the steps, and the order of the steps is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::core::ObjectMeta;
use serde_json::json;

use super::*;
use crate::api::{FINALIZER, READY, RECONCILING, STALLED};

const NONCE: &str = "aaaabbbbccccdddd";

fn class() -> ProgrammaticUserClass {
    let mut class: ProgrammaticUserClass = serde_json::from_value(json!({
        "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUserClass", "metadata": {"name": "editors"},
        "spec": {
            "organizationName": "acme", "scopes": ["Account", "Organization"],
            "allow": {"roles": ["Viewer", "Editor", "PolicyBased"], "accounts": ["*"], "policies": ["*"], "groups": ["*"]},
            "namespaces": {"matchNames": ["payments"]}
        }
    }))
    .unwrap();
    class.metadata.generation = Some(1);
    class
}

fn organization() -> Organization {
    serde_json::from_value(json!({
        "apiVersion": "programmatic-users.io/v1alpha1", "kind": "Organization", "metadata": {"name": "acme"},
        "spec": {"endpoint": {"url": "https://api.example.com"}, "credentials": {"secretName": "acme-admin"}}
    }))
    .unwrap()
}

fn user(spec: &serde_json::Value) -> ProgrammaticUser {
    let mut object: ProgrammaticUser = serde_json::from_value(json!({
        "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser", "metadata": {}, "spec": spec
    }))
    .unwrap();
    object.metadata = ObjectMeta {
        name: Some("ci".to_owned()),
        namespace: Some("payments".to_owned()),
        uid: Some("uid-1".to_owned()),
        generation: Some(1),
        ..ObjectMeta::default()
    };
    object
}

fn editor() -> ProgrammaticUser {
    user(
        &json!({"className": "editors", "scope": "Account", "access": {"role": "Editor", "accounts": [{"id": "act-1"}]}}),
    )
}

fn observed(user: ProgrammaticUser) -> Observed {
    Observed {
        user: Arc::new(user),
        class: Some(Arc::new(class())),
        organization: Some(Arc::new(organization())),
        namespace_labels: BTreeMap::new(),
        siblings: 0,
        secret: SecretView::Absent,
        instance: "abcdef".to_owned(),
        fresh_nonce: NONCE.to_owned(),
        settled: BTreeSet::new(),
        learned: Learned::default(),
    }
}

fn catalog() -> Arc<Catalog> {
    Arc::new(Catalog {
        accounts: serde_json::from_value(json!([{"accountId": "act-1"}, {"accountId": "act-2"}])).unwrap(),
        policies: serde_json::from_value(json!([
            {"id": "pol-1", "name": "ops"}, {"id": "pol-2", "name": "twice"}, {"id": "pol-3", "name": "twice"}
        ]))
        .unwrap(),
        groups: serde_json::from_value(json!([{"id": "ugr-1", "name": "deployers"}])).unwrap(),
    })
}

fn found(catalog: Arc<Catalog>) -> Found {
    Found { catalog, fresh: true }
}

fn now() -> Timestamp {
    "2026-01-05T10:11:12Z".parse().unwrap()
}

fn problem(reason: &'static str) -> Problem {
    Problem {
        reason,
        message: "it broke".to_owned(),
        retry: Retry::Backoff,
    }
}

/// Answers steps until the plan rests; `answer` may answer a step first. Returns the steps' names and the rest.
fn run(o: &mut Observed, mut answer: impl FnMut(&Step, &mut Observed) -> bool) -> (Vec<&'static str>, Rest) {
    let mut taken = Vec::new();
    for _ in 0..40 {
        let step = match next(o, now()) {
            Next::Stop(rest) => return (taken, rest),
            Next::Do(step) => step,
        };
        taken.push(name(&step));
        if answer(&step, o) {
            continue;
        }
        match step {
            Step::LookUp(_) => o.learned.catalog = Some(Ok(found(catalog()))),
            Step::AddFinalizer => {
                Arc::make_mut(&mut o.user).metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
            }
            Step::DryRun(_) => o.learned.dry_run = Some(Ok(())),
            Step::Journal(status, ticket) => {
                Arc::make_mut(&mut o.user).status = Some(*status);
                o.learned.ticket = ticket;
            }
            Step::Create(_) => {
                o.learned.created = Some(Created::Yes {
                    user_id: "pu-1".to_owned(),
                    last_digits: "ab12".to_owned(),
                });
            }
            Step::Commit(_) => o.learned.committed = Some(Ok(())),
            Step::Compensate(_) => o.learned.compensated = Some(Ok(())),
            Step::ReadUser(_) => o.learned.details = Some(Ok(None)),
            Step::PutPolicies(..) => o.learned.policies_put = Some(Ok(())),
            Step::PutGroups(..) => o.learned.groups_put = Some(Ok(())),
            Step::Verify { .. } => o.learned.verified = Some(Ok(true)),
            Step::ListUsers => o.learned.listed = Some(Ok(Vec::new())),
            Step::DeleteUser(id, _) => {
                o.learned.deleted.insert(id, Ok(Deletion::Gone));
            }
            Step::DeleteSecret(_) => o.learned.secret_deleted = Some(Ok(())),
            Step::RemoveFinalizer => o.learned.finalizer_removed = true,
        }
    }
    panic!("no end after {taken:?}");
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::LookUp(_) => "look-up",
        Step::AddFinalizer => "finalizer",
        Step::DryRun(_) => "dry-run",
        Step::Journal(_, Some(_)) => "intent",
        Step::Journal(_, None) => "journal",
        Step::Create(_) => "create",
        Step::Commit(_) => "commit",
        Step::Compensate(_) => "compensate",
        Step::ReadUser(_) => "read",
        Step::PutPolicies(..) => "policies",
        Step::PutGroups(..) => "groups",
        Step::Verify { .. } => "verify",
        Step::ListUsers => "list",
        Step::DeleteUser(..) => "delete-user",
        Step::DeleteSecret(_) => "delete-secret",
        Step::RemoveFinalizer => "remove-finalizer",
    }
}

fn condition(rest: &Rest, type_: &str) -> Option<(String, String, String)> {
    let conditions = &rest.status.as_ref()?.conditions;
    conditions
        .iter()
        .find(|c| c.type_ == type_)
        .map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
}

fn reason(rest: &Rest) -> String {
    condition(rest, READY).map(|c| c.1).unwrap_or_default()
}

const CREATION: [&str; 7] = [
    "look-up",
    "finalizer",
    "dry-run",
    "intent",
    "create",
    "commit",
    "verify",
];

fn made() -> Observed {
    let mut o = observed(editor());
    let (_, rest) = run(&mut o, |_, _| false);
    Arc::make_mut(&mut o.user).status = rest.status.map(|s| *s);
    o.secret = own_secret(NONCE);
    o.learned = Learned::default();
    o
}

fn own_secret(nonce: &str) -> SecretView {
    SecretView::Ours(OwnSecret {
        resource_version: "5".to_owned(),
        uid: "secret-uid".to_owned(),
        nonce: Some(nonce.to_owned()),
        user_id: Some("pu-1".to_owned()),
    })
}

#[test]
fn a_creation_takes_its_steps_in_order_and_is_ready_with_one_more_write() {
    let mut o = observed(editor());
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, CREATION);
    let status = rest.status.as_ref().unwrap();
    assert_eq!(condition(&rest, READY).unwrap().0, "True");
    assert_eq!(condition(&rest, RECONCILING), None);
    assert_eq!(condition(&rest, STALLED), None);
    let current = status.journal.current.as_ref().unwrap();
    assert_eq!(
        (current.nonce.as_str(), current.user_id.as_str()),
        (NONCE, "pu-1")
    );
    assert_eq!(status.journal.pending, None);
    assert_eq!(status.token_last_digits.as_deref(), Some("ab12"));
    assert_eq!(rest.event, None, "a smooth creation is no news");
}

#[test]
fn the_name_on_the_platform_carries_the_journaled_nonce() {
    let mut o = observed(editor());
    let mut body = None;
    run(&mut o, |step, o| {
        if let Step::Create(create) = step {
            let pending = o.user.status.as_ref().unwrap().journal.pending.clone().unwrap();
            body = Some((create.clone(), pending.nonce));
        }
        false
    });
    let (body, nonce) = body.unwrap();
    assert_eq!(
        Marker::parse(&body.name),
        Some(Marker::new("abcdef", "uid-1", &nonce))
    );
    assert!(body.name.starts_with("ci/k8s.abcdef."));
    assert_eq!(
        serde_json::to_value(&body.accounts).unwrap(),
        json!([{"id": "act-1", "role": "editor"}])
    );
}

#[test]
fn nothing_changes_once_it_is_ready() {
    let mut o = made();
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, Vec::<&str>::new());
    assert_eq!(rest.status.as_deref(), o.user.status.as_ref());
    assert_eq!((rest.again, rest.event), (Again::OnChange, None));
}

#[test]
fn a_rejected_create_leaves_no_pending_attempt() {
    let mut o = observed(editor());
    let (steps, rest) = run(&mut o, |step, o| {
        let create = matches!(step, Step::Create(_));
        if create {
            o.learned.created = Some(Created::No(problem("RejectedByPlatform")));
        }
        create
    });
    assert_eq!(steps.last(), Some(&"create"));
    let journal = &rest.status.as_ref().unwrap().journal;
    assert_eq!((journal.pending.is_none(), journal.abandoned.len()), (true, 0));
    assert_eq!(
        (reason(&rest).as_str(), rest.again),
        ("RejectedByPlatform", Again::Backoff)
    );
}

#[test]
fn an_unknown_outcome_is_abandoned_and_swept_and_never_repeated() {
    let mut o = observed(editor());
    let (_, rest) = run(&mut o, |step, o| {
        let create = matches!(step, Step::Create(_));
        if create {
            o.learned.created = Some(Created::Unknown(problem("PlatformUnreachable")));
        }
        create
    });
    let status = *rest.status.unwrap();
    assert_eq!(status.journal.abandoned[0].nonce, NONCE);

    // The user appears in the list: it is deleted, and the attempt is kept until it has settled.
    Arc::make_mut(&mut o.user).status = Some(status);
    o.learned = Learned::default();
    o.fresh_nonce = "ddddccccbbbbaaaa".to_owned();
    let lost = json!({"userId": "pu-9", "type": "programmatic", "username": o.marker(NONCE).name("ci")});
    let users = vec![serde_json::from_value(lost).unwrap()];
    let listing = |step: &Step, o: &mut Observed| {
        let list_users = matches!(step, Step::ListUsers);
        if list_users {
            o.learned.listed = Some(Ok(users.clone()));
        }
        list_users
    };
    let (steps, rest) = run(&mut o, listing);
    assert_eq!(steps, ["list", "delete-user"]);
    assert_eq!(reason(&rest), "Recovering");
    assert_eq!(rest.status.as_ref().unwrap().journal.abandoned.len(), 1);

    // Settled: forgotten, and a new attempt with a new nonce begins.
    o.learned = Learned::default();
    o.settled = BTreeSet::from([NONCE.to_owned()]);
    let (steps, rest) = run(&mut o, listing);
    assert_eq!(steps[..2], ["list", "delete-user"]);
    assert!(steps.contains(&"create"));
    assert_eq!(
        rest.status.unwrap().journal.current.unwrap().nonce,
        "ddddccccbbbbaaaa"
    );
}

#[test]
fn what_a_given_up_attempt_left_behind_is_deleted_even_if_nothing_new_may_be_made() {
    let mut o = observed(editor());
    let status = serde_json::from_value(json!({"journal": {"abandoned": [{"nonce": NONCE}]}})).unwrap();
    Arc::make_mut(&mut o.user).status = Some(status);
    o.class = None;
    let lost = json!({"userId": "pu-9", "type": "programmatic", "username": o.marker(NONCE).name("ci")});
    let (steps, rest) = run(&mut o, |step, o| {
        let list_users = matches!(step, Step::ListUsers);
        if list_users {
            o.learned.listed = Some(Ok(vec![serde_json::from_value(lost.clone()).unwrap()]));
        }
        list_users
    });
    assert_eq!(steps, ["list", "delete-user"]);
    assert_eq!(reason(&rest), "UnknownClass");
}

#[test]
fn a_try_that_fails_as_the_one_before_is_no_news() {
    let mut o = observed(editor());
    let mut rejected = |step: &Step, o: &mut Observed| {
        let create = matches!(step, Step::Create(_));
        if create {
            o.learned.created = Some(Created::No(problem("RejectedByPlatform")));
        }
        create
    };
    let (_, rest) = run(&mut o, &mut rejected);
    assert_eq!(
        rest.event.as_ref().map(|e| e.reason.as_str()),
        Some("RejectedByPlatform")
    );
    Arc::make_mut(&mut o.user).status = rest.status.map(|s| *s);
    o.learned = Learned::default();
    let (steps, rest) = run(&mut o, &mut rejected);
    assert!(steps.contains(&"create"));
    assert_eq!(rest.event, None);
    assert_eq!(
        rest.status.as_deref(),
        o.user
            .status
            .as_ref()
            .map(|s| {
                let mut before = s.clone();
                before.journal.pending = None;
                before
            })
            .as_ref()
    );
}

#[test]
fn a_secret_that_cannot_be_written_costs_the_new_user_and_nothing_else() {
    let mut o = observed(editor());
    let (steps, rest) = run(&mut o, |step, o| {
        let commit = matches!(step, Step::Commit(_));
        if commit {
            o.learned.committed = Some(Err(problem("SecretRejected")));
        }
        commit
    });
    assert_eq!(steps[4..], ["create", "commit", "compensate"]);
    let journal = &rest.status.as_ref().unwrap().journal;
    assert_eq!(
        (
            journal.pending.is_none(),
            journal.current.is_none(),
            journal.abandoned.len()
        ),
        (true, true, 0)
    );
    assert_eq!(reason(&rest), "SecretRejected");
}

#[test]
fn after_a_crash_a_committed_attempt_is_rolled_forward_without_another_create() {
    let mut o = observed(editor());
    run(&mut o, |_, _| false);
    // The status is as the intent left it: the crash came before the last write.
    o.secret = own_secret(NONCE);
    o.learned = Learned::default();
    let details = json!({"userId": "pu-1", "type": "programmatic", "tokens": [{"tokenLastDigits": "ab12", "createdAt": "2026-01-05T10:11:12.000+0000"}]});
    let (steps, rest) = run(&mut o, |step, o| {
        let read = matches!(step, Step::ReadUser(_));
        if read {
            o.learned.details = Some(Ok(Some(serde_json::from_value(details.clone()).unwrap())));
        }
        read
    });
    assert_eq!(steps, ["journal", "look-up", "read", "verify"]);
    assert_eq!(condition(&rest, READY).unwrap().0, "True");
    assert_eq!(rest.status.unwrap().token_last_digits.as_deref(), Some("ab12"));
}

#[test]
fn after_a_crash_an_uncommitted_attempt_is_given_up() {
    let mut o = observed(editor());
    run(&mut o, |_, _| false);
    o.learned = Learned::default();
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, ["journal", "list"]);
    assert_eq!(rest.status.unwrap().journal.abandoned[0].nonce, NONCE);
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
            o.secret = SecretView::Foreign("belongs to Certificate web".to_owned());
        }),
        ("NotAllowed", "is not open to namespace payments", |o| {
            Arc::make_mut(o.class.as_mut().unwrap())
                .spec
                .namespaces
                .match_names
                .clear();
        }),
        ("NotAllowed", "does not allow scope Account", |o| {
            Arc::make_mut(o.class.as_mut().unwrap()).spec.scopes.remove(0);
        }),
        ("NotAllowed", "does not allow role Editor", |o| {
            Arc::make_mut(o.class.as_mut().unwrap())
                .spec
                .allow
                .roles
                .remove(1);
        }),
        ("NotAllowed", "does not allow act-1 among its accounts", |o| {
            Arc::make_mut(o.class.as_mut().unwrap())
                .spec
                .allow
                .accounts
                .clear();
        }),
        ("NotAllowed", "allows 1 users in a namespace", |o| {
            Arc::make_mut(o.class.as_mut().unwrap())
                .spec
                .max_users_per_namespace = Some(1);
            o.siblings = 1;
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

#[test]
fn policies_are_found_by_name_and_only_one_may_have_it() {
    let policy_based = |name: &str| {
        user(
            &json!({"className": "editors", "scope": "Organization", "access": {
            "role": "PolicyBased", "accounts": [{"id": "act-1"}, {"id": "act-2"}], "policies": [{"name": name}]}}),
        )
    };
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
        o.learned.catalog = Some(Ok(Found {
            catalog,
            fresh: *fresh,
        }));
        true
    });
    assert_eq!(asked, [false, true]);
}

#[test]
fn groups_are_changed_in_place() {
    let mut o = made();
    let user = Arc::make_mut(&mut o.user);
    user.metadata.generation = Some(2);
    user.spec.access.as_mut().unwrap().groups =
        serde_json::from_value(json!([{"name": "deployers"}])).unwrap();
    let details = json!({"userId": "pu-1", "type": "programmatic"});
    let (steps, rest) = run(&mut o, |step, o| {
        let read = matches!(step, Step::ReadUser(_));
        if read {
            o.learned.details = Some(Ok(Some(serde_json::from_value(details.clone()).unwrap())));
        }
        read
    });
    assert_eq!(steps, ["look-up", "read", "groups", "verify"]);
    assert_eq!(rest.status.unwrap().observed_generation, Some(2));
}

#[test]
fn what_only_a_new_user_could_change_is_refused_and_nothing_is_done() {
    let mut o = made();
    Arc::make_mut(&mut o.user).spec.description = Some("new".to_owned());
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, Vec::<&str>::new());
    assert_eq!(reason(&rest), "ReplacementRequired");
}

#[test]
fn deletion_removes_the_user_then_the_secret_then_the_finalizer() {
    let mut o = made();
    Arc::make_mut(&mut o.user).metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, ["delete-user", "delete-secret", "remove-finalizer"]);
    assert_eq!(rest.status, None);
}

#[test]
fn deletion_waits_for_the_platform() {
    let mut o = made();
    Arc::make_mut(&mut o.user).metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let (steps, rest) = run(&mut o, |step, o| {
        let Step::DeleteUser(id, _) = step else {
            return false;
        };
        o.learned
            .deleted
            .insert(id.clone(), Err(problem("PlatformUnreachable")));
        true
    });
    assert_eq!(steps, ["delete-user"]);
    assert_eq!(reason(&rest), "DeletionBlocked");

    o.learned = Learned::default();
    o.organization = None;
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, Vec::<&str>::new());
    assert!(
        condition(&rest, STALLED)
            .unwrap()
            .2
            .contains("user pu-1 cannot be deleted")
    );
}

#[test]
fn deletion_of_what_never_began_asks_the_platform_nothing() {
    let mut object = editor();
    object.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    object.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let (steps, _) = run(&mut observed(object), |_, _| false);
    assert_eq!(steps, ["remove-finalizer"]);
}

#[test]
fn the_guard_takes_nothing_but_the_marker() {
    let marker = Marker::new("abcdef", "uid-1", NONCE);
    let details = |name: &str, kind: &str| -> UserDetails {
        serde_json::from_value(json!({"userId": "pu-1", "username": name, "type": kind})).unwrap()
    };
    assert!(is_marked(&details(&marker.name("x"), "programmatic"), &marker));
    assert!(!is_marked(&details(&marker.name("x"), "personal"), &marker));
    assert!(!is_marked(&details("x", "programmatic"), &marker));
    let other = Marker::new("abcdef", "uid-2", NONCE);
    assert!(!is_marked(&details(&other.name("x"), "programmatic"), &marker));
}
