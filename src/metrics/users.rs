//! What is counted of the users of an organization.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{
    HISTORY_REWOUND, ProgrammaticUser, READY, RESTARTING_CONSUMERS, Reason, STALLED, SUSPENDED,
    WAITING_FOR_CONSUMERS,
};

/// Conditions that are counted beside `Ready` while they are true.
const COUNTED_CONDITIONS: [&str; 5] = [
    HISTORY_REWOUND,
    RESTARTING_CONSUMERS,
    STALLED,
    SUSPENDED,
    WAITING_FOR_CONSUMERS,
];
/// Any other.
const OTHER: &str = "Other";
/// The object has no condition yet.
const NEW: &str = "New";

/// The users of one organization, in one pass over the cache.
#[derive(Debug, Default)]
pub struct UserGauges {
    /// By status and reason of `Ready`.
    pub(super) by_condition: BTreeMap<(&'static str, &'static str), i64>,
    /// Type and reason of conditions that are true.
    pub(super) conditions: BTreeMap<(&'static str, &'static str), i64>,
    pub(super) retiring: usize,
    pub(super) unsettled: usize,
    pub(super) oldest_token: Duration,
    pub(super) overdue: Duration,
    pub(super) oldest_not_ready: Duration,
}

/// What is counted of one user. There are many: it is what a cache keeps of each.
#[derive(Debug, Clone)]
pub struct UserFacts {
    /// Status and reason of `Ready`.
    ready: (&'static str, &'static str),
    /// Type and reason of conditions that are true, of most users none.
    conditions: Box<[(&'static str, &'static str)]>,
    /// Since when `Ready` is as it is, or since when the object exists.
    since: Option<Timestamp>,
    /// It has no user, or is not reconciled, by its own spec.
    on_purpose: bool,
    retiring: u16,
    unsettled: u16,
    /// When the current token was issued; `None` also if there is none.
    issued: Option<Timestamp>,
    /// When it is to be replaced.
    next: Option<Timestamp>,
}

/// A reason as a label may have it. A status is an object's, and others than the operator may have written it.
fn known(reason: &str) -> &'static str {
    Reason::parse(reason).map_or(OTHER, Reason::as_str)
}

impl From<&ProgrammaticUser> for UserFacts {
    fn from(user: &ProgrammaticUser) -> Self {
        let status = user.status.as_ref();
        let ready = status.and_then(|s| s.conditions.iter().find(|c| c.type_ == READY));
        let said = ready.map_or(("Unknown", NEW), |c| {
            let truth = match c.status.as_str() {
                "True" => "True",
                "False" => "False",
                _ => "Unknown",
            };
            (truth, known(&c.reason))
        });
        let all = status.iter().flat_map(|s| &s.conditions);
        let conditions = all.filter(|c| c.status == "True").filter_map(|c| {
            let type_ = COUNTED_CONDITIONS.iter().find(|t| **t == c.type_)?;
            Some((*type_, known(&c.reason)))
        });
        let suspended = status.is_some_and(|s| {
            s.conditions
                .iter()
                .any(|c| c.type_ == SUSPENDED && c.status == "True")
        });
        let made = || user.metadata.creation_timestamp.as_ref().map(|t| t.0);
        let journal = status.map(|s| &s.journal);
        let current = status.filter(|s| s.journal.current.is_some());
        let few = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        Self {
            ready: said,
            conditions: conditions.collect(),
            since: ready.map(|c| c.last_transition_time.0).or_else(made),
            on_purpose: suspended || said.1 == Reason::Expired.as_str(),
            retiring: journal.map_or(0, |j| few(j.retiring.len())),
            unsettled: journal.map_or(0, |j| few(j.abandoned.len() + usize::from(j.pending.is_some()))),
            issued: current.and_then(|s| s.token_issued_at),
            next: current.and_then(|s| s.next_rotation),
        }
    }
}

impl UserGauges {
    /// Takes up one object. `now` is by this machine's clock, `platform_now` by the platform's, and `max_age` what the
    /// class allows.
    pub fn add(
        &mut self,
        user: &UserFacts,
        max_age: Option<Duration>,
        now: Timestamp,
        platform_now: Timestamp,
    ) {
        *self.by_condition.entry(user.ready).or_default() += 1;
        for condition in &user.conditions {
            *self.conditions.entry(*condition).or_default() += 1;
        }
        if user.ready.0 != "True" && !user.on_purpose {
            let age = user.since.map(|at| since_then(at, now));
            self.oldest_not_ready = self.oldest_not_ready.max(age.unwrap_or_default());
        }
        self.retiring += usize::from(user.retiring);
        self.unsettled += usize::from(user.unsettled);
        let age = user.issued.map(|at| since_then(at, platform_now));
        self.oldest_token = self.oldest_token.max(age.unwrap_or_default());
        let planned = user.next.map(|at| since_then(at, platform_now));
        let beyond = age.and_then(|age| Some(age.saturating_sub(max_age?)));
        for late in [planned, beyond].into_iter().flatten() {
            self.overdue = self.overdue.max(late);
        }
    }
}

/// Zero for what is still to come.
pub(super) fn since_then(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}
