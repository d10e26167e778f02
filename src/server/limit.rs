//! Requests per minute of each organization, route and method, in a sliding window.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_mins(1);

/// Who asks for what: organization, method and route.
pub(super) type Key = (String, String, String);

/// What a reply's `X-RateLimit-*` headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// Seconds.
    pub(super) reset: u64,
    pub(super) blocked: bool,
}

/// Counts requests. A request that is refused counts too, so whoever keeps asking stays blocked.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: u32,
    seen: Mutex<HashMap<Key, VecDeque<Instant>>>,
}

impl Limiter {
    /// `limit` requests a minute; 0 is without limit.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            seen: Mutex::default(),
        }
    }

    /// What a reply says that counted against nothing; `None` without limit.
    pub(super) fn untouched(&self) -> Option<Allowance> {
        (self.limit > 0).then(|| Allowance {
            limit: self.limit,
            remaining: self.limit,
            reset: WINDOW.as_secs(),
            blocked: false,
        })
    }

    /// Counts a request; `None` without limit.
    pub(super) fn count(&self, key: Key, now: Instant) -> Option<Allowance> {
        if self.limit == 0 {
            return None;
        }
        // A poisoned lock only means that another request panicked between two of these lines.
        let mut seen = self
            .seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let times = seen.entry(key).or_default();
        while times.front().is_some_and(|t| now.duration_since(*t) >= WINDOW) {
            times.pop_front();
        }
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let blocked = times.len() >= limit;
        if blocked {
            // Only the newest `limit` matter: a request is free again when the oldest of them has left.
            times.pop_front();
        }
        times.push_back(now);
        let left = times
            .front()
            .map_or(WINDOW, |t| WINDOW.saturating_sub(now.duration_since(*t)));
        Some(Allowance {
            limit: self.limit,
            remaining: u32::try_from(limit - times.len()).unwrap_or(0),
            reset: left.as_secs() + u64::from(left.subsec_nanos() > 0),
            blocked,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Limiter;

    fn key(route: &str) -> super::Key {
        ("org".into(), "GET".into(), route.into())
    }

    #[test]
    fn blocked_requests_prolong_the_block() {
        let limiter = Limiter::new(2);
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let ask = |s| limiter.count(key("/a"), at(s)).unwrap_or_else(|| unreachable!());
        assert_eq!((ask(0).remaining, ask(10).remaining), (1, 0));
        let refused = ask(20);
        assert!(refused.blocked);
        assert_eq!((refused.remaining, refused.reset), (0, 50));
        // Without the refused request the first one's place would be free at 60.
        assert!(ask(61).blocked);
        assert!(!ask(140).blocked);
    }

    #[test]
    fn routes_do_not_share() {
        let limiter = Limiter::new(1);
        let now = Instant::now();
        assert!(limiter.count(key("/a"), now).is_some_and(|a| !a.blocked));
        assert!(limiter.count(key("/b"), now).is_some_and(|a| !a.blocked));
        assert!(limiter.count(key("/a"), now).is_some_and(|a| a.blocked));
        assert!(Limiter::new(0).count(key("/a"), now).is_none());
    }
}
