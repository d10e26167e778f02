//! How long a replaced user is kept because of pods.

use super::consumers::{DEPLOYMENT, after, consumed, consumer, names, pod, pods, replaced, run_at};
use super::rotation::{annotate, created, later, object, status};
use super::*;
use crate::api::{REVOKE_NOW_ANNOTATION, WAITING_FOR_CONSUMERS};

#[test]
fn the_old_user_outlives_its_overlap_for_pods_from_before_and_no_longer_than_the_bound() {
    const OVERLAP: i64 = 3600;
    let mut o = replaced(false, true);
    let retiring = &status(&o).journal.retiring[0];
    assert_eq!(retiring.not_before, after(OVERLAP));
    assert_eq!(retiring.not_after, Some(after(3 * OVERLAP)));
    assert_eq!(retiring.replaced_at, Some(now()));
    // One of no workload counts, too.
    let all = [
        pod("job-x", None, -5),
        pods()[0].clone(),
        pod("web-2", Some((DEPLOYMENT, "web")), 50),
    ];
    let (steps, rest) = run_at(&mut o, OVERLAP - 1, &all);
    assert_eq!(names(&steps), ["pods"]);
    assert_eq!(condition(&rest, WAITING_FOR_CONSUMERS), None);
    later(&mut o, rest);
    let (steps, rest) = run_at(&mut o, OVERLAP, &all);
    assert_eq!(names(&steps), ["pods"]);
    let (_, why, message) = condition(&rest, WAITING_FOR_CONSUMERS).unwrap();
    assert_eq!(why, "PodsFromBefore");
    assert_eq!(
        message,
        "user pu-1 is kept although its overlap is over: pod web-1 of Deployment web and one other read Secret ci before it changed and may use it. It is deleted when nothing uses its token any more, and at 2026-01-05T13:11:12Z at the latest"
    );
    assert_eq!(reason(&rest), "Ready");
    assert_eq!(rest.requeue, Requeue::After(Duration::from_secs(30)));
    later(&mut o, rest);
    // On their way out they may still call.
    let mut going = pods()[0].clone();
    going.ends = Some(after(3700));
    let (steps, rest) = run_at(&mut o, OVERLAP + 60, &[going]);
    assert_eq!(names(&steps), ["pods"]);
    assert_eq!(rest.requeue, Requeue::After(Duration::from_secs(3)));
    o.answers = Answers::default();
    let mut gone = o.clone();
    let (steps, rest) = run_at(&mut gone, OVERLAP + 61, &all[2..]);
    assert_eq!(names(&steps), ["pods", "delete-user"]);
    assert!(rest.status.unwrap().journal.retiring.is_empty());
    let (steps, rest) = run_at(&mut o, 3 * OVERLAP, &all);
    assert_eq!(names(&steps)[..1], ["delete-user"]);
    // The status names the pods that still have its token.
    let status = rest.status.unwrap();
    assert_eq!(
        (status.journal.retiring.len(), status.consumers[0].outdated),
        (0, true)
    );
}

#[test]
fn without_waiting_the_overlap_alone_counts() {
    let mut o = replaced(false, false);
    assert_eq!(status(&o).journal.retiring[0].not_after, None);
    let (steps, _) = run_at(&mut o, 3600, &pods());
    assert_eq!(names(&steps)[..1], ["delete-user"]);
}

#[test]
fn where_pods_are_not_known_the_old_user_is_kept_until_the_bound() {
    let mut o = replaced(false, true);
    o.consumers.workloads = None;
    let (steps, rest) = run_at(&mut o, 3600, &[]);
    assert_eq!(names(&steps), Vec::<&str>::new());
    let (_, _, message) = condition(&rest, WAITING_FOR_CONSUMERS).unwrap();
    assert!(message.contains("which pods use it is not known"), "{message}");
    let mut o = replaced(false, true);
    o.platform_now = Some(after(3600));
    o.answers.pods = Some(Err(problem(Reason::PodsUnknown)));
    let Decision::Done(rest) = next(&o, after(3600)) else {
        panic!("a step")
    };
    assert_eq!(condition(&rest, READY).unwrap().0, "True");
    assert_eq!(
        (reason(&rest).as_str(), rest.requeue),
        ("PodsUnknown", Requeue::Backoff)
    );
    assert_eq!(rest.status.unwrap().journal.retiring.len(), 1);
}

#[test]
fn each_replaced_user_is_kept_for_the_pods_that_may_have_its_own_token() {
    let mut o = replaced(false, true);
    let second = status(&o).journal.retiring[0].clone();
    let journal = &mut object(&mut o).status.as_mut().unwrap().journal;
    // An earlier one, replaced a hundred seconds before that one was.
    let mut first = second.clone();
    first.nonce = "eeeeccccbbbbaaaa".to_owned();
    first.user_id = "pu-0".to_owned();
    first.replaced_at = Some(after(-100));
    journal.retiring.insert(0, first);
    let between = [pod("web-1", Some((DEPLOYMENT, "web")), -50)];
    let (steps, _) = run_at(&mut o, 3600, &between);
    assert_eq!(names(&steps), ["pods", "delete-user"]);
    let Some(Step::DeleteUser(id, _)) = steps.last() else {
        unreachable!()
    };
    assert_eq!(id, "pu-0");
}

#[test]
fn the_secret_that_was_left_behind_is_waited_for_whenever_its_pods_began() {
    let mut o = replaced(true, true);
    object(&mut o).status.as_mut().unwrap().journal.retiring[0].secret_name = Some("before".to_owned());
    let all = o.consumers.workloads.as_mut().unwrap();
    all[0].secrets = ["before".to_owned()].into();
    let mut late = pod("web-9", Some((DEPLOYMENT, "web")), 1800);
    late.secrets = ["before".to_owned()].into();
    let (steps, rest) = run_at(&mut o, 3600, &[late]);
    // A restart would not bring it another token.
    assert_eq!(names(&steps), ["pods"]);
    let (_, _, message) = condition(&rest, WAITING_FOR_CONSUMERS).unwrap();
    assert!(
        message.contains("pod web-9 of Deployment web read Secret before"),
        "{message}"
    );
    assert!(rest.status.unwrap().consumers.contains(&consumer("web", true)));
}

#[test]
fn who_asks_for_a_revocation_waits_for_no_pod() {
    // Of the token that is revoked.
    let mut o = consumed(false, true);
    annotate(&mut o, REVOKE_NOW_ANNOTATION, "1");
    let (_, rest) = run(&mut o, created);
    later(&mut o, rest);
    assert_eq!(status(&o).journal.retiring[0].not_after, Some(now()));
    let (steps, _) = run_at(&mut o, 0, &pods());
    assert_eq!(names(&steps)[..1], ["delete-user"]);
    // Of one that was kept for pods when it was asked for.
    let mut o = replaced(false, true);
    let (_, rest) = run_at(&mut o, 3600, &pods());
    later(&mut o, rest);
    o.platform_now = Some(after(3700));
    annotate(&mut o, REVOKE_NOW_ANNOTATION, "1");
    o.fresh_nonce = "ffffccccbbbbaaaa".to_owned();
    let (steps, _) = run(&mut o, created);
    assert_eq!(steps[..2], ["journal", "delete-user"]);
}

#[test]
fn an_object_is_being_revoked_until_the_old_user_is_gone() {
    let mut o = consumed(false, true);
    assert!(!is_being_revoked(&o.user));
    annotate(&mut o, REVOKE_NOW_ANNOTATION, "1");
    assert!(is_being_revoked(&o.user));
    let (_, rest) = run(&mut o, created);
    later(&mut o, rest);
    assert!(
        is_being_revoked(&o.user),
        "there is a new token, and the old one works"
    );
    let (steps, rest) = run_at(&mut o, 0, &pods());
    assert_eq!(names(&steps)[..1], ["delete-user"]);
    later(&mut o, rest);
    assert!(!is_being_revoked(&o.user));
    annotate(&mut o, REVOKE_NOW_ANNOTATION, "2");
    let journal = &mut object(&mut o).status.as_mut().unwrap().journal;
    let current = journal.current.take().unwrap();
    assert!(!is_being_revoked(&o.user), "there is no token");
    let old = crate::api::Retiring {
        nonce: current.nonce,
        user_id: current.user_id,
        not_before: after(3600),
        not_after: None,
        replaced_at: None,
        secret_name: None,
        granted: None,
    };
    object(&mut o).status.as_mut().unwrap().journal.retiring.push(old);
    assert!(is_being_revoked(&o.user), "that of a user that was replaced");
}

#[test]
fn the_end_of_an_object_waits_for_no_pod() {
    let mut o = replaced(false, true);
    object(&mut o).spec.expire_at = Some(after(60));
    o.platform_now = Some(after(60));
    let (steps, rest) = run(&mut o, |_, _| false);
    assert_eq!(steps[..2], ["delete-user", "delete-user"]);
    assert_eq!(reason(&rest), "Expired");
    assert_eq!(rest.status.unwrap().consumers, []);
}
