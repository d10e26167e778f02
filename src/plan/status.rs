//! Conditions: what they say, and that they change only when facts do.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Again, Notice, Observed, Problem, Refusal, Rest, Retry, STALLED_RECHECK};
use crate::api::{ACCESS_APPLIED, ProgrammaticUserStatus, READY, RECONCILING, SECRET_PUBLISHED, STALLED};

/// Reason of `Ready=False` while the first attempt is on its way; not worth an Event when it ends well.
pub(super) const CREATING: &str = "Creating";

/// A condition to be set: type, whether it is true, reason, message.
pub type Wanted<'a> = (&'a str, bool, &'a str, &'a str);

/// Sets `wanted`, keeps the transition time of those whose truth does not change, and drops `RECONCILING` and
/// `STALLED` unless they are wanted (kstatus: they are present only while they are true).
///
/// While nothing but the id of a request differs the first message stays: a retried call fails with another id each
/// time, and that is no news.
pub fn set_conditions(
    conditions: &mut Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
    wanted: &[Wanted],
) {
    conditions
        .retain(|c| wanted.iter().any(|w| w.0 == c.type_) || (c.type_ != RECONCILING && c.type_ != STALLED));
    for (type_, truth, reason, message) in wanted {
        let status = if *truth { "True" } else { "False" };
        let old = conditions.iter().position(|c| c.type_ == *type_);
        let known = old.map(|i| &conditions[i]).filter(|c| c.status == status);
        let unchanged = known.filter(|c| {
            c.reason == *reason
                && c.observed_generation == generation
                && without_request(&c.message) == without_request(message)
        });
        let new = Condition {
            type_: (*type_).to_owned(),
            status: status.to_owned(),
            reason: (*reason).to_owned(),
            message: unchanged.map_or_else(|| (*message).to_owned(), |c| c.message.clone()),
            last_transition_time: known.map_or(Time(now), |c| c.last_transition_time.clone()),
            observed_generation: generation,
        };
        match old {
            Some(i) => conditions[i] = new,
            None => conditions.push(new),
        }
    }
}

/// A message without the ids of requests, which the client writes as `, request ID]`.
fn without_request(message: &str) -> String {
    let mut parts = message.split(", request ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.find(']').map_or(part, |end| &part[end..]));
    }
    out
}

/// How one reconcile leaves an object.
pub(super) enum Outcome<'a> {
    /// All is as asked for.
    Ready,
    /// Somebody has to act.
    Stalled(&'a Refusal),
    /// Work goes on, or is tried again.
    Waiting(&'a Problem),
}

/// The end of a reconcile: conditions from the outcome and the journal, an Event if it is news.
pub(super) fn rest(
    observed: &Observed,
    mut status: ProgrammaticUserStatus,
    access_digest: Option<&str>,
    outcome: &Outcome,
    now: Timestamp,
) -> Rest {
    let generation = observed.user.metadata.generation;
    status.observed_generation = generation;
    let problem;
    let (ready, reason, message) = match outcome {
        Outcome::Ready => (true, "Ready", ready_message(&status)),
        Outcome::Stalled(r) => (false, r.reason, r.message.clone()),
        Outcome::Waiting(p) => (false, p.reason, p.message.clone()),
    };
    let mut wanted: Vec<Wanted> = vec![(READY, ready, reason, &message)];
    let again = match outcome {
        Outcome::Ready => Again::OnChange,
        Outcome::Stalled(_) => {
            wanted.push((STALLED, true, reason, &message));
            Again::After(STALLED_RECHECK)
        }
        Outcome::Waiting(p) => {
            problem = p.retry;
            let stalled = problem == Retry::OnChange;
            wanted.push((
                if stalled { STALLED } else { RECONCILING },
                true,
                reason,
                &message,
            ));
            match problem {
                Retry::Backoff => Again::Backoff,
                Retry::After(span) => Again::After(span),
                Retry::OnChange => Again::After(STALLED_RECHECK),
            }
        }
    };
    if let Some(current) = &status.journal.current {
        let published =
            ready || observed.learned.committed.is_some() || observed.secret_with(&current.nonce).is_some();
        wanted.push(if published {
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
        });
        let applied = access_digest.is_some() && current.access.as_deref() == access_digest;
        wanted.push(if applied {
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
        });
    }
    let event = notice(&status.conditions, ready, reason, &message);
    set_conditions(&mut status.conditions, generation, now, &wanted);
    Rest {
        status: Some(Box::new(status)),
        again,
        event,
    }
}

fn ready_message(status: &ProgrammaticUserStatus) -> String {
    format!(
        "user {} exists, and Secret {} carries its token",
        status.user_id.as_deref().unwrap_or_default(),
        status.secret_name.as_deref().unwrap_or_default()
    )
}

/// News is a changed truth or reason of `Ready`. A first creation that went well is none: its conditions tell,
/// and an Event would be one more write for each user.
fn notice(old: &[Condition], ready: bool, reason: &str, message: &str) -> Option<Notice> {
    let old = old.iter().find(|c| c.type_ == READY);
    let smooth = ready && old.is_none_or(|c| c.status == "True" || c.reason == CREATING);
    let same = old.is_some_and(|c| c.reason == reason);
    (!smooth && !same).then(|| Notice {
        warning: !ready,
        reason: reason.to_owned(),
        message: message.to_owned(),
    })
}
