//! Who reads the Secret: which workloads are restarted after it changed, and for which pods a replaced user is kept.
//!
//! A pod's environment was fixed when it started. Whether that was before the Secret changed follows from two times of the
//! API server's clock, the pod's creation and the change of the Secret, or by the mark that a restart leaves on pods.

mod age;
mod messages;

use age::{SPREAD, holds, is_outdated, mark};

pub(super) use messages::{restarting, waiting};

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::flow::Interrupt;
use super::spec::Spec;
use super::{Level, Observed, Pod, Refusal, Restart, Rollout, Step, Workload, schedule};
use crate::api::{Consumer, Current, ProgrammaticUserStatus, Reason, Retiring, WorkloadKind};

/// `StatefulSet`s and `DaemonSet`s have no deadline for their progress; this is the default of `Deployment`s, and like theirs
/// it begins anew with every pod that is replaced.
const STUCK: SignedDuration = SignedDuration::from_mins(10);

/// Consumers that a status names.
const LISTED: usize = 32;

/// When pods that are on their way out, and other pods that are waited for, are looked at again. Of workloads a watch tells.
const SOON: Duration = Duration::from_secs(3);

const LATER: Duration = Duration::from_secs(30);

/// Longest pause between looks at pods that should be gone, and on nodes that do not answer are not.
const AT_LAST: Duration = Duration::from_mins(10);

/// Whether the installation may do what the object asks for. Where there is no user yet, before anything is made; one that
/// is there is looked after all the same, its token replaced or revoked, and a condition tells.
pub(super) fn allowed(o: &Observed, desired: &Spec) -> Result<(), Refusal> {
    let why = no_restarts(o, desired).or_else(|| no_waiting(o));
    why.map_or(Ok(()), |message| {
        Err(Refusal::new(Reason::ConsumersNotEnabled, message))
    })
}

/// Why workloads are not restarted, if they were to be.
fn no_restarts(o: &Observed, desired: &Spec) -> Option<String> {
    let asks = "spec.consumers.restart: OnRotation";
    disabled(o, Level::Restart, asks, "use restart: Never").filter(|_| desired.restart)
}

/// Why pods are not waited for, if they were to be.
fn no_waiting(o: &Observed) -> Option<String> {
    schedule::wait(o)?;
    let instead = "leave spec.rotation.waitForConsumers out";
    disabled(o, Level::Observe, "spec.rotation.waitForConsumers", instead)
}

fn disabled(o: &Observed, needs: Level, asks: &str, instead: &str) -> Option<String> {
    (o.consumers.level < needs).then(|| {
        format!(
            "{asks} needs an operator that runs with --consumers={}, and this one runs with --consumers={}: ask the platform admin to set the chart's value consumers, or {instead}",
            needs.name(),
            o.consumers.level.name()
        )
    })
}

/// Reads the pods, where it matters how old they are.
pub(super) fn request_pods(o: &Observed, status: &ProgrammaticUserStatus) -> Result<(), Interrupt> {
    if o.answers.pods.is_none() && needs_pods(o, status) {
        return Err(read_pods(status));
    }
    Ok(())
}

/// After a replacement, until no workload has old pods any more.
fn needs_pods(o: &Observed, status: &ProgrammaticUserStatus) -> bool {
    let Some(workloads) = o.consumers.workloads.as_ref().filter(|all| !all.is_empty()) else {
        return false;
    };
    let Some(current) = &status.journal.current else {
        return false;
    };
    let unlisted = |w: &Workload| !status.consumers.iter().any(|c| c.is(&w.id()));
    may_be_old(status)
        || current.replaced_at.is_some() && status.more_consumers.is_none() && workloads.iter().any(unlisted)
}

fn read_pods(status: &ProgrammaticUserStatus) -> Interrupt {
    let names = names(status).into_iter().map(str::to_owned).collect();
    Interrupt::from(Step::ReadPods(names))
}

/// Secrets in which the tokens of this object are, or were.
fn names(status: &ProgrammaticUserStatus) -> BTreeSet<&str> {
    let retiring = status
        .journal
        .retiring
        .iter()
        .filter_map(|r| r.secret_name.as_deref());
    retiring.chain(status.secret_name.as_deref()).collect()
}

fn pods(o: &Observed) -> Option<&[Pod]> {
    Some(o.answers.pods.as_ref()?.as_ref().ok()?)
}

/// Until when a replaced user may be kept because of pods; `None`: they do not matter.
pub(super) fn latest(o: &Observed, old: &Retiring) -> Option<Timestamp> {
    match schedule::wait(o) {
        Some(more) => {
            let more = SignedDuration::try_from(more).unwrap_or(SignedDuration::MAX);
            let asked = old.not_before.saturating_add(more).unwrap_or(old.not_before);
            Some(old.not_after.map_or(asked, |at| at.min(asked)))
        }
        // What the class said is not known any more.
        None if o.class.is_none() && o.user.spec.rotation.is_none() => old.not_after,
        None => None,
    }
}

/// Whether a replaced user whose overlap is over has to stay, because a pod may use its token.
pub(super) fn keep(
    o: &Observed,
    status: &ProgrammaticUserStatus,
    old: &Retiring,
    time: Timestamp,
) -> Result<bool, Interrupt> {
    if latest(o, old).is_none_or(|latest| latest <= time) {
        return Ok(false);
    }
    // Where nothing is known of pods, there may be some.
    if o.consumers.workloads.is_none() {
        return Ok(true);
    }
    match &o.answers.pods {
        None => Err(read_pods(status)),
        Some(Err(problem)) => Err(Interrupt::Failed(problem.clone())),
        Some(Ok(pods)) => Ok(pods.iter().any(|pod| holds(o, status, old, pod))),
    }
}

/// Whether workloads are to be restarted, and may be.
fn restarts(o: &Observed, desired: &Spec) -> bool {
    desired.restart && o.consumers.level >= Level::Restart
}

/// Whether pods may have a token from before, as far as the status says.
fn may_be_old(status: &ProgrammaticUserStatus) -> bool {
    !status.journal.retiring.is_empty() || status.consumers.iter().any(|c| c.outdated)
}

/// The same where workloads are not known. Which there are may never have been.
fn may_be_old_unseen(status: &ProgrammaticUserStatus) -> bool {
    let replaced = status.journal.current.as_ref().and_then(|c| c.replaced_at);
    may_be_old(status) || replaced.is_some() && status.consumers.is_empty()
}

/// Restarts workloads with old pods, one after the other.
pub(super) fn restart(
    o: &Observed,
    desired: &Spec,
    status: &ProgrammaticUserStatus,
    now: Timestamp,
) -> Result<(), Interrupt> {
    let Some(current) = status.journal.current.as_ref().filter(|_| restarts(o, desired)) else {
        return Ok(());
    };
    // Pods that cannot get the token are no better than old ones.
    if !o.secret_with(&current.nonce).is_some_and(|s| s.unedited) || unspread(current, now).is_some() {
        return Ok(());
    }
    let mark = mark(o, current);
    if turn(o, status, &mark, now).is_some() || o.answers.restarted.values().any(|r| *r == Ok(true)) {
        return Ok(());
    }
    let tried = |w: &Workload| o.answers.restarted.contains_key(&w.id());
    let wants = |w: &Workload, rollout| {
        w.rollout == rollout && !w.has(&mark) && has_old_pods(o, status, w) && !tried(w)
    };
    // What ails does so with the old token: it may be all that it lacks is the new one.
    let next = [Rollout::Complete, Rollout::Unavailable]
        .into_iter()
        .find_map(|rollout| readers(o, status).find(|w| wants(w, rollout)));
    next.map_or(Ok(()), |w| {
        Err(Interrupt::from(Step::Restart(Restart {
            workload: w.id(),
            version: w.version.clone(),
            mark,
        })))
    })
}

/// How long it takes until every kubelet knows of the change. Clocks that differ by more than that do not count.
fn unspread(current: &Current, now: Timestamp) -> Option<SignedDuration> {
    let left = current
        .replaced_at?
        .saturating_add(SPREAD)
        .ok()?
        .duration_since(now);
    (left.is_positive() && left <= SPREAD).then_some(left)
}

/// Workloads that read the Secret of the current token.
fn readers<'a>(o: &'a Observed, status: &'a ProgrammaticUserStatus) -> impl Iterator<Item = &'a Workload> {
    let secret = status.secret_name.as_deref();
    let all = o.consumers.workloads.iter().flatten();
    all.filter(move |w| secret.is_some_and(|secret| w.secrets.contains(secret)))
}

/// The workload whose restart has begun and goes on.
fn turn<'a>(
    o: &'a Observed,
    status: &'a ProgrammaticUserStatus,
    mark: &(String, String),
    now: Timestamp,
) -> Option<&'a Workload> {
    readers(o, status).find(|w| w.has(mark) && w.goes_on(now))
}

/// Whether a restart would replace pods of it that are not on their way out already.
fn has_old_pods(o: &Observed, status: &ProgrammaticUserStatus, w: &Workload) -> bool {
    let own = |pod: &&Pod| pod.ends.is_none() && pod.workload.as_ref() == Some(&w.id());
    let mut pods = pods(o).into_iter().flatten().filter(own);
    pods.any(|pod| is_outdated(o, status, pod))
}

impl Workload {
    /// Kind and name.
    #[must_use]
    pub fn id(&self) -> (WorkloadKind, String) {
        (self.kind, self.name.clone())
    }

    fn has(&self, (key, value): &(String, String)) -> bool {
        self.marks.get(key) == Some(value)
    }

    /// Whether a rollout that the operator began has not come to its end, so that others wait for it.
    fn goes_on(&self, now: Timestamp) -> bool {
        match self.rollout {
            Rollout::Going => self.timed || !self.is_late(now),
            // A `Deployment` does not say of pods that became so later that its deadline has passed.
            Rollout::Unavailable => !self.is_late(now),
            Rollout::Complete | Rollout::Stuck | Rollout::Held(_) => false,
        }
    }

    /// Whether nothing has come of the operator's change for so long that nothing will.
    fn is_late(&self, now: Timestamp) -> bool {
        self.got_on().is_some_and(|at| now.duration_since(at) > STUCK)
    }

    /// When the rollout of the operator's change last got on.
    fn got_on(&self) -> Option<Timestamp> {
        self.written.map(|at| at.max(self.moved.unwrap_or(at)))
    }
}

/// Workloads for the status.
pub(super) fn update_consumers(o: &Observed, status: &mut ProgrammaticUserStatus) {
    let Some(workloads) = &o.consumers.workloads else {
        if o.consumers.level == Level::Off {
            status.consumers.clear();
            status.more_consumers = None;
        }
        return;
    };
    let secrets = if status.secret_name.is_some() {
        names(status)
    } else {
        BTreeSet::new()
    };
    let read = workloads
        .iter()
        .filter(|w| secrets.iter().any(|name| w.secrets.contains(*name)));
    // The operator does not know how old the pods of a workload are that it sees for the first time, if there was an older token.
    let replaced = status
        .journal
        .current
        .as_ref()
        .is_some_and(|c| c.replaced_at.is_some());
    let before = |w: &Workload| {
        let mut listed = status.consumers.iter();
        listed.find(|c| c.is(&w.id())).map_or(replaced, |c| c.outdated)
    };
    let outdated = |w: &Workload| {
        let own = |pod: &&Pod| pod.workload.as_ref() == Some(&w.id());
        pods(o).map_or_else(
            || before(w),
            |pods| pods.iter().filter(own).any(|pod| is_outdated(o, status, pod)),
        )
    };
    let mut all: Vec<Consumer> = read
        .map(|w| Consumer {
            kind: w.kind,
            name: w.name.clone(),
            outdated: outdated(w),
        })
        .collect();
    all.sort_by_key(|c| (!c.outdated, c.kind, c.name.clone()));
    let more = all.len().saturating_sub(LISTED);
    all.truncate(LISTED);
    all.sort();
    status.consumers = all;
    status.more_consumers = u32::try_from(more).ok().filter(|more| *more > 0);
}

impl Consumer {
    fn is(&self, (kind, name): &(WorkloadKind, String)) -> bool {
        self.kind == *kind && self.name == *name
    }
}

/// Pause before a pod that should be gone at this time is looked at again: it grows with the time that it is overdue.
fn overdue_pause(at: Timestamp, now: Timestamp) -> Duration {
    match Duration::try_from(now.duration_since(at)) {
        Ok(overdue) if overdue > LATER => (overdue / 2).clamp(LATER, AT_LAST),
        _ => SOON,
    }
}

/// When to look again, where no watch tells.
pub(super) fn recheck(
    o: &Observed,
    status: &ProgrammaticUserStatus,
    desired: Option<&Spec>,
    time: Timestamp,
    now: Timestamp,
) -> Option<Duration> {
    let overdue = |old: &&Retiring| old.not_before <= time && latest(o, old).is_some_and(|at| at > time);
    let kept: Vec<_> = status.journal.retiring.iter().filter(overdue).collect();
    let old = |pod: &&Pod| is_outdated(o, status, pod);
    let going = pods(o)
        .into_iter()
        .flatten()
        .filter(old)
        .filter_map(|pod| pod.ends);
    let pause = match &o.answers.pods {
        Some(Err(_)) => Some(LATER),
        // After a change that this reconcile has made, and where the caches are not filled.
        None if o.consumers.workloads.is_none() && !kept.is_empty() => Some(LATER),
        None if needs_pods(o, status) || !kept.is_empty() => Some(SOON),
        _ => {
            let kept = (!kept.is_empty()).then_some(LATER);
            going.map(|at| overdue_pause(at, now)).chain(kept).min()
        }
    };
    let current = status
        .journal
        .current
        .as_ref()
        .filter(|_| desired.is_some_and(|d| restarts(o, d)));
    let restart = current.and_then(|current| {
        if o.consumers.workloads.is_none() {
            // When they are known, a watch tells. If they never are, it is time to say so.
            return (may_be_old_unseen(status) && !o.consumers.missing).then_some(LATER);
        }
        if let Some(left) = unspread(current, now) {
            return Duration::try_from(left).ok();
        }
        let answers = o.answers.restarted.values();
        let again = answers.filter_map(|answer| match answer {
            Ok(true) => None,
            Ok(false) => Some(SOON),
            Err(_) => Some(LATER),
        });
        let going = turn(o, status, &mark(o, current), now).and_then(Workload::got_on);
        let late = going.and_then(|at| Duration::try_from(STUCK.checked_sub(now.duration_since(at))?).ok());
        again.chain(late).min()
    });
    pause.into_iter().chain(restart).min()
}
