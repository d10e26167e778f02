//! Replacing a user: why, in which order, and what becomes of the old one.

use super::*;
use crate::api::{HISTORY_REWOUND, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION, ROTATING, SUSPENDED};

pub(super) const NEXT: &str = "ddddccccbbbbaaaa";
pub(super) const REPLACEMENT: [&str; 9] = [
    "look-up", "reserve", "dry-run", "intent", "create", "stage", "verify", "publish", "unstage",
];

pub(super) fn in_use() -> Observed {
    let mut o = made();
    o.fresh_nonce = NEXT.to_owned();
    o
}

pub(super) fn object(o: &mut Observed) -> &mut ProgrammaticUser {
    Arc::make_mut(&mut o.user)
}

pub(super) fn annotate(o: &mut Observed, key: &str, value: &str) {
    let annotations = object(o).metadata.annotations.get_or_insert_default();
    annotations.insert(key.to_owned(), value.to_owned());
}

pub(super) fn created(step: &Step, o: &mut Observed) -> bool {
    let create = matches!(step, Step::Create(_));
    if create {
        o.answers.created = Some(Created::Yes {
            user_id: "pu-2".to_owned(),
            last_digits: "cd34".to_owned(),
        });
    }
    create
}

/// What a later reconcile sees.
pub(super) fn later(o: &mut Observed, rest: Verdict) {
    object(o).status = rest.status.map(|s| *s);
    if let Some(current) = status(o).journal.current.clone() {
        o.next_secret = own_secret(&current.nonce);
        o.current_secret = o.next_secret.clone();
    }
    o.answers = Answers::default();
}

pub(super) fn status(o: &Observed) -> &ProgrammaticUserStatus {
    o.user.status.as_ref().unwrap()
}

type Change = fn(&mut Observed);

#[test]
fn every_reason_leads_to_the_same_order_of_steps() {
    let edited = |o: &mut Observed| {
        for view in [&mut o.current_secret, &mut o.next_secret] {
            if let SecretView::Ours(own) = view {
                own.unedited = false;
            }
        }
    };
    let reasons: [(&str, Change); 5] = [
        ("SpecChanged", |o| {
            object(o).spec.description = Some("new".to_owned());
        }),
        ("Requested", |o| annotate(o, ROTATE_AT_ANNOTATION, "1")),
        ("Revoked", |o| annotate(o, REVOKE_NOW_ANNOTATION, "1")),
        ("SecretMissing", |o| {
            o.current_secret = SecretView::Absent;
            o.next_secret = SecretView::Absent;
        }),
        ("SecretEdited", |_| ()),
    ];
    for (why, change) in reasons {
        let mut o = in_use();
        change(&mut o);
        if why == "SecretEdited" {
            edited(&mut o);
        }
        let mut reason = None;
        let (steps, rest) = run(&mut o, |step, o| {
            if let Step::Journal(status, Some(_)) = step {
                reason = status.journal.pending.as_ref().map(|p| p.reason.clone());
                assert!(status.conditions.iter().any(|c| c.type_ == ROTATING), "{why}");
                assert!(
                    status
                        .conditions
                        .iter()
                        .any(|c| c.type_ == READY && c.status == "True"),
                    "{why}"
                );
            }
            created(step, o)
        });
        assert_eq!(steps, REPLACEMENT, "{why}");
        assert_eq!(reason.as_deref(), Some(why));
        let status = rest.status.unwrap();
        assert_eq!(status.journal.current.as_ref().unwrap().user_id, "pu-2");
        assert_eq!(status.journal.retiring[0].user_id, "pu-1");
        let at_once = status.journal.retiring[0].not_before == now();
        assert_eq!(at_once, why == "Revoked", "{why}");
        assert_eq!(rest.event.unwrap().reason, Reason::Rotated);
        assert!(!status.conditions.iter().any(|c| c.type_ == ROTATING));
    }
}

#[test]
fn what_was_asked_for_once_is_done_once() {
    let mut o = in_use();
    annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
    let (_, rest) = run(&mut o, created);
    later(&mut o, rest);
    assert_eq!(status(&o).last_handled_rotate_at.as_deref(), Some("1"));
    let (steps, _) = run(&mut o, created);
    assert_eq!(steps, Vec::<&str>::new());
    // At the creation of an object nothing is there to be replaced.
    let mut o = observed(editor());
    annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
    let (_, rest) = run(&mut o, |_, _| false);
    later(&mut o, rest);
    assert_eq!(run(&mut o, |_, _| false).0, Vec::<&str>::new());
}

#[test]
fn a_token_is_replaced_at_its_age_by_the_platforms_clock() {
    let mut o = in_use();
    object(&mut o).spec.rotation = serde_json::from_value(json!({"every": "10h", "overlap": "1h"})).unwrap();
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, Vec::<&str>::new());
    let due = rest.status.as_ref().unwrap().next_rotation.unwrap();
    let age = due.duration_since(now()).as_hours();
    assert!((9..=10).contains(&age), "{age}");
    assert!(matches!(rest.requeue, Requeue::After(span) if span.as_secs() >= 9 * 3600));
    later(&mut o, rest);
    o.platform_now = None;
    assert_eq!(
        run(&mut o, |_, _| false).0,
        Vec::<&str>::new(),
        "our own clock decides nothing"
    );
    o.platform_now = Some(due);
    let (steps, rest) = run(&mut o, created);
    assert_eq!(steps, REPLACEMENT);
    let journal = &rest.status.as_ref().unwrap().journal;
    assert_eq!(journal.attempt_times, [now()], "the schedule itself is no flood");
    let retiring = &journal.retiring[0];
    assert_eq!(retiring.not_before.duration_since(due).as_hours(), 1);
    later(&mut o, rest);

    // Within the overlap it stays, after it the old user goes.
    assert_eq!(run(&mut o, |_, _| false).0, Vec::<&str>::new());
    o.platform_now = Some(status(&o).journal.retiring[0].not_before);
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, ["delete-user"]);
    assert!(rest.status.unwrap().journal.retiring.is_empty());
}

#[test]
fn a_retired_user_whose_token_the_secret_carries_is_not_deleted_unless_it_is_revoked() {
    for (how, deleted) in [(ROTATE_AT_ANNOTATION, false), (REVOKE_NOW_ANNOTATION, true)] {
        let mut o = in_use();
        annotate(&mut o, how, "1");
        let (_, rest) = run(&mut o, created);
        later(&mut o, rest);
        o.platform_now = Some(status(&o).journal.retiring[0].not_before);
        // A person restores the Secret from a backup, or a tenant writes the annotation.
        o.current_secret = own_secret(NONCE);
        o.next_secret = own_secret(NONCE);
        o.fresh_nonce = "eeeeccccbbbbaaaa".to_owned();
        let (steps, _) = run(&mut o, |_, _| false);
        assert_eq!(steps.contains(&"delete-user"), deleted, "{steps:?}");
        assert!(steps.contains(&"publish"));
    }
}

#[test]
fn a_token_that_is_not_accepted_is_not_published() {
    let mut o = in_use();
    annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
    let refuse = |step: &Step, o: &mut Observed| {
        let verify = matches!(step, Step::Verify(_));
        if verify {
            answer_verify(step, o, false);
        }
        let read = matches!(step, Step::ReadUser(_));
        if read {
            let details = Some(own(o, "pu-2", NEXT));
            answer_read(step, o, details);
        }
        verify || read || created(step, o)
    };
    let (steps, rest) = run(&mut o, refuse);
    assert_eq!(steps.last(), Some(&"verify"));
    assert_eq!(reason(&rest), "TokenNotAccepted");
    later(&mut o, rest);
    // Tried again with the staged token, and given up after a while; the old token was in use all the time.
    let (steps, rest) = run(&mut o, refuse);
    assert_eq!(steps, ["look-up", "read", "verify"]);
    later(&mut o, rest);
    let begun = status(&o).journal.pending.as_ref().unwrap().started_at;
    o.answers = Answers::default();
    let mut status = status(&o).clone();
    status.journal.pending.as_mut().unwrap().started_at =
        begun.checked_sub(super::super::user::PATIENCE).unwrap();
    object(&mut o).status = Some(status);
    let (steps, rest) = run(&mut o, |step, o| {
        let list = matches!(step, Step::ListUsers);
        if list {
            o.answers.listed = Some(Ok(vec![own(o, "pu-2", NEXT)]));
        }
        list
    });
    assert_eq!(steps, ["unstage", "fence", "journal", "list", "delete-user"]);
    let journal = rest.status.unwrap().journal;
    assert_eq!(
        (
            journal.abandoned[0].nonce.as_str(),
            journal.current.unwrap().nonce.as_str()
        ),
        (NEXT, NONCE)
    );
}

#[test]
fn after_a_crash_a_staged_token_is_published() {
    let mut o = in_use();
    annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
    let (steps, rest) = run(&mut o, |step, o| {
        let publish = matches!(step, Step::Publish(..));
        if publish {
            o.answers.published = Some(Committed::Unknown(problem(Reason::SecretRejected)));
        }
        publish || created(step, o)
    });
    assert_eq!(steps.last(), Some(&"publish"));
    later(&mut o, rest);
    o.current_secret = own_secret(NONCE);
    o.next_secret = own_secret(NONCE);
    let (steps, rest) = run(&mut o, |step, o| {
        let read = matches!(step, Step::ReadUser(_));
        if read {
            let details = Some(own(o, "pu-2", NEXT));
            answer_read(step, o, details);
        }
        read
    });
    assert_eq!(steps, ["look-up", "read", "verify", "publish", "unstage"]);
    assert_eq!(rest.status.unwrap().journal.current.unwrap().nonce, NEXT);
}

#[test]
fn another_name_of_the_secret_leaves_the_old_one_until_the_overlap_is_over() {
    let mut o = in_use();
    object(&mut o).spec.secret.name = Some("other".to_owned());
    o.next_secret = SecretView::Absent;
    let (steps, rest) = run(&mut o, created);
    assert_eq!(steps, REPLACEMENT);
    let status = rest.status.as_ref().unwrap();
    assert_eq!(status.secret_name.as_deref(), Some("other"));
    assert_eq!(status.journal.retiring[0].secret_name.as_deref(), Some("ci"));
    let over = status.journal.retiring[0].not_before;
    later(&mut o, rest);
    o.platform_now = Some(over);
    assert_eq!(run(&mut o, |_, _| false).0, ["delete-user", "delete-old-secret"]);
}

/// The staged user is missing, and the current one is not: each answer belongs to the user that was read.
#[test]
fn a_missing_staged_user_does_not_make_the_current_user_missing() {
    let mut o = in_use();
    annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
    let (_, rest) = run(&mut o, |step, o| {
        let verify = matches!(step, Step::Verify(_));
        if verify {
            answer_verify(step, o, false);
        }
        verify || created(step, o)
    });
    assert_eq!(reason(&rest), "TokenNotAccepted");
    later(&mut o, rest);
    // The request is withdrawn, and the platform loses the staged user.
    object(&mut o).metadata.annotations = None;
    o.full_check = true;
    let mut read = Vec::new();
    let (steps, rest) = run(&mut o, |step, o| {
        if let Step::ReadUser(id) = step {
            read.push(id.clone());
            let details = (id == "pu-1").then(|| own(o, id, NONCE));
            answer_read(step, o, details);
        }
        matches!(step, Step::ReadUser(_))
    });
    assert_eq!(read, ["pu-2", "pu-1"], "{steps:?}");
    assert_eq!(reason(&rest), "Ready");
    assert!(rest.status.unwrap().journal.current.unwrap().access.is_some());
}

#[test]
fn a_damaged_journal_and_a_suspended_object_stop_everything() {
    let mut o = in_use();
    o.intact = false;
    annotate(&mut o, REVOKE_NOW_ANNOTATION, "1");
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!((steps.len(), reason(&rest).as_str()), (0, "JournalInvalid"));
    o.intact = true;
    object(&mut o).metadata.annotations = None;
    object(&mut o).spec.suspend = true;
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps.len(), 0);
    assert!(condition(&rest, SUSPENDED).is_some());
    assert_eq!(
        condition(&rest, READY).unwrap().0,
        "True",
        "it is as ready as it was"
    );
}

#[test]
fn users_that_the_journal_does_not_know_are_reported_and_left_alone() {
    let mut o = in_use();
    let name = o.marker("zzzzccccbbbbaaaa").name("ci");
    let stray: UserName =
        serde_json::from_value(json!({"userId": "pu-8", "type": "programmatic", "username": name})).unwrap();
    o.unknown_users = Some(vec![stray.clone()]);
    let mut listed = vec![stray];
    let (steps, rest) = run(&mut o, |step, o| {
        let list = matches!(step, Step::ListUsers);
        if list {
            o.answers.listed = Some(Ok(listed.clone()));
        }
        list
    });
    assert_eq!(steps, ["list"]);
    assert!(condition(&rest, HISTORY_REWOUND).unwrap().2.contains("pu-8"));
    assert_eq!(condition(&rest, READY).unwrap().0, "True");
    assert!(rest.event.as_ref().unwrap().warning);
    // It went in the meantime: no news.
    later(&mut o, rest);
    listed.clear();
    let (_, rest) = run(&mut o, |step, o| {
        let list = matches!(step, Step::ListUsers);
        if list {
            o.answers.listed = Some(Ok(listed.clone()));
        }
        list
    });
    assert!(condition(&rest, HISTORY_REWOUND).is_none());
}

#[test]
fn the_end_of_life_leaves_nothing_but_the_object() {
    let mut o = in_use();
    object(&mut o).spec.expire_at = Some(now());
    let mut alone = o.clone();
    alone.organization = None;
    let (steps, rest) = run(&mut alone, |_, _| false);
    assert_eq!((steps, reason(&rest).as_str()), (Vec::new(), "OrganizationGone"));
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps, ["delete-user", "delete-secret"]);
    assert_eq!(reason(&rest), "Expired");
    later(&mut o, rest);
    assert!(status(&o).journal.is_empty() && status(&o).user_id.is_none());
    o.current_secret = SecretView::Absent;
    o.next_secret = SecretView::Absent;
    assert_eq!(run(&mut o, |_, _| false).0, Vec::<&str>::new());
}
