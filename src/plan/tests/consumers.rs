//! Workloads that read the Secret: which they are, and their restart.

use super::rotation::{NEXT, annotate, created, in_use, later, object, status};
use super::*;
use crate::api::{Consumer, RESTARTING_CONSUMERS, ROTATE_AT_ANNOTATION, WorkloadKind};

pub(super) const DEPLOYMENT: WorkloadKind = WorkloadKind::Deployment;

/// So many seconds after the Secret changed.
pub(super) fn after(seconds: i64) -> Timestamp {
    now() + jiff::SignedDuration::from_secs(seconds)
}

pub(super) fn workload(kind: WorkloadKind, name: &str) -> Workload {
    Workload {
        kind,
        name: name.to_owned(),
        version: "7".to_owned(),
        secrets: ["ci".to_owned()].into(),
        marks: BTreeMap::new(),
        written: None,
        updated: 0,
        moved: None,
        timed: kind == DEPLOYMENT,
        rollout: Rollout::Complete,
    }
}

pub(super) fn pod(name: &str, of: Option<(WorkloadKind, &str)>, created: i64) -> Pod {
    Pod {
        name: name.to_owned(),
        workload: of.map(|(kind, name)| (kind, name.to_owned())),
        created: Some(after(created)),
        secrets: ["ci".to_owned()].into(),
        marks: BTreeMap::new(),
        ends: None,
    }
}

/// Workloads `web` and `worker`, and an object that says so of its consumers and its rotation.
pub(super) fn consumed(restart: bool, wait: bool) -> Observed {
    let mut o = in_use();
    let spec = &mut object(&mut o).spec;
    let restart = if restart { "OnRotation" } else { "Never" };
    spec.consumers = Some(serde_json::from_value(json!({"restart": restart})).unwrap());
    let rotation = if wait {
        json!({"overlap": "1h", "waitForConsumers": true, "maxOverlap": "3h"})
    } else {
        json!({"overlap": "1h"})
    };
    spec.rotation = Some(serde_json::from_value(rotation).unwrap());
    let all = ["web", "worker"].map(|name| workload(DEPLOYMENT, name));
    o.consumers = Consumers {
        level: Level::Restart,
        workloads: Some(all.into()),
        missing: false,
    };
    o
}

/// The same after a replacement that changed the Secret at [`now`].
pub(super) fn replaced(restart: bool, wait: bool) -> Observed {
    let mut o = consumed(restart, wait);
    annotate(&mut o, ROTATE_AT_ANNOTATION, "1");
    let (_, rest) = run(&mut o, |step, o| {
        if let Step::Publish(..) = step {
            o.answers.published = Some(Committed::Yes);
            o.answers.changed = Some(now());
            return true;
        }
        created(step, o)
    });
    later(&mut o, rest);
    o.staged.clear();
    o
}

/// Asks until the plan rests, so many seconds after the Secret changed.
pub(super) fn run_at(o: &mut Observed, seconds: i64, pods: &[Pod]) -> (Vec<Step>, Verdict) {
    let mut taken = Vec::new();
    o.platform_now = Some(after(seconds));
    for _ in 0..40 {
        let step = match next(o, after(seconds)) {
            Decision::Done(rest) => return (taken, rest),
            Decision::Do(step) => step,
        };
        match &step {
            Step::ReadPods(_) => o.answers.pods = Some(Ok(pods.to_vec())),
            Step::Restart(restart) => {
                o.answers.restarted.insert(restart.workload.clone(), Ok(true));
            }
            Step::DeleteUser(id, _) => {
                o.answers.deleted.insert(id.clone(), Ok(Deletion::Gone));
            }
            Step::Journal(status, _) => object(o).status = Some((**status).clone()),
            other => panic!("{other:?}"),
        }
        taken.push(step);
    }
    panic!("no end after {taken:?}");
}

pub(super) fn names(steps: &[Step]) -> Vec<&'static str> {
    steps.iter().map(name).collect()
}

pub(super) fn restarted(steps: &[Step]) -> Vec<&str> {
    let restarts = steps.iter().filter_map(|step| match step {
        Step::Restart(restart) => Some(restart.workload.1.as_str()),
        _ => None,
    });
    restarts.collect()
}

/// What a watch would say of a workload after a restart.
pub(super) fn seen(o: &mut Observed, steps: &[Step], rollout: Rollout) {
    o.answers = Answers::default();
    for step in steps {
        let Step::Restart(restart) = step else { continue };
        let mut all = o.consumers.workloads.iter_mut().flatten();
        let workload = all.find(|w| w.id() == restart.workload).unwrap();
        workload.marks.extend([restart.mark.clone()]);
        workload.written = Some(after(10));
        workload.rollout = rollout;
    }
}

pub(super) fn pods() -> [Pod; 2] {
    ["web", "worker"].map(|name| pod(&format!("{name}-1"), Some((DEPLOYMENT, name)), -100))
}

pub(super) fn consumer(name: &str, outdated: bool) -> Consumer {
    Consumer {
        kind: DEPLOYMENT,
        name: name.to_owned(),
        outdated,
    }
}

#[test]
fn consumers_are_listed_and_nothing_else_is_done_where_nothing_was_replaced() {
    let mut o = consumed(true, true);
    let (steps, rest) = run_at(&mut o, 0, &pods());
    assert_eq!(names(&steps), Vec::<&str>::new());
    let listed = [consumer("web", false), consumer("worker", false)];
    assert_eq!(rest.status.as_ref().unwrap().consumers, listed);
    assert_eq!(rest.requeue, Requeue::OnChange);
    // Steady: the same again.
    let before = rest.status.clone();
    later(&mut o, rest);
    o.consumers.workloads.as_mut().unwrap().reverse();
    let (steps, rest) = run_at(&mut o, 0, &pods());
    assert_eq!((names(&steps), &rest.status), (vec![], &before));
    // What is not known changes nothing, and who is not to look knows nothing.
    o.consumers.workloads = None;
    assert_eq!(run_at(&mut o, 0, &[]).1.status, before);
    object(&mut o).spec.consumers = None;
    object(&mut o).spec.rotation = None;
    o.consumers.level = Level::Off;
    assert_eq!(run_at(&mut o, 0, &[]).1.status.unwrap().consumers, []);
}

#[test]
fn a_status_names_no_more_than_32_and_those_with_old_pods_first() {
    let mut o = replaced(false, false);
    let all: Vec<_> = (10..50).map(|n| workload(DEPLOYMENT, &format!("w{n}"))).collect();
    o.consumers.workloads = Some(all);
    let old = pod("w49-1", Some((DEPLOYMENT, "w49")), -1);
    let (_, rest) = run_at(&mut o, 60, &[old]);
    let status = rest.status.unwrap();
    assert_eq!((status.consumers.len(), status.more_consumers), (32, Some(8)));
    assert!(status.consumers.is_sorted());
    let outdated: Vec<_> = status.consumers.iter().filter(|c| c.outdated).collect();
    assert_eq!(outdated, [&consumer("w49", true)]);
}

#[test]
fn workloads_are_restarted_after_the_secret_changed_one_at_a_time() {
    let mut o = replaced(true, false);
    assert_eq!(
        status(&o).consumers,
        [consumer("web", true), consumer("worker", true)]
    );
    // Kubelets may not know of the change yet.
    let (steps, rest) = run_at(&mut o, 1, &pods());
    assert_eq!(names(&steps), ["pods"]);
    assert_eq!(rest.requeue, Requeue::After(Duration::from_secs(1)));
    later(&mut o, rest);
    let (steps, rest) = run_at(&mut o, 10, &pods());
    assert_eq!(names(&steps), ["pods", "restart"]);
    assert_eq!(restarted(&steps), ["web"]);
    let (status, reason, message) = condition(&rest, RESTARTING_CONSUMERS).unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("True", "RollingOut"));
    assert!(
        message.starts_with("Deployment web is being restarted"),
        "{message}"
    );
    assert_eq!(super::reason(&rest), "Ready");

    seen(&mut o, &steps, Rollout::Going);
    let (steps, _) = run_at(&mut o, 11, &pods());
    assert_eq!(restarted(&steps), Vec::<&str>::new(), "web goes on");

    let web = steps_of(&mut o, "web", Rollout::Complete);
    // Its new pod was made with the mark; however early that was, it has the token.
    let mut new = pod("web-2", Some((DEPLOYMENT, "web")), 0);
    new.marks = web;
    let pods = [new.clone(), pods()[1].clone()];
    let (steps, rest) = run_at(&mut o, 20, &pods);
    assert_eq!(restarted(&steps), ["worker"]);
    let listed = [consumer("web", false), consumer("worker", true)];
    assert_eq!(rest.status.as_ref().unwrap().consumers, listed);
    seen(&mut o, &steps, Rollout::Complete);
    let (steps, rest) = run_at(&mut o, 30, &[new]);
    assert_eq!(names(&steps), ["pods"]);
    assert_eq!(condition(&rest, RESTARTING_CONSUMERS), None);
    let status = rest.status.unwrap();
    assert!(status.consumers.iter().all(|c| !c.outdated));
}

/// Brings a workload's rollout so far; its marks.
pub(super) fn steps_of(o: &mut Observed, name: &str, rollout: Rollout) -> BTreeMap<String, String> {
    o.answers = Answers::default();
    let mut all = o.consumers.workloads.iter_mut().flatten();
    let workload = all.find(|w| w.name == name).unwrap();
    workload.rollout = rollout;
    workload.marks.clone()
}

#[test]
fn the_mark_is_the_same_each_time_another_for_each_token_and_tells_nothing() {
    let mut first = replaced(true, false);
    let mark = |o: &mut Observed| {
        let (steps, _) = run_at(o, 10, &pods());
        steps.into_iter().find_map(|step| match step {
            Step::Restart(restart) => Some(restart.mark),
            _ => None,
        })
    };
    let (key, value) = mark(&mut first).unwrap();
    assert_eq!(key, "rotation.programmatic-users.io/ci");
    assert!(value.len() == 16 && !value.contains(NEXT), "{value}");
    first.answers = Answers::default();
    assert_eq!(mark(&mut first).unwrap().1, value);
    let mut other = replaced(true, false);
    object(&mut other).metadata.uid = Some("uid-2".to_owned());
    assert_ne!(mark(&mut other).unwrap().1, value);
    let long = object(&mut other);
    (long.spec.display_name, long.spec.secret.name) = (Some("ci".to_owned()), Some("ci".to_owned()));
    long.metadata.name = Some("n".repeat(100));
    other.answers = Answers::default();
    let (key, _) = mark(&mut other).unwrap();
    assert_eq!(key.len() - "rotation.programmatic-users.io/".len(), 63);
}

#[test]
fn a_pod_that_does_not_go_is_looked_at_ever_more_seldom() {
    for (seconds, pause) in [(10, 3), (60, 3), (70, 30), (210, 90), (100_000, 600)] {
        let mut o = replaced(true, false);
        let mut going = pods()[0].clone();
        going.ends = Some(after(30));
        let (_, rest) = run_at(&mut o, seconds, &[going]);
        assert_eq!(
            rest.requeue,
            Requeue::After(Duration::from_secs(pause)),
            "{seconds}"
        );
    }
}

#[test]
fn pods_that_cannot_be_listed_are_reported_also_where_only_restarts_were_asked_for() {
    let mut o = replaced(true, false);
    o.answers.pods = Some(Err(problem(Reason::PodsUnknown)));
    let (steps, rest) = run_at(&mut o, 10, &[]);
    assert_eq!(names(&steps), Vec::<&str>::new());
    assert_eq!(condition(&rest, RESTARTING_CONSUMERS).unwrap().1, "PodsUnknown");
    assert_eq!(reason(&rest), "Ready");
    assert_eq!(rest.requeue, Requeue::After(Duration::from_secs(30)));
}

#[test]
fn workloads_that_cannot_be_listed_are_reported_after_a_while_and_for_as_long_as_pods_may_be_old() {
    let mut o = replaced(true, false);
    o.consumers.workloads = None;
    let reported = |o: &mut Observed| {
        o.answers = Answers::default();
        let (steps, rest) = run_at(o, 10, &pods());
        assert_eq!(restarted(&steps), Vec::<&str>::new());
        let again = rest.requeue;
        (condition(&rest, RESTARTING_CONSUMERS).map(|c| c.1), again)
    };
    // At a start they are not known yet. When they are, a watch event comes; if not, the status reports it then.
    assert_eq!(reported(&mut o), (None, Requeue::After(Duration::from_secs(30))));
    o.consumers.missing = true;
    let unknown = Some("WorkloadsUnknown".to_owned());
    assert_eq!(reported(&mut o).0, unknown);
    // The old user is gone, and nobody ever knew who had its token.
    let status = object(&mut o).status.as_mut().unwrap();
    status.journal.retiring.clear();
    status.consumers.clear();
    assert_eq!(reported(&mut o).0, unknown);
    // One that was never replaced has no old pods.
    let current = object(&mut o).status.as_mut().unwrap().journal.current.as_mut();
    current.unwrap().replaced_at = None;
    assert_eq!(reported(&mut o).0, None);
}
