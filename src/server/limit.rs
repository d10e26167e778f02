//! Rate limits: a window of 60 seconds for each route and method; requests while blocked prolong the block.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue};

const WINDOW: Duration = Duration::from_secs(60);

/// The limiter of one organization.
pub(super) struct Limiter {
    limit: usize,
    recent: Mutex<HashMap<&'static str, VecDeque<Instant>>>,
}

/// What is left after a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowance {
    limit: usize,
    remaining: usize,
    reset: u64,
    pub(super) blocked: bool,
}

impl Limiter {
    /// `limit` requests a window and route; 0: no limit.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            recent: Mutex::default(),
        }
    }

    /// Counts a request to `route`.
    pub(super) fn count(&self, route: &'static str, now: Instant) -> Allowance {
        if self.limit == 0 {
            return Allowance {
                limit: 1_000_000,
                remaining: 1_000_000,
                ..Allowance::default()
            };
        }
        let mut all = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = all.entry(route).or_default();
        while recent.front().is_some_and(|t| now.duration_since(*t) >= WINDOW) {
            recent.pop_front();
        }
        let blocked = recent.len() >= self.limit;
        if blocked {
            // The newest count: whoever goes on asking waits a whole window from the last request.
            recent.pop_front();
        }
        recent.push_back(now);
        let oldest = if blocked { recent.back() } else { recent.front() };
        let reset = oldest.map_or(0, |t| {
            (WINDOW.saturating_sub(now.duration_since(*t))).as_secs() + 1
        });
        Allowance {
            limit: self.limit,
            remaining: self.limit - recent.len(),
            reset,
            blocked,
        }
    }
}

impl Allowance {
    pub(super) fn write(self, headers: &mut HeaderMap) {
        headers.insert("x-ratelimit-limit", HeaderValue::from(self.limit));
        headers.insert("x-ratelimit-remaining", HeaderValue::from(self.remaining));
        headers.insert("x-ratelimit-reset", HeaderValue::from(self.reset));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Limiter;

    #[test]
    fn asking_while_blocked_prolongs_the_block() {
        let limiter = Limiter::new(2);
        let start = Instant::now();
        let at = |s| limiter.count("GET /x", start + Duration::from_secs(s)).blocked;
        assert_eq!([at(0), at(1), at(2), at(59)], [false, false, true, true]);
        assert!(at(61), "the requests at 2 s and 59 s still count");
        assert!(!at(200));
    }

    #[test]
    fn routes_do_not_share_a_window() {
        let limiter = Limiter::new(1);
        let now = Instant::now();
        assert!(
            !limiter.count("a", now).blocked
                && !limiter.count("b", now).blocked
                && limiter.count("a", now).blocked
        );
    }
}
