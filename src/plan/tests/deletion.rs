//! The way out.

use super::*;

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
        o.answers
            .deleted
            .insert(id.clone(), Err(problem(Reason::PlatformUnreachable)));
        true
    });
    assert_eq!(steps, ["delete-user"]);
    assert_eq!(reason(&rest), "DeletionBlocked");

    o.answers = Answers::default();
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

#[test]
fn a_journal_that_names_somebody_elses_user_does_not_end_the_search_for_our_own() {
    let mut o = made();
    Arc::make_mut(&mut o.user).metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    o.expired_attempts = BTreeSet::from([NONCE.to_owned()]);
    let own = json!({"userId": "pu-7", "type": "programmatic", "username": o.marker("ddddccccbbbbaaaa").name("ci")});
    let other = json!({"userId": "pu-8", "type": "programmatic", "username": Marker::new("abcdef", "uid-2", NONCE).name("ci")});
    let mut deleted = Vec::new();
    let (steps, _) = run(&mut o, |step, o| match step {
        Step::DeleteUser(id, _) if id == "pu-1" => {
            o.answers.deleted.insert(id.clone(), Ok(Deletion::NotOurs));
            true
        }
        Step::DeleteUser(id, _) => {
            deleted.push(id.clone());
            false
        }
        Step::ListUsers => {
            o.answers.listed = Some(Ok(serde_json::from_value(json!([own, other])).unwrap()));
            true
        }
        _ => false,
    });
    assert_eq!(
        steps,
        [
            "delete-user",
            "journal",
            "list",
            "delete-user",
            "delete-secret",
            "remove-finalizer"
        ]
    );
    assert_eq!(deleted, ["pu-7"]);
}

/// Whose digest of 40 bits another object has, too, loses no user by that digest: only by an attempt of its own journal.
#[test]
fn no_user_is_deleted_by_a_digest_that_two_objects_share() {
    let (given_up, unknown) = ("ddddccccbbbbaaaa", "eeeeffffgggghhhh");
    let deleted = |short: bool, shared: bool| {
        let mut o = made();
        let user = Arc::make_mut(&mut o.user);
        user.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
        let abandoned = crate::api::Abandoned {
            nonce: given_up.to_owned(),
        };
        user.status.as_mut().unwrap().journal.abandoned.push(abandoned);
        o.expired_attempts = BTreeSet::from([given_up.to_owned()]);
        o.unknown_users = Some(vec![own(&o, "pu-9", unknown)]);
        let listed = |o: &Observed| {
            [("pu-8", given_up), ("pu-9", unknown)].map(|(id, nonce)| {
                let marker = if short {
                    o.marker(nonce).short()
                } else {
                    o.marker(nonce)
                };
                json!({"userId": id, "type": "programmatic", "username": marker.name("ci")})
            })
        };
        let mut deleted = Vec::new();
        run(&mut o, |step, o| match step {
            Step::DeleteUser(id, _) => {
                deleted.push(id.clone());
                false
            }
            Step::ListUsers => {
                o.answers.shared_digest = shared;
                o.answers.listed = Some(Ok(serde_json::from_value(json!(listed(o))).unwrap()));
                true
            }
            _ => false,
        });
        assert!(o.answers.finalizer_removed);
        deleted
    };
    assert_eq!(deleted(true, true), ["pu-1", "pu-8"]);
    for (short, shared) in [(true, false), (false, true), (false, false)] {
        assert_eq!(
            deleted(short, shared),
            ["pu-1", "pu-8", "pu-9"],
            "{short} {shared}"
        );
    }
}

/// An upgrade: the user in the journal carries the marker of an earlier version.
#[test]
fn a_user_with_a_short_marker_stays_and_is_deleted_as_any_other() {
    let short = |o: &Observed| -> UserDetails {
        let editor = json!([{"policyId": "2", "accountIds": ["act-1"]}]);
        let name = o.marker(NONCE).short().name("ci");
        serde_json::from_value(
            json!({"userId": "pu-1", "type": "programmatic", "username": name, "policies": editor}),
        )
        .unwrap()
    };
    let mut o = made();
    o.full_check = true;
    let (steps, rest) = run(&mut o, |step, o| {
        if let Step::ReadUser(_) = step {
            let details = Some(short(o));
            answer_read(step, o, details);
            return true;
        }
        false
    });
    assert_eq!(
        (steps, &*reason(&rest)),
        (vec!["look-up", "read", "verify"], "Ready")
    );
    assert!(is_marked(&short(&o), &o.marker(NONCE)));
}

#[test]
fn what_is_retained_is_released_and_only_the_rest_goes() {
    let mut o = made();
    let user = Arc::make_mut(&mut o.user);
    user.spec.deletion_policy = crate::api::DeletionPolicy::Retain;
    user.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let kept = o.clone();
    assert_eq!(
        run(&mut o, |_, _| false).0,
        ["record", "release", "remove-finalizer"]
    );

    // A token that no Secret will hold is not left alive.
    let mut o = kept.clone();
    o.namespace_ends = true;
    let whole = ["delete-user", "delete-secret", "remove-finalizer"];
    assert_eq!(run(&mut o, |_, _| false).0, whole);
    let mut o = kept.clone();
    (o.current_secret, o.next_secret) = (SecretView::Absent, SecretView::Absent);
    assert_eq!(run(&mut o, |_, _| false).0, ["delete-user", "remove-finalizer"]);
    // Somebody's own Secret may hold it.
    let mut o = kept.clone();
    let theirs = SecretView::Foreign("has no owner".to_owned());
    (o.current_secret, o.next_secret) = (theirs.clone(), theirs);
    assert_eq!(run(&mut o, |_, _| false).0, ["record", "remove-finalizer"]);

    // A replacement was on its way: it is fenced off before anything else.
    let mut o = kept;
    let status = Arc::make_mut(&mut o.user).status.as_mut().unwrap();
    status.journal.pending = Some(crate::api::Pending {
        nonce: "ddddccccbbbbaaaa".to_owned(),
        started_at: now(),
        reason: "Requested".to_owned(),
        fingerprint: String::new(),
        secret_name: "ci".to_owned(),
        rotate_at: None,
        revoke_now: None,
        granted: None,
    });
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, ["tombstone", "fence", "journal", "list"]);
    assert_eq!(reason(&rest), "DeletionBlocked");
}
