//! Restarts of workloads whose rollouts are held, get stuck, take long, or are refused.

use super::consumers::*;
use super::*;
use crate::api::{RESTARTING_CONSUMERS, WorkloadKind};

/// The workloads that are restarted after this change, and what is reported.
fn restarted_with(change: &dyn Fn(&mut Observed), pods: &[Pod]) -> (Vec<String>, Option<(String, String)>) {
    let mut o = replaced(true, false);
    change(&mut o);
    let (steps, rest) = run_at(&mut o, 10, pods);
    let names = restarted(&steps).into_iter().map(str::to_owned).collect();
    (names, condition(&rest, RESTARTING_CONSUMERS).map(|c| (c.1, c.2)))
}

fn web(o: &mut Observed, rollout: Rollout) {
    o.consumers.workloads.as_mut().unwrap()[0].rollout = rollout;
}

#[test]
fn what_is_paused_or_all_new_or_stuck_is_left_alone_and_reported() {
    // All pods newer: nothing to do, nothing to tell.
    let new = [
        pod("web-1", Some((DEPLOYMENT, "web")), 3),
        pod("worker-1", Some((DEPLOYMENT, "worker")), 9),
    ];
    assert_eq!(restarted_with(&|_| {}, &new), (vec![], None));
    // In the second after the change a kubelet may not have known of it.
    let early = [pod("web-1", Some((DEPLOYMENT, "web")), 2)];
    assert_eq!(restarted_with(&|_| {}, &early).0, ["web"]);
    // Neither for one whose pods go already.
    let mut going = pods()[0].clone();
    going.ends = Some(after(30));
    assert_eq!(restarted_with(&|_| {}, &[going]), (vec![], None));
    // The others do not wait for one that is paused.
    assert_eq!(
        restarted_with(&|o| web(o, Rollout::Held("is paused")), &pods()).0,
        ["worker"]
    );
    let (names, reported) = restarted_with(&|o| web(o, Rollout::Held("is paused")), &pods()[..1]);
    let (reason, message) = reported.unwrap();
    assert_eq!((names.len(), reason.as_str()), (0, "RolloutHeld"));
    assert!(
        message.starts_with("Deployment web is paused, so that"),
        "{message}"
    );
    // Nor for one whose rollout, ours or somebody else's, is stuck.
    for marked in [true, false] {
        let stuck = |o: &mut Observed| {
            if marked {
                let steps = run_at(o, 10, &pods()).0;
                seen(o, &steps, Rollout::Stuck);
            }
            web(o, Rollout::Stuck);
        };
        assert_eq!(restarted_with(&stuck, &pods()).0, ["worker"]);
        let (_, reported) = restarted_with(&stuck, &pods()[..1]);
        let (reason, message) = reported.unwrap();
        assert_eq!(reason, "RolloutStuck");
        assert!(message.contains("Deployment web"), "{message}");
    }
}

/// Whenever the operator last wrote the workload.
#[test]
fn another_rollout_is_not_disturbed() {
    let busy = |o: &mut Observed| {
        let first = &mut o.consumers.workloads.as_mut().unwrap()[0];
        (first.kind, first.rollout) = (WorkloadKind::StatefulSet, Rollout::Going);
        first.written = Some(after(-100_000));
    };
    let of_set = pod("web-0", Some((WorkloadKind::StatefulSet, "web")), -100);
    assert_eq!(
        restarted_with(&busy, &[of_set.clone(), pods()[1].clone()]).0,
        ["worker"]
    );
    let (names, reported) = restarted_with(&busy, &[of_set]);
    let (reason, message) = reported.unwrap();
    assert_eq!((names.len(), reason.as_str()), (0, "RolloutGoing"));
    assert!(
        message.contains("StatefulSet web is being rolled out for an earlier reason"),
        "{message}"
    );
}

#[test]
fn a_rollout_without_a_deadline_is_waited_for_while_it_gets_on() {
    let mut o = replaced(true, false);
    let (steps, _) = run_at(&mut o, 10, &pods());
    assert_eq!(restarted(&steps), ["web"]);
    seen(&mut o, &steps, Rollout::Going);
    let web = &mut o.consumers.workloads.as_mut().unwrap()[0];
    (web.timed, web.moved) = (false, Some(after(500)));
    let (steps, rest) = run_at(&mut o, 1000, &pods());
    assert_eq!(restarted(&steps), Vec::<&str>::new());
    assert_eq!(condition(&rest, RESTARTING_CONSUMERS).unwrap().1, "RollingOut");
    assert_eq!(rest.requeue, Requeue::After(Duration::from_secs(100)));
    o.answers = Answers::default();
    let (steps, _) = run_at(&mut o, 1101, &pods());
    assert_eq!(restarted(&steps), ["worker"], "the others do not wait for ever");
    o.answers = Answers::default();
    let (_, rest) = run_at(&mut o, 1101, &pods()[..1]);
    assert_eq!(condition(&rest, RESTARTING_CONSUMERS).unwrap().1, "RolloutStuck");
}

#[test]
fn what_ails_is_restarted_after_what_does_not() {
    let mut o = replaced(true, false);
    o.consumers.workloads.as_mut().unwrap()[0].rollout = Rollout::Unavailable;
    let (steps, _) = run_at(&mut o, 10, &pods());
    assert_eq!(restarted(&steps), ["worker"]);
    seen(&mut o, &steps, Rollout::Complete);
    let (steps, _) = run_at(&mut o, 20, &pods()[..1]);
    assert_eq!(restarted(&steps), ["web"]);
    // What was restarted and is not available yet is waited for, and not for ever.
    seen(&mut o, &steps, Rollout::Unavailable);
    let worker = &mut o.consumers.workloads.as_mut().unwrap()[1];
    (worker.rollout, worker.marks) = (Rollout::Complete, BTreeMap::new());
    let (steps, rest) = run_at(&mut o, 600, &pods()[1..]);
    assert_eq!(restarted(&steps), Vec::<&str>::new());
    assert_eq!(condition(&rest, RESTARTING_CONSUMERS).unwrap().1, "RollingOut");
    assert_eq!(rest.requeue, Requeue::After(Duration::from_secs(10)));
    o.answers = Answers::default();
    assert_eq!(restarted(&run_at(&mut o, 611, &pods()[1..]).0), ["worker"]);
}

#[test]
fn a_stateful_set_that_is_rolled_out_for_too_long_counts_as_stuck() {
    let mut o = replaced(true, false);
    o.consumers.workloads = Some(vec![
        workload(WorkloadKind::StatefulSet, "db"),
        workload(DEPLOYMENT, "web"),
    ]);
    let of_db = pod("db-0", Some((WorkloadKind::StatefulSet, "db")), -9);
    let all = [of_db.clone()];
    let (steps, _) = run_at(&mut o, 10, &all);
    assert_eq!(restarted(&steps), ["db"]);
    seen(&mut o, &steps, Rollout::Going);
    let two = [of_db, pods()[0].clone()];
    let (steps, rest) = run_at(&mut o, 600, &two);
    assert_eq!(restarted(&steps), Vec::<&str>::new());
    assert_eq!(rest.requeue, Requeue::After(Duration::from_secs(10)));
    o.answers = Answers::default();
    let (steps, _) = run_at(&mut o, 611, &two);
    assert_eq!(restarted(&steps), ["web"]);
}

#[test]
fn a_restart_that_is_refused_is_reported_and_tried_again() {
    for (answer, again) in [(Err(problem(Reason::RestartRefused)), 30), (Ok(false), 3)] {
        let mut o = replaced(true, false);
        let refused = answer.is_err();
        let mut tried = Vec::new();
        o.platform_now = Some(after(10));
        let rest = loop {
            match next(&o, after(10)) {
                Decision::Do(Step::ReadPods(_)) => o.answers.pods = Some(Ok(pods().into())),
                Decision::Do(Step::Restart(restart)) => {
                    tried.push(restart.workload.1.clone());
                    o.answers.restarted.insert(restart.workload, answer.clone());
                }
                Decision::Do(other) => panic!("{other:?}"),
                Decision::Done(rest) => break rest,
            }
        };
        assert_eq!(tried, ["web", "worker"]);
        assert_eq!(rest.requeue, Requeue::After(Duration::from_secs(again)));
        let reported = condition(&rest, RESTARTING_CONSUMERS).map(|c| c.1);
        assert_eq!(reported.as_deref(), refused.then_some("RestartRefused"));
    }
}
