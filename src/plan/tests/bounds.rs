//! Users beside the current one: how many, how long, and what is done about them.

use super::rotation::{NEXT, annotate, created, in_use, object, status};
use super::*;
use crate::api::{REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION};

#[test]
fn a_secret_that_two_replaced_users_were_in_goes_with_the_later_one() {
    let mut o = in_use();
    let old = |nonce: &str, id: &str, secret: &str| crate::api::Retiring {
        nonce: nonce.to_owned(),
        user_id: id.to_owned(),
        not_before: now(),
        not_after: None,
        replaced_at: None,
        secret_name: Some(secret.to_owned()),
        granted: None,
    };
    let status = object(&mut o).status.as_mut().unwrap();
    status.journal.retiring = vec![
        old(NEXT, "pu-7", "before"),
        old("eeeeccccbbbbaaaa", "pu-8", "before"),
    ];
    let mut asked = Vec::new();
    run(&mut o, |step, _| {
        if let Step::DeleteOldSecret { name, nonce } = step {
            asked.push((name.clone(), nonce.clone()));
        }
        false
    });
    let both = [NEXT, "eeeeccccbbbbaaaa"].map(|nonce| ("before".to_owned(), nonce.to_owned()));
    assert_eq!(asked, both);
}

#[test]
fn a_replaced_user_whose_id_was_forged_is_looked_for_by_its_marker() {
    let mut o = in_use();
    let old = object(&mut o).status.as_mut().unwrap();
    old.journal.retiring = vec![crate::api::Retiring {
        nonce: NEXT.to_owned(),
        user_id: "pu-other".to_owned(),
        not_before: now(),
        not_after: None,
        replaced_at: None,
        secret_name: None,
        granted: None,
    }];
    let mut deleted = Vec::new();
    run(&mut o, |step, o| match step {
        Step::DeleteUser(id, _) if id == "pu-other" => {
            o.answers.deleted.insert(id.clone(), Ok(Deletion::NotOurs));
            true
        }
        Step::DeleteUser(id, _) => {
            deleted.push(id.clone());
            false
        }
        Step::ListUsers => {
            o.answers.listed = Some(Ok(vec![own(o, "pu-7", NEXT)]));
            true
        }
        _ => false,
    });
    assert_eq!(deleted, ["pu-7"]);
    let journal = &status(&o).journal;
    assert!(journal.retiring.is_empty());
    assert_eq!(journal.abandoned[0].nonce, NEXT, "until it has settled");
}

#[test]
fn five_attempts_an_hour_and_four_users_beside_are_the_bounds() {
    let mut o = in_use();
    annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
    let mut status = status(&o).clone();
    status.journal.attempt_times = vec![now(); 5];
    object(&mut o).status = Some(status.clone());
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(
        (steps, reason(&rest).as_str()),
        (vec!["look-up"], "CreateBudgetExhausted")
    );
    assert_eq!(rest.requeue, Requeue::After(Duration::from_hours(1)));
    status.journal.attempt_times.clear();
    let old = crate::api::Retiring {
        nonce: NEXT.to_owned(),
        user_id: "pu-7".to_owned(),
        not_before: now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap(),
        not_after: None,
        replaced_at: None,
        secret_name: None,
        granted: None,
    };
    status.journal.retiring = vec![old; 4];
    object(&mut o).status = Some(status);
    o.answers = Answers::default();
    assert_eq!(reason(&run(&mut o, |_, _| false).1), "TooManyUsers");
}

#[test]
fn a_revocation_does_not_wait_because_the_secret_was_deleted_again_and_again() {
    let mut o = in_use();
    annotate(&mut o, REVOKE_NOW_ANNOTATION, "1");
    object(&mut o).status.as_mut().unwrap().journal.attempt_times = vec![now(); 5];
    let (steps, rest) = run(&mut o, created);
    assert!(steps.contains(&"publish"), "{steps:?}");
    assert_eq!(rest.status.unwrap().journal.attempt_times.len(), 6);
    // These have a bound, too: then the old token dies without a new one.
    let mut o = in_use();
    annotate(&mut o, REVOKE_NOW_ANNOTATION, "1");
    let ago = |minutes| {
        now()
            .checked_sub(jiff::SignedDuration::from_mins(minutes))
            .unwrap()
    };
    let begun = &mut object(&mut o).status.as_mut().unwrap().journal.attempt_times;
    *begun = [vec![ago(40)], vec![ago(20); 9]].concat();
    let (steps, rest) = run(&mut o, created);
    assert!(steps.contains(&"delete-user"), "{steps:?}");
    assert_eq!(reason(&rest), "CreateBudgetExhausted");
    assert!(rest.status.unwrap().journal.current.is_none());
}

#[test]
fn who_asks_for_a_revocation_waits_for_no_overlap() {
    let mut o = in_use();
    let old = |n: u8| crate::api::Retiring {
        nonce: format!("{n}{}", &NEXT[1..]),
        user_id: format!("pu-{n}"),
        not_before: now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap(),
        not_after: None,
        replaced_at: None,
        secret_name: None,
        granted: None,
    };
    object(&mut o).status.as_mut().unwrap().journal.retiring = (3..7).map(old).collect();
    annotate(&mut o, REVOKE_NOW_ANNOTATION, "1");
    let (steps, rest) = run(&mut o, created);
    assert_eq!(
        steps[..5],
        [
            "journal",
            "delete-user",
            "delete-user",
            "delete-user",
            "delete-user"
        ]
    );
    assert!(steps.contains(&"publish"), "{steps:?}");
    assert_eq!(
        rest.status.unwrap().journal.retiring.len(),
        1,
        "the one that was replaced just now"
    );
}

#[test]
fn what_is_overdue_and_cannot_be_is_not_tried_each_second() {
    let mut o = in_use();
    object(&mut o).spec.rotation = serde_json::from_value(json!({"every": "1h", "overlap": "30m"})).unwrap();
    o.platform_now = now().checked_add(jiff::SignedDuration::from_hours(2)).ok();
    for view in [&mut o.current_secret, &mut o.next_secret] {
        let SecretView::Ours(secret) = view else { panic!() };
        secret.immutable = true;
    }
    let (_, rest) = run(&mut o, |_, _| false);
    assert_eq!(reason(&rest), "SecretImmutable");
    assert_eq!(rest.requeue, Requeue::Stalled(None));
}

fn without_room(step: &Step, o: &mut Observed) -> bool {
    let Step::Reserve(purpose) = step else {
        return false;
    };
    let problem = Problem {
        retry: Retry::After(Duration::from_mins(9)),
        ..problem(Reason::CreateBudgetExhausted)
    };
    o.answers.reserved = Some((*purpose, Err(problem)));
    true
}

#[test]
fn without_a_permit_nothing_of_an_attempt_is_written() {
    let mut o = observed(editor());
    let (steps, rest) = run(&mut o, without_room);
    assert_eq!(steps, ["look-up", "reserve"]);
    let status = rest.status.as_ref().unwrap();
    assert!(status.journal.is_empty() && status.journal.attempt_times.is_empty());
    assert_eq!(reason(&rest), "CreateBudgetExhausted");
    let purpose = Purpose::First;
    let after = Duration::from_mins(9);
    let permit = |purpose, latest| Requeue::Permit {
        purpose,
        after,
        latest,
    };
    assert_eq!(rest.requeue, permit(purpose, None));
    // The next refusal finds the same: there is nothing to write.
    o.answers = Answers::default();
    object(&mut o).status = rest.status.map(|s| *s);
    let before = o.user.status.clone();
    let (_, rest) = run(&mut o, without_room);
    assert_eq!((rest.status.map(|s| *s), rest.event), (before, None));

    // What the old user waits for is done in time.
    let mut o = in_use();
    annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
    object(&mut o).spec.expire_at = Some(now().checked_add(jiff::SignedDuration::from_mins(3)).unwrap());
    o.platform_now = Some(now());
    let (steps, rest) = run(&mut o, without_room);
    assert_eq!(steps, ["look-up", "reserve"]);
    assert_eq!(
        rest.requeue,
        permit(Purpose::Replacement, Some(Duration::from_mins(3)))
    );
    // A token that is to die at once dies without a new one.
    let mut o = in_use();
    annotate(&mut o, REVOKE_NOW_ANNOTATION, "1");
    let (steps, _) = run(&mut o, without_room);
    assert!(
        !steps.contains(&"intent") && steps.contains(&"delete-user"),
        "{steps:?}"
    );
    // And its deletion waits for the platform, and not for a place.
    let mut o = in_use();
    annotate(&mut o, REVOKE_NOW_ANNOTATION, "1");
    let (_, rest) = run(&mut o, |step, o| {
        if let Step::DeleteUser(id, _) = step {
            let problem = Problem {
                retry: Retry::After(Duration::from_secs(30)),
                ..problem(Reason::RateLimited)
            };
            o.answers.deleted.insert(id.clone(), Err(problem));
            return true;
        }
        without_room(step, o)
    });
    assert_eq!(rest.requeue, Requeue::After(Duration::from_secs(30)));
}

#[test]
fn what_the_platform_was_not_asked_for_costs_no_budget() {
    let mut o = observed(editor());
    let (_, rest) = run(&mut o, |step, o| {
        let create = matches!(step, Step::Create(_));
        if create {
            o.answers.created = Some(Created::No(problem(Reason::NotLeading)));
        }
        create
    });
    assert!(rest.status.unwrap().journal.attempt_times.is_empty());
}
