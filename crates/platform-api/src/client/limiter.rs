//! Rate limiter of the calls to one organization: calls a minute, calls in flight, users created an hour, and the pauses
//! that the platform asks for.
//!
//! A limiter belongs to an organization and outlives its clients, so that a new credential does not reset its counts.
//! A call waits in one of two queues that take turns ([`Priority`]); in each the namespaces of the users take turns, too.
//! [`TokenBucket`] gives the head of each queue a time of its own. Crates whose callers poll cannot promise that.

mod budget;
mod clock;
mod create_permit;
mod fair_lock;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use clock::Clock;
pub use clock::Skew;

use super::error::{Error, Kind};
use budget::Budget;
pub use budget::Purpose;
pub use create_permit::CreatePermit;
use fair_lock::{FairLock, FairLockGuard};

use super::observer::{Observer, outcome};
use super::wire::Route;

const MINUTE: Duration = Duration::from_mins(1);
/// For how long deleted users are remembered: longer than the longest settle window that flags allow.
const REMEMBERED: Duration = Duration::from_hours(2);

/// How hard the platform may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls a minute.
    pub requests_per_minute: u32,
    /// Calls at one time.
    pub max_in_flight: usize,
    /// Users made an hour.
    pub creates_per_hour: usize,
    /// How long that hour is.
    pub hour: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_minute: 300,
            max_in_flight: 8,
            creates_per_hour: 1000,
            hour: Duration::from_hours(1),
        }
    }
}

/// The queue of a call. The two queues take turns, so that neither starves the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// Most calls.
    Normal,
    /// The few calls that a leaked token, or all users, wait for.
    High,
}

/// On whose behalf a call is made.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) priority: Priority,
    /// Of the user's object; empty for what concerns no single object.
    pub(super) namespace: Arc<str>,
}

/// The rate limiter of one organization.
pub struct RateLimiter {
    state: Mutex<State>,
    hooks: LimiterEvents,
    /// The head of each queue waits for a slot and its time; the other calls of the queue wait to become its head.
    usual: Arc<FairLock>,
    ahead: Arc<FairLock>,
    /// Calls that wait for their turn.
    waiting: AtomicUsize,
}

/// How much of the limits is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The limits.
    pub limits: Limits,
    /// Calls that wait for their turn.
    pub waiting: usize,
    /// Calls that are on their way.
    pub in_flight: usize,
    /// How much longer the platform wants a pause.
    pub pause: Duration,
    /// Users that may still be made within this hour.
    pub budget_left: usize,
}

/// Callbacks of a limiter.
pub struct LimiterEvents {
    /// How long this process may go on for certain; a create call has to end within it.
    pub margin: Box<dyn Fn() -> Duration + Send + Sync>,
    /// The platform has refused the credential.
    pub refused: Box<dyn Fn() + Send + Sync>,
    /// Observes every call.
    pub observer: Box<dyn Observer>,
}

impl Default for LimiterEvents {
    /// No deadline and no observer.
    fn default() -> Self {
        Self {
            margin: Box::new(|| Duration::MAX),
            refused: Box::new(|| ()),
            observer: Box::new(()),
        }
    }
}

struct State {
    limits: Limits,
    slots: Arc<Semaphore>,
    pace: TokenBucket,
    budget: Budget,
    /// The answer that asked for a pause, and when the pause is over.
    pause: Option<(Error, Instant)>,
    clock: Clock,
    /// Recently deleted users and when; kept for [`REMEMBERED`].
    deleted: HashMap<String, Instant>,
}

impl RateLimiter {
    /// A limiter without calls.
    #[must_use]
    pub fn new(limits: Limits, hooks: LimiterEvents) -> Self {
        Self {
            state: Mutex::new(State {
                limits,
                slots: Arc::new(Semaphore::new(limits.max_in_flight)),
                pace: TokenBucket::new(limits.requests_per_minute),
                budget: Budget::new(limits.hour),
                pause: None,
                clock: Clock::default(),
                deleted: HashMap::new(),
            }),
            hooks,
            usual: Arc::default(),
            ahead: Arc::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// How much of the limits is used now.
    #[must_use]
    pub fn used(&self) -> Usage {
        let now = Instant::now();
        let mut state = self.state();
        let limits = state.limits;
        let until = state.pause.as_ref().map(|(_, until)| *until);
        Usage {
            limits,
            waiting: self.waiting.load(Ordering::Relaxed),
            in_flight: limits
                .max_in_flight
                .saturating_sub(state.slots.available_permits()),
            pause: until.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)),
            budget_left: limits.creates_per_hour.saturating_sub(state.budget.spent(now)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other limits from now on. What was used so far stays used; calls on their way do not count as new ones.
    pub fn set_limits(&self, limits: Limits) {
        let mut state = self.state();
        if state.limits.max_in_flight != limits.max_in_flight {
            state.slots = Arc::new(Semaphore::new(limits.max_in_flight));
        }
        if state.limits.requests_per_minute != limits.requests_per_minute {
            state.pace = TokenBucket::new(limits.requests_per_minute);
        }
        state.limits = limits;
    }

    /// Waits for a turn.
    pub(super) async fn acquire(&self, caller: &Caller) -> Result<Permit, Error> {
        self.waited(self.next_turn(caller)).await
    }

    /// Reports the wait to the observer, however it ends.
    async fn waited<T>(&self, turn: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let begun = Instant::now();
        let _one = WaitingCount::new(&self.waiting);
        let turn = turn.await;
        self.hooks.observer.waited(begun.elapsed());
        turn.inspect_err(|e| self.record_local_rejection(e))
    }

    /// A call was not sent.
    pub(super) fn record_local_rejection(&self, error: &Error) {
        self.hooks.observer.rejected_locally(error.reason());
    }

    /// A call was sent.
    pub(super) fn called<T>(&self, route: &Route, reply: &Result<T, Error>, took: Duration) {
        self.hooks.observer.called(&route.name(), outcome(reply), took);
    }

    async fn next_turn(&self, caller: &Caller) -> Result<Permit, Error> {
        self.paused()?;
        let first = self.first(caller).await;
        self.paused()?;
        let at = self.state().pace.take(Instant::now());
        self.turn(first, at).await
    }

    /// Waits until the call is the head of its queue, and for a slot.
    async fn first(&self, caller: &Caller) -> QueueHead {
        let line = match caller.priority {
            Priority::Normal => &self.usual,
            Priority::High => &self.ahead,
        };
        let head = line.first(&caller.namespace).await;
        let slots = self.state().slots.clone();
        QueueHead {
            _head: head,
            // The semaphore is never closed.
            slot: slots.acquire_owned().await.ok(),
        }
    }

    async fn turn(&self, first: QueueHead, at: Instant) -> Result<Permit, Error> {
        // The calls behind wait for this one: it does not sleep to the timer's next tick if its time has come.
        if at > Instant::now() {
            tokio::time::sleep_until(at.into()).await;
        }
        // The platform may have asked for a pause in the meantime.
        self.paused()?;
        Ok(Permit { _slot: first.slot })
    }

    /// The same, but for a turn before `deadline`; `None`: there is none, and none was used up.
    async fn acquire_before(&self, caller: &Caller, deadline: Instant) -> Result<Option<Permit>, Error> {
        self.paused()?;
        let Ok(first) = tokio::time::timeout_at(deadline.into(), self.first(caller)).await else {
            return Ok(None);
        };
        self.paused()?;
        let at = self.state().pace.take_before(Instant::now(), deadline);
        match at {
            Some(at) => self.turn(first, at).await.map(Some),
            None => Ok(None),
        }
    }

    fn paused(&self) -> Result<(), Error> {
        let now = Instant::now();
        let mut state = self.state();
        match &state.pause {
            Some((error, until)) if now < *until => Err(Error {
                kind: Kind::RateLimited(Some(*until - now)),
                // Of another request. Each pause has the same words: a condition that shows them is written once.
                request_id: None,
                ..error.clone()
            }),
            Some(_) => {
                state.pause = None;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The platform asked for a pause: a request before its end would prolong it.
    pub(super) fn pause(&self, error: &Error, span: Duration) {
        let until = Instant::now() + span;
        let mut state = self.state();
        if state.pause.as_ref().is_none_or(|(_, old)| *old < until) {
            state.pause = Some((error.clone(), until));
        }
    }

    /// The platform refused the credential.
    pub(super) fn refused(&self) {
        (self.hooks.refused)();
    }

    /// Notes the platform's clock.
    pub(super) fn note_time(&self, at: Timestamp) {
        self.state().clock.note(at);
    }

    /// The time by the platform's clock, as far as it is known.
    #[must_use]
    pub fn now(&self) -> Option<Timestamp> {
        self.state().clock.now()
    }

    /// What the platform says instead of a time that can be its own; `None`: its time is plausible, or it has said none.
    #[must_use]
    pub fn skew(&self) -> Option<Skew> {
        self.state().clock.skew()
    }

    pub(super) fn note_deleted(&self, id: &str) {
        let now = Instant::now();
        let deleted = &mut self.state().deleted;
        // Callers ask back for a settle window at most.
        deleted.retain(|_, at| now.saturating_duration_since(*at) < REMEMBERED);
        deleted.insert(id.to_owned(), now);
    }

    /// Users that were deleted after `since`: a list begun then may still show them.
    #[must_use]
    pub fn deleted_since(&self, since: Instant) -> Vec<String> {
        let deleted = &self.state().deleted;
        let later = deleted.iter().filter(|(_, at)| **at >= since);
        later.map(|(id, _)| id.clone()).collect()
    }
}

/// The head of its queue, and a request in flight that it may make.
struct QueueHead {
    _head: Option<FairLockGuard>,
    slot: Option<OwnedSemaphorePermit>,
}

/// The right to send one request.
pub(super) struct Permit {
    _slot: Option<OwnedSemaphorePermit>,
}

/// One that waits.
struct WaitingCount<'a>(&'a AtomicUsize);

impl<'a> WaitingCount<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitingCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Spreads calls over time, after a small burst: each caller gets the next free moment.
struct TokenBucket {
    interval: Duration,
    burst: Duration,
    /// When all that was handed out would be used up without a burst.
    next: Option<Instant>,
}

impl TokenBucket {
    /// The burst is a tenth of a minute's calls.
    fn new(per_minute: u32) -> Self {
        let per_minute = per_minute.max(1);
        let interval = MINUTE / per_minute;
        Self {
            interval,
            burst: interval * (per_minute / 10),
            next: None,
        }
    }

    /// The moment that belongs to this caller.
    fn take(&mut self, now: Instant) -> Instant {
        let (mine, at) = self.peek(now);
        self.next = Some(mine + self.interval);
        at
    }

    /// The same, if it comes before `deadline`.
    fn take_before(&mut self, now: Instant, deadline: Instant) -> Option<Instant> {
        (self.peek(now).1 < deadline).then(|| self.take(now))
    }

    /// The next moment of the even spread, and up to `burst` ahead of it, when it may be used.
    fn peek(&self, now: Instant) -> (Instant, Instant) {
        let mine = self.next.map_or(now, |next| next.max(now));
        (mine, mine.checked_sub(self.burst).map_or(now, |at| at.max(now)))
    }
}

#[cfg(test)]
mod tests;
