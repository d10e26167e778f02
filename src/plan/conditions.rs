//! Conditions: what they say, and that they change only when facts do.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Observed, Refusal};
use crate::api::{
    HISTORY_REWOUND, ProgrammaticUserStatus, READY, RECONCILING, RESTARTING_CONSUMERS, ROTATING, Reason,
    STALLED, SUSPENDED, WAITING_FOR_CONSUMERS,
};

/// Present only while they are true.
const PASSING: [&str; 7] = [
    RECONCILING,
    STALLED,
    ROTATING,
    RESTARTING_CONSUMERS,
    WAITING_FOR_CONSUMERS,
    HISTORY_REWOUND,
    SUSPENDED,
];

/// A condition to be set: type, whether it is true, reason, message.
pub type Wanted<'a> = (&'a str, bool, &'a str, &'a str);

/// Sets `wanted`, keeps the transition time of those whose truth does not change, and drops those that are present
/// only while they are true (kstatus) unless they are wanted.
///
/// While nothing but the id of a request differs the first message stays: a retried call fails with another id each
/// time, and that is no news.
pub fn set_conditions(
    conditions: &mut Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
    wanted: &[Wanted],
) {
    conditions.retain(|c| wanted.iter().any(|w| w.0 == c.type_) || !PASSING.contains(&c.type_.as_str()));
    for one in wanted {
        set_condition(conditions, generation, now, one);
    }
}

/// Sets one condition and leaves the others.
pub(super) fn set_condition(
    conditions: &mut Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
    (type_, truth, reason, message): &Wanted,
) {
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

/// A message without the ids of requests, which the client writes as `, request ID]`.
fn without_request(message: &str) -> String {
    let mut parts = message.split(", request ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.find(']').map_or(part, |end| &part[end..]));
    }
    out
}

pub(super) fn has(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|c| c.type_ == type_)
}

/// The operator decides nothing by a status that another program wrote or that was damaged.
pub(super) fn journal_invalid() -> Refusal {
    let message = "the status was changed by something else than the operator, so that nothing in it can be relied on and nothing is done: restore the status from a backup, or remove status.journal (a new user is made then, and users known before are reported as unknown ones)";
    Refusal::new(Reason::JournalInvalid, message.to_owned())
}

/// Conditions of a status that is written in the middle of the work. What was wrong stays said until it is well:
/// otherwise each new try would be news. A user that is in use stays ready while another is being made.
pub(super) fn set_progress_conditions(o: &Observed, status: &mut ProgrammaticUserStatus, now: Timestamp) {
    let generation = o.user.metadata.generation;
    if status.journal.current.is_some() {
        let reason = status
            .journal
            .pending
            .as_ref()
            .map_or(Reason::Recovering.as_str(), |p| p.reason.as_str())
            .to_owned();
        let wanted = (
            ROTATING,
            true,
            reason.as_str(),
            "a user is being made that will replace the current one",
        );
        set_condition(&mut status.conditions, generation, now, &wanted);
        return;
    }
    let mut known = status.conditions.iter();
    if known.any(|c| c.type_ == READY && c.status == "False") {
        return;
    }
    let message = "a user is being made on the platform";
    let wanted = [
        (READY, false, Reason::Creating.as_str(), message),
        (RECONCILING, true, Reason::Creating.as_str(), message),
    ];
    set_conditions(&mut status.conditions, generation, now, &wanted);
}
