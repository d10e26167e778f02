//! What goes wrong on the way.

use super::*;

#[test]
fn a_rejected_create_leaves_no_pending_attempt() {
    let mut o = observed(editor());
    let (steps, rest) = run(&mut o, |step, o| {
        let create = matches!(step, Step::Create(_));
        if create {
            o.answers.created = Some(Created::No(problem(Reason::RejectedByPlatform)));
        }
        create
    });
    assert_eq!(steps.last(), Some(&"create"));
    let journal = &rest.status.as_ref().unwrap().journal;
    assert_eq!((journal.pending.is_none(), journal.abandoned.len()), (true, 0));
    assert_eq!(
        (reason(&rest).as_str(), rest.requeue),
        ("RejectedByPlatform", Requeue::Backoff)
    );
}

#[test]
fn an_unknown_outcome_is_abandoned_and_swept_and_never_repeated() {
    let mut o = observed(editor());
    let (_, rest) = run(&mut o, |step, o| {
        let create = matches!(step, Step::Create(_));
        if create {
            o.answers.created = Some(Created::Unknown(problem(Reason::PlatformUnreachable)));
        }
        create
    });
    let status = *rest.status.unwrap();
    assert_eq!(status.journal.abandoned[0].nonce, NONCE);

    // The user appears in the list: it is deleted, and the attempt is kept until it has settled.
    Arc::make_mut(&mut o.user).status = Some(status);
    o.answers = Answers::default();
    o.fresh_nonce = "ddddccccbbbbaaaa".to_owned();
    let users = vec![own(&o, "pu-9", NONCE)];
    let listing = |step: &Step, o: &mut Observed| {
        let list_users = matches!(step, Step::ListUsers);
        if list_users {
            o.answers.listed = Some(Ok(users.clone()));
        }
        list_users
    };
    let (steps, rest) = run(&mut o, listing);
    assert_eq!(steps, ["list", "delete-user"]);
    assert_eq!(reason(&rest), "Recovering");
    assert_eq!(rest.status.as_ref().unwrap().journal.abandoned.len(), 1);

    // Settled: forgotten, and a new attempt with a new nonce begins.
    o.answers = Answers::default();
    o.expired_attempts = BTreeSet::from([NONCE.to_owned()]);
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
    Arc::make_mut(&mut o.user).metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    o.class = None;
    let (steps, rest) = run(&mut o, |step, o| {
        let list_users = matches!(step, Step::ListUsers);
        if list_users {
            o.answers.listed = Some(Ok(vec![own(o, "pu-9", NONCE)]));
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
            o.answers.created = Some(Created::No(problem(Reason::RejectedByPlatform)));
        }
        create
    };
    let (_, rest) = run(&mut o, &mut rejected);
    assert_eq!(
        rest.event.as_ref().map(|e| e.reason.as_str()),
        Some("RejectedByPlatform")
    );
    Arc::make_mut(&mut o.user).status = rest.status.map(|s| *s);
    o.answers = Answers::default();
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
            o.answers.committed = Some(Committed::No(problem(Reason::SecretRejected)));
        }
        commit
    });
    assert_eq!(steps[5..], ["create", "commit", "compensate"]);
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
    o.next_secret = own_secret(NONCE);
    o.answers = Answers::default();
    let mut details: serde_json::Value = own(&o, "pu-1", NONCE);
    details["tokens"] = json!([{"tokenLastDigits": "ab12", "createdAt": "2026-01-05T10:11:12.000+0000"}]);
    let (steps, rest) = run(&mut o, |step, o| {
        let read = matches!(step, Step::ReadUser(_));
        if read {
            let details = Some(serde_json::from_value(details.clone()).unwrap());
            answer_read(step, o, details);
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
    o.answers = Answers::default();
    o.next_secret = SecretView::Absent;
    let mut fence = None;
    let (steps, rest) = run(&mut o, |step, _| {
        if let Step::Fence(f) = step {
            fence = Some(f.clone());
        }
        false
    });
    assert_eq!(steps, ["tombstone", "fence", "journal", "list"]);
    assert_eq!(rest.status.unwrap().journal.abandoned[0].nonce, NONCE);
    let fence = fence.unwrap();
    assert_eq!((fence.name.as_str(), fence.over), ("ci", None));
    assert_eq!(fence.keys, ["SPOTINST_ACCOUNT", "SPOTINST_TOKEN"]);
}

#[test]
fn without_bar_and_fence_nothing_is_given_up() {
    let mut o = observed(editor());
    run(&mut o, |_, _| false);
    o.answers = Answers::default();
    o.next_secret = SecretView::Absent;
    let mut unbarred = o.clone();
    o.answers.fenced = Some(Err(problem(Reason::SecretRejected)));
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, ["tombstone"]);
    assert!(rest.status.unwrap().journal.pending.is_some());

    // Its token was staged a moment ago.
    unbarred.answers.tombstoned = Some(Err(problem(Reason::SecretRejected)));
    let (steps, rest) = run(&mut unbarred, |_, _| false);
    assert_eq!(steps, Vec::<&str>::new());
    assert!(rest.status.unwrap().journal.pending.is_some());
}

#[test]
fn what_bars_an_attempt_goes_when_nothing_of_it_can_appear_any_more() {
    let mut o = made();
    let status = Arc::make_mut(&mut o.user).status.as_mut().unwrap();
    status.journal.abandoned = vec![crate::api::Abandoned {
        nonce: "ddddccccbbbbaaaa".to_owned(),
    }];
    o.staged = vec![Staged {
        user_id: None,
        ..staged("ddddccccbbbbaaaa", "")
    }];
    let unsettled = o.clone();
    o.expired_attempts = BTreeSet::from(["ddddccccbbbbaaaa".to_owned()]);
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, ["list", "unstage"]);
    assert!(rest.status.unwrap().journal.abandoned.is_empty());

    let mut o = unsettled;
    assert!(!run(&mut o, |_, _| false).0.contains(&"unstage"));
}

#[test]
fn no_user_is_deleted_whose_token_the_secret_carries() {
    let mut o = made();
    let status = Arc::make_mut(&mut o.user).status.as_mut().unwrap();
    status.journal.abandoned = vec![crate::api::Abandoned {
        nonce: NONCE.to_owned(),
    }];
    status.journal.current = None;
    let (steps, _) = run(&mut o, |step, o| {
        let list = matches!(step, Step::ListUsers);
        if list {
            o.answers.listed = Some(Ok(vec![own(o, "pu-1", NONCE)]));
        }
        list
    });
    assert_eq!(steps[0], "journal");
    assert!(!steps.contains(&"delete-user"), "{steps:?}");
    let retiring = &o.user.status.as_ref().unwrap().journal.retiring[0];
    assert_eq!(
        (retiring.nonce.as_str(), retiring.user_id.as_str()),
        (NONCE, "pu-1")
    );
    assert!(retiring.not_before > now(), "pods may have it");
}

#[test]
fn nothing_new_is_begun_while_an_attempt_settles() {
    let mut o = made();
    let status = Arc::make_mut(&mut o.user).status.as_mut().unwrap();
    status.journal.abandoned = vec![crate::api::Abandoned {
        nonce: "ddddccccbbbbaaaa".to_owned(),
    }];
    (o.current_secret, o.next_secret) = (SecretView::Absent, SecretView::Absent);
    o.answers.dry_run = Some(Ok(()));
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, ["list"]);
    let status = rest.status.unwrap();
    assert!(status.journal.pending.is_none() && status.journal.attempt_times.len() == 1);
}

#[test]
fn a_secret_that_may_have_been_written_keeps_its_user_until_it_was_looked_at() {
    let mut o = observed(editor());
    let (steps, rest) = run(&mut o, |step, o| {
        let commit = matches!(step, Step::Commit(_));
        if commit {
            o.answers.committed = Some(Committed::Unknown(problem(Reason::SecretRejected)));
        }
        commit
    });
    assert_eq!(steps.last(), Some(&"commit"), "nothing is deleted");
    let status = *rest.status.unwrap();
    assert_eq!(
        status.journal.pending.as_ref().map(|p| p.nonce.as_str()),
        Some(NONCE)
    );
    // It had been written: rolled forward.
    Arc::make_mut(&mut o.user).status = Some(status);
    o.answers = Answers::default();
    o.next_secret = own_secret(NONCE);
    let (steps, _) = run(&mut o, |_, _| false);
    assert_eq!(steps[0], "journal");
    assert!(!steps.contains(&"delete-user"));
    assert_eq!(
        o.user
            .status
            .as_ref()
            .unwrap()
            .journal
            .current
            .as_ref()
            .unwrap()
            .nonce,
        NONCE
    );
}

#[test]
fn a_user_that_does_not_carry_the_marker_is_not_changed() {
    let mut o = observed(editor());
    run(&mut o, |_, _| false);
    o.next_secret = own_secret(NONCE);
    o.answers = Answers::default();
    let (steps, rest) = run(&mut o, |step, o| {
        let read = matches!(step, Step::ReadUser(_));
        if read {
            let victim = json!({"userId": "pu-1", "type": "programmatic", "username": "somebody", "groups": [{"id": "ugr-9"}]});
            let details = Some(serde_json::from_value(victim).unwrap());
            answer_read(step, o, details);
        }
        read
    });
    assert_eq!(steps, ["journal", "look-up", "read"]);
    assert_eq!(reason(&rest), "UserNotOurs");
}

#[test]
fn what_was_asked_for_when_it_was_made_counts_after_a_crash() {
    let mut o = observed(editor());
    run(&mut o, |_, _| false);
    o.next_secret = own_secret(NONCE);
    o.answers = Answers::default();
    Arc::make_mut(&mut o.user).spec.access.as_mut().unwrap().role = crate::api::Role::Viewer;
    o.fresh_nonce = "ddddccccbbbbaaaa".to_owned();
    let (steps, _) = run(&mut o, |_, _| false);
    assert_eq!(steps[0], "journal");
    assert!(
        steps.contains(&"stage"),
        "the user is an editor still, and is replaced: {steps:?}"
    );
}

#[test]
fn a_finalizer_that_was_taken_off_is_put_back() {
    let mut o = made();
    Arc::make_mut(&mut o.user).metadata.finalizers = None;
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, ["finalizer"]);
    assert_eq!(rest.status.as_deref(), o.user.status.as_ref());
}
