//! How a reconcile ends: the conditions and the Event, and when the object is due again.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{Wanted, has, set_condition, set_conditions};
use super::spec::Spec;
use super::{EventDraft, Observed, Problem, Refusal, Requeue, Retry, Verdict, consumers, rotation};
use crate::api::{
    ACCESS_APPLIED, Current, HISTORY_REWOUND, ProgrammaticUserStatus, READY, RECONCILING,
    RESTARTING_CONSUMERS, ROTATING, Reason, Retiring, SECRET_PUBLISHED, STALLED, SUSPENDED,
    WAITING_FOR_CONSUMERS,
};

/// How long to wait for the platform's time when it is not known yet.
const UNTIL_TIME: Duration = Duration::from_secs(5);

/// Shortest pause before what is due, so that a clock that is off by a little does not have it asked for again and again.
const SOON: Duration = Duration::from_secs(1);

/// The same where a revocation waits for the end of a token.
const AT_ONCE: Duration = Duration::from_millis(50);

/// How one reconcile leaves an object.
pub(super) enum Outcome<'a> {
    /// All is as asked for.
    Ready,
    /// A person has to act.
    Stalled(&'a Refusal),
    /// Work goes on, or is tried again.
    Waiting(&'a Problem),
}

/// The end of a reconcile: conditions from the outcome and the journal, an Event if it is news.
pub(super) fn verdict(
    observed: &Observed,
    mut status: ProgrammaticUserStatus,
    desired: Option<&Spec>,
    outcome: &Outcome,
    now: Timestamp,
) -> Verdict {
    let generation = observed.user.metadata.generation;
    status.observed_generation = generation;
    let (well, reason, message) = match outcome {
        Outcome::Ready => (true, Reason::Ready, ready_message(&status)),
        Outcome::Stalled(r) => (false, r.reason, r.message.clone()),
        Outcome::Waiting(p) => (false, p.reason, p.message.clone()),
    };
    let time = observed.time(now);
    if let Some(desired) = desired {
        status.next_rotation = next_rotation(observed, desired, &status, time);
    }
    let restarting = consumers::restarting(observed, &status, desired, now);
    let waiting = consumers::waiting(observed, &status, time);
    let look = consumers::recheck(observed, &status, desired, time, now).filter(|_| well);
    let wake = wake(observed, &status, desired, time, well);
    let requeue = requeue(observed, outcome, wake.into_iter().chain(look).min());
    consumers::update_consumers(observed, &mut status);
    // A replacement that has to wait takes nothing away from those who use the token.
    let ready = well || matches!(outcome, Outcome::Waiting(_)) && works(observed, &status, desired);
    let rewound = rewound(observed, &status);
    let event = event(observed, &status, rewound.as_deref(), (well, reason, &message));
    let mut wanted: Vec<Wanted> = vec![(READY, ready, reason.as_str(), &message)];
    wanted.extend(progress(outcome, ready).map(|type_| (type_, true, reason.as_str(), &*message)));
    if let Some(current) = &status.journal.current {
        wanted.extend(of_current(observed, current, desired, well));
    }
    let rotating = rotating(&status);
    let unknown = Reason::UnknownUsers.as_str();
    let passing = [
        rotating
            .as_ref()
            .map(|(why, message)| (ROTATING, &**why, *message)),
        consumers_condition(RESTARTING_CONSUMERS, restarting.as_ref()),
        consumers_condition(WAITING_FOR_CONSUMERS, waiting.as_ref()),
        rewound
            .as_deref()
            .map(|message| (HISTORY_REWOUND, unknown, message)),
    ];
    wanted.extend(
        passing
            .into_iter()
            .flatten()
            .map(|(type_, why, message)| (type_, true, why, message)),
    );
    wanted.extend(suspension(observed));
    set_conditions(&mut status.conditions, generation, now, &wanted);
    Verdict {
        status: Some(Box::new(status)),
        requeue,
        event,
    }
}

/// Type, reason and message of a condition that is true.
type Passing<'a> = (&'static str, &'a str, &'a str);

fn consumers_condition<'a>(type_: &'static str, said: Option<&'a (Reason, String)>) -> Option<Passing<'a>> {
    said.map(|(reason, message)| (type_, reason.as_str(), &**message))
}

/// Why the current user is being replaced.
fn rotating(status: &ProgrammaticUserStatus) -> Option<(String, &'static str)> {
    let pending = status
        .journal
        .pending
        .as_ref()
        .filter(|_| status.journal.current.is_some())?;
    Some((
        pending.reason.clone(),
        "a user is being made that will replace the current one",
    ))
}

/// Which of `Stalled` and `Reconciling` is true.
fn progress(outcome: &Outcome, ready: bool) -> Option<&'static str> {
    match outcome {
        Outcome::Stalled(_) => Some(STALLED),
        Outcome::Waiting(p) if p.retry == Retry::OnChange => Some(STALLED),
        // Where the token works there is nothing to wait for, be the next replacement a day away.
        Outcome::Waiting(_) if !ready => Some(RECONCILING),
        Outcome::Ready | Outcome::Waiting(_) => None,
    }
}

fn suspension(observed: &Observed) -> Option<Wanted<'static>> {
    if observed.is_suspended() {
        return Some((SUSPENDED, true, Reason::Suspended.as_str(), SUSPENDED_MESSAGE));
    }
    let asked = observed.user.spec.suspend;
    asked.then(|| (SUSPENDED, false, Reason::NotAllowed.as_str(), NOT_SUSPENDED))
}

/// The most important news of this reconcile, if there is any.
fn event(
    observed: &Observed,
    status: &ProgrammaticUserStatus,
    rewound: Option<&str>,
    (well, reason, message): (bool, Reason, &str),
) -> Option<EventDraft> {
    let news = rewound.filter(|_| !has(&status.conditions, HISTORY_REWOUND));
    news.map(|message| EventDraft {
        warning: true,
        reason: Reason::HistoryRewound,
        message: message.to_owned(),
    })
    .or_else(|| rotated(observed, status))
    .or_else(|| notice(&status.conditions, well, reason, message))
}

/// When the next reconcile is due; `wake` is the span until something else is.
fn requeue(observed: &Observed, outcome: &Outcome, wake: Option<Duration>) -> Requeue {
    match outcome {
        Outcome::Ready => wake.map_or(Requeue::OnChange, Requeue::After),
        Outcome::Stalled(_) => Requeue::Stalled(wake),
        Outcome::Waiting(p) => match p.retry {
            Retry::Backoff => Requeue::Backoff,
            Retry::After(span) => after(observed, p, span, wake),
            Retry::OnChange => Requeue::Stalled(wake),
        },
    }
}

/// What is due after `wake` does not wait for the end of `span`.
fn after(observed: &Observed, problem: &Problem, span: Duration, wake: Option<Duration>) -> Requeue {
    match &observed.answers.reserved {
        Some((purpose, Err(refused))) if refused == problem => Requeue::Permit {
            purpose: *purpose,
            after: span,
            latest: wake,
        },
        _ => Requeue::After(wake.map_or(span, |w| w.min(span))),
    }
}

/// Whether the current user's token is published, and its access applied.
fn of_current(
    observed: &Observed,
    current: &Current,
    desired: Option<&Spec>,
    well: bool,
) -> [Wanted<'static>; 2] {
    let published =
        well || observed.answers.committed.is_some() || observed.secret_with(&current.nonce).is_some();
    let digest = desired.map(|d| d.access_digest.as_str());
    let applied = digest.is_some() && current.access.as_deref() == digest;
    [
        if published {
            (
                SECRET_PUBLISHED,
                true,
                "Published",
                "the Secret carries the current token",
            )
        } else {
            (
                SECRET_PUBLISHED,
                false,
                "SecretMissing",
                "no Secret carries the current token",
            )
        },
        if applied {
            (
                ACCESS_APPLIED,
                true,
                "Applied",
                "policies and groups are as asked for, and the token was accepted",
            )
        } else {
            (
                ACCESS_APPLIED,
                false,
                "Pending",
                "policies and groups are not yet as asked for",
            )
        },
    ]
}

/// Whether the Secret carries the token of a user that is as asked for.
fn works(observed: &Observed, status: &ProgrammaticUserStatus, desired: Option<&Spec>) -> bool {
    let (Some(current), Some(desired)) = (&status.journal.current, desired) else {
        return false;
    };
    let published = observed.secret_with(&current.nonce).is_some_and(|s| s.unedited);
    published
        && current.fingerprint == desired.fingerprint
        && current.access.as_ref() == Some(&desired.access_digest)
}

const SUSPENDED_MESSAGE: &str = "spec.suspend is true: nothing is created, changed or repaired until it is false. Deletion, expiry, revocation and the class's maxAge do not wait for that";

/// Where the class does not allow it.
const NOT_SUSPENDED: &str = "spec.suspend has no effect: the class does not say allow.suspend: true, and the object is looked after like any other. Set suspend: false, or ask the class's owner";

/// Nothing is made or changed, and nothing is said but that.
pub(super) fn suspended(observed: &Observed, mut status: ProgrammaticUserStatus, now: Timestamp) -> Verdict {
    let generation = observed.user.metadata.generation;
    status.observed_generation = generation;
    // No work goes on, and no person has to act: `Reconciling` and `Stalled` are both absent.
    status.conditions.retain(|c| match c.type_.as_str() {
        STALLED | RECONCILING => false,
        READY => c.status == "True",
        _ => true,
    });
    set_condition(
        &mut status.conditions,
        generation,
        now,
        &(SUSPENDED, true, Reason::Suspended.as_str(), SUSPENDED_MESSAGE),
    );
    let time = observed.time(now);
    let forced = rotation::latest(observed, &status).into_iter();
    let forced = forced.chain(status.token_ends_at).filter(|at| *at > time).min();
    let forced = forced.and_then(|at| Duration::try_from(at.duration_since(time)).ok());
    let again = wake(observed, &status, None, time, true);
    let again = again.into_iter().chain(forced.map(|span| span.max(SOON))).min();
    Verdict {
        status: Some(Box::new(status)),
        requeue: again.map_or(Requeue::OnChange, Requeue::After),
        event: None,
    }
}

/// When the token is replaced because of its age. What is overdue stays where it was: in an open window it would be another
/// moment each time.
fn next_rotation(
    observed: &Observed,
    desired: &Spec,
    status: &ProgrammaticUserStatus,
    time: Timestamp,
) -> Option<Timestamp> {
    let overdue = |at: &Timestamp| *at <= time;
    let planned = rotation::planned(observed, desired, status, time);
    let before = status.next_rotation.filter(overdue);
    before
        .filter(|_| planned.as_ref().is_some_and(overdue))
        .or(planned)
}

/// When something is due that no change of an object will tell of. What is overdue did not happen for a reason, and what
/// is wrong says when it is looked at again.
fn wake(
    observed: &Observed,
    status: &ProgrammaticUserStatus,
    desired: Option<&Spec>,
    time: Timestamp,
    well: bool,
) -> Option<Duration> {
    let unknown = observed.platform_now.is_none();
    let overdue = |at: &Timestamp| !unknown && *at <= time;
    let until = |at: Timestamp| {
        if unknown {
            UNTIL_TIME
        } else {
            Duration::try_from(at.duration_since(time)).unwrap_or_default()
        }
    };
    // One that is kept beyond its overlap is looked at again for another reason, and in the end because it has to go.
    let kept =
        |r: &Retiring| consumers::latest(observed, r).filter(|at| overdue(&r.not_before) && !overdue(at));
    let retiring = status.journal.retiring.iter();
    let retiring = retiring.map(|r| kept(r).unwrap_or(r.not_before));
    let due = retiring.chain(status.next_rotation.filter(|_| desired.is_some()));
    let due = due.filter(|at| well || !overdue(at)).min();
    let ends = observed
        .user
        .spec
        .expire_at
        .into_iter()
        .chain(status.token_ends_at);
    let end = ends.filter(|end| !overdue(end)).min();
    let settling = (!status.journal.abandoned.is_empty()).then(|| observed.settle_recheck());
    let times = [due.map(until), end.map(until), settling];
    let first = times.into_iter().flatten().min();
    let revoked = status.journal.retiring.iter().any(Retiring::is_revoked);
    first.map(|f| f.max(if revoked { AT_ONCE } else { SOON }))
}

/// What is said of users that the platform has and the journal does not know; `None`: there are none.
fn rewound(observed: &Observed, status: &ProgrammaticUserStatus) -> Option<String> {
    let Some(strays) = &observed.unknown_users else {
        let old = status.conditions.iter().find(|c| c.type_ == HISTORY_REWOUND);
        return old.map(|c| c.message.clone());
    };
    let listed = observed.answers.listed.as_ref().and_then(|l| l.as_ref().ok());
    let still = |id: &str| listed.is_none_or(|l| l.iter().any(|u| *u.user_id == *id));
    let mut ids: Vec<&str> = strays
        .iter()
        .map(|u| &*u.user_id)
        .filter(|id| still(id))
        .collect();
    ids.sort_unstable();
    let (count, some) = (
        ids.len(),
        ids.iter().take(5).copied().collect::<Vec<_>>().join(", "),
    );
    (count > 0).then(|| {
        format!(
            "the platform has {count} users that were made for this object and that its journal does not know ({some}): the cluster was restored from a backup, or the status was changed. They are left alone; delete them on the platform once nothing uses their tokens"
        )
    })
}

/// A token that was replaced is news.
fn rotated(observed: &Observed, status: &ProgrammaticUserStatus) -> Option<EventDraft> {
    let old = observed.user.status.as_ref()?;
    let (was, is) = (old.journal.current.as_ref()?, status.journal.current.as_ref()?);
    let why = old
        .journal
        .pending
        .as_ref()
        .map_or("Recovered", |p| p.reason.as_str());
    (was.nonce != is.nonce).then(|| EventDraft {
        warning: false,
        reason: Reason::Rotated,
        message: format!(
            "user {} replaces user {} ({why}), and the Secret carries its token",
            is.user_id, was.user_id
        ),
    })
}

fn ready_message(status: &ProgrammaticUserStatus) -> String {
    format!(
        "user {} exists, and Secret {} carries its token",
        status.user_id.as_deref().unwrap_or_default(),
        status.secret_name.as_deref().unwrap_or_default()
    )
}

/// News is a changed reason of `Ready`. A first creation that went well is none: its conditions tell,
/// and an Event would be one more write for each user.
fn notice(old: &[Condition], well: bool, reason: Reason, message: &str) -> Option<EventDraft> {
    let old = old.iter().find(|c| c.type_ == READY);
    let smooth = well && old.is_none_or(|c| c.reason == Reason::Creating);
    let same = old.is_some_and(|c| c.reason == reason);
    (!smooth && !same).then(|| EventDraft {
        warning: !well,
        reason,
        message: message.to_owned(),
    })
}
