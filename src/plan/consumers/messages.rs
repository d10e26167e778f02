//! Messages about restarts, and about pods for which a replaced user is kept.

use jiff::Timestamp;

use super::age::{holds, mark};
use super::{has_old_pods, latest, may_be_old_unseen, no_restarts, no_waiting, pods, readers, turn};
use crate::api::{ProgrammaticUserStatus, RESTARTING_CONSUMERS, Reason, Retiring, WorkloadKind};
use crate::plan::conditions::has;
use crate::plan::spec::Spec;
use crate::plan::{Observed, Pod, Rollout, Workload};

fn called((kind, name): &(WorkloadKind, String)) -> String {
    format!("{} {name}", kind.name())
}

/// Reason and message, while workloads are being restarted or cannot be.
pub(in crate::plan) fn restarting(
    o: &Observed,
    status: &ProgrammaticUserStatus,
    desired: Option<&Spec>,
    now: Timestamp,
) -> Option<(Reason, String)> {
    let desired = desired.filter(|d| d.restart)?;
    let current = status.journal.current.as_ref()?;
    let secret = status.secret_name.as_deref()?;
    if let Some(message) = no_restarts(o, desired) {
        return Some((Reason::ConsumersNotEnabled, message));
    }
    if o.consumers.workloads.is_none() {
        let message = "the Deployments, StatefulSets and DaemonSets of this namespace cannot be listed, so that none is restarted, and pods may keep the token from before: see the operator's log for why (its rights, or the API server)";
        // Until then nothing is known that was not before.
        let reported = o.consumers.missing || has(&status.conditions, RESTARTING_CONSUMERS);
        return (reported && may_be_old_unseen(status))
            .then(|| (Reason::WorkloadsUnknown, message.to_owned()));
    }
    let mark = mark(o, current);
    let begun = o
        .answers
        .restarted
        .iter()
        .find(|(_, answer)| **answer == Ok(true));
    let begun = begun.map(|(id, _)| called(id));
    if let Some(name) = begun.or_else(|| turn(o, status, &mark, now).map(|w| called(&w.id()))) {
        let message = format!(
            "{name} is being restarted, because Secret {secret} has another token; the others follow one after the other"
        );
        return Some((Reason::RollingOut, message));
    }
    for (id, answer) in &o.answers.restarted {
        if let Err(problem) = answer {
            let message = format!(
                "{} is not restarted: {}; it is tried again, and its pods keep the token from before",
                called(id),
                problem.message
            );
            return Some((Reason::RestartRefused, message));
        }
    }
    if let Some(Err(problem)) = &o.answers.pods {
        let message = format!(
            "which pods have the token from before is not known, so that nothing is restarted: {}",
            problem.message
        );
        return Some((problem.reason, message));
    }
    left_alone(o, status, &mark, now)
}

/// The first workload that still has pods with the token from before, and why it is not restarted.
fn left_alone(
    o: &Observed,
    status: &ProgrammaticUserStatus,
    mark: &(String, String),
    now: Timestamp,
) -> Option<(Reason, String)> {
    let old: Vec<&Workload> = readers(o, status)
        .filter(|w| has_old_pods(o, status, w))
        .collect();
    let late = |w: &Workload| w.has(mark) && w.rollout == Rollout::Going && !w.goes_on(now);
    let stuck = |w: &&&Workload| w.rollout == Rollout::Stuck || late(w);
    if let Some(w) = old.iter().find(stuck) {
        let message = format!(
            "the rollout of {} does not come to its end, and it still has pods with the token from before: see why its new pods do not become ready",
            called(&w.id())
        );
        return Some((Reason::RolloutStuck, message));
    }
    let held = |w: &&Workload| match w.rollout {
        Rollout::Held(why) => Some((w.id(), why)),
        _ => None,
    };
    if let Some((id, why)) = old.iter().find_map(held) {
        let message = format!(
            "{} {why}, so that it is not restarted, and its pods keep the token from before: replace them yourself",
            called(&id)
        );
        return Some((Reason::RolloutHeld, message));
    }
    let busy = old.iter().find(|w| w.rollout == Rollout::Going)?;
    let message = format!(
        "{} is being rolled out for an earlier reason, and has pods with the token from before: it is restarted when that has come to its end, if any are left",
        called(&busy.id())
    );
    Some((Reason::RolloutGoing, message))
}

/// Why a replaced user is kept although its overlap is over.
pub(in crate::plan) fn waiting(
    o: &Observed,
    status: &ProgrammaticUserStatus,
    time: Timestamp,
) -> Option<(Reason, String)> {
    if let Some(message) = no_waiting(o).filter(|_| status.journal.current.is_some()) {
        return Some((Reason::ConsumersNotEnabled, message));
    }
    let kept = status
        .journal
        .retiring
        .iter()
        .filter(|old| old.not_before <= time);
    let mut kept = kept.filter_map(|old| Some((old, latest(o, old).filter(|at| *at > time)?)));
    kept.find_map(|(old, latest)| {
        let who = blockers(o, status, old)?;
        let message = format!(
            "user {} is kept although its overlap is over: {who}. It is deleted when nothing uses its token any more, and at {} at the latest",
            old.user_id,
            latest.strftime("%Y-%m-%dT%H:%M:%SZ")
        );
        Some((Reason::PodsFromBefore, message))
    })
}

/// `None`: no pod.
fn blockers(o: &Observed, status: &ProgrammaticUserStatus, old: &Retiring) -> Option<String> {
    let Some(pods) = pods(o) else {
        return Some("which pods use it is not known".to_owned());
    };
    let mut holders: Vec<&Pod> = pods.iter().filter(|pod| holds(o, status, old, pod)).collect();
    holders.sort_by_key(|pod| (pod.workload.is_none(), &pod.workload, &pod.name));
    let first = holders.first()?;
    let of = first.workload.as_ref().map(|id| format!(" of {}", called(id)));
    let others = match holders.len() - 1 {
        0 => String::new(),
        1 => " and one other".to_owned(),
        n => format!(" and {n} others"),
    };
    let secret = old.secret_name.as_ref().or(status.secret_name.as_ref());
    Some(format!(
        "pod {}{}{others} read Secret {} before it changed and may use it",
        first.name,
        of.unwrap_or_default(),
        secret.map_or("", String::as_str)
    ))
}
