//! Requests per minute of each organization, route and method, in a sliding window of whole seconds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

use super::store::Store;
use super::store::requests::{Counted, Key, WINDOW};

/// A header that the layer of all replies adds where a route has not.
pub(super) static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What a reply's `X-RateLimit-*` headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// Seconds.
    pub(super) reset: u64,
    pub(super) blocked: bool,
}

impl Allowance {
    pub(super) fn write_headers(self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(LIMIT.clone(), HeaderValue::from(self.limit));
        headers.insert(REMAINING.clone(), HeaderValue::from(self.remaining));
        headers.insert(RESET.clone(), HeaderValue::from(self.reset));
    }

    /// What a window allows after the request that was counted last. Refused requests count too: a caller that does not pause
    /// stays blocked.
    fn of(limit: u32, counted: &Counted) -> Self {
        let most = i64::from(limit);
        // Only the newest `limit` matter: a request is free again when the oldest of them has left.
        let (mut newer, mut oldest) = (0, counted.now);
        for (second, requests) in counted.seconds.iter().rev() {
            if newer >= most {
                break;
            }
            newer += requests;
            oldest = *second;
        }
        let total: i64 = counted.seconds.iter().map(|(_, requests)| requests).sum();
        Self {
            limit,
            remaining: u32::try_from(most - total).unwrap_or(0),
            reset: u64::try_from(WINDOW - (counted.now - oldest)).unwrap_or(0),
            blocked: total > most,
        }
    }
}

/// Counts requests: in the database, where platforms share one, and here otherwise.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: u32,
    started: Instant,
    here: Mutex<Counts>,
}

/// Seconds and the number of requests in each.
#[derive(Debug, Default)]
struct Counts {
    seconds: HashMap<Key, Vec<(i64, i64)>>,
    /// When idle keys were last removed.
    swept: i64,
}

impl Counts {
    /// Once in a window, so that it costs each request next to nothing.
    fn sweep(&mut self, now: i64) {
        if now - self.swept >= WINDOW {
            let is_active =
                |seconds: &Vec<(i64, i64)>| seconds.last().is_some_and(|(last, _)| now - last < WINDOW);
            self.seconds.retain(|_, seconds| is_active(seconds));
            self.swept = now;
        }
    }
}

impl Limiter {
    /// `limit` requests a minute; 0 is without limit.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            started: Instant::now(),
            here: Mutex::default(),
        }
    }

    /// What a reply says that counted against nothing; `None` without limit.
    pub(super) fn untouched(&self) -> Option<Allowance> {
        (self.limit > 0).then(|| Allowance {
            limit: self.limit,
            remaining: self.limit,
            reset: WINDOW.unsigned_abs(),
            blocked: false,
        })
    }

    /// Counts a request; `None` without limit.
    pub(super) async fn count(&self, store: &Store, key: Key) -> Result<Option<Allowance>, sqlx::Error> {
        if self.limit == 0 {
            return Ok(None);
        }
        self.count_up_to(self.limit, store, key).await.map(Some)
    }

    /// Counts a request that has a limit of its own, also where others have none. A lower limit of all holds for it too.
    pub(super) async fn count_up_to(
        &self,
        most: u32,
        store: &Store,
        key: Key,
    ) -> Result<Allowance, sqlx::Error> {
        let limit = if self.limit == 0 {
            most
        } else {
            most.min(self.limit)
        };
        let counted = match store.count_request(&key).await? {
            Some(counted) => counted,
            None => self.count_here(key, self.started.elapsed().as_secs().cast_signed()),
        };
        Ok(Allowance::of(limit, &counted))
    }

    fn count_here(&self, key: Key, now: i64) -> Counted {
        // A poisoned lock only means that another request panicked between two of these lines.
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        here.sweep(now);
        let seconds = here.seconds.entry(key).or_default();
        seconds.retain(|(second, _)| now - second < WINDOW);
        match seconds.last_mut() {
            Some((second, requests)) if *second == now => *requests += 1,
            _ => seconds.push((now, 1)),
        }
        Counted {
            now,
            seconds: seconds.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Allowance, Key, Limiter};

    fn key(route: &'static str) -> Key {
        Key {
            caller: "org".into(),
            method: "GET",
            route,
        }
    }

    #[test]
    fn blocked_requests_prolong_the_block() {
        let limiter = Limiter::new(2);
        let ask = |s| Allowance::of(2, &limiter.count_here(key("/a"), s));
        assert_eq!((ask(0).remaining, ask(10).remaining), (1, 0));
        let refused = ask(20);
        assert!(refused.blocked);
        assert_eq!((refused.remaining, refused.reset), (0, 50));
        // Without the refused request the window would be free at 60.
        assert!(ask(61).blocked);
        assert!(!ask(140).blocked);
    }

    #[test]
    fn a_second_holds_many_and_routes_do_not_share() {
        let limiter = Limiter::new(3);
        let ask = |route, s| Allowance::of(3, &limiter.count_here(key(route), s));
        for left in [2, 1, 0] {
            let allowed = ask("/a", 7);
            assert_eq!(
                (allowed.remaining, allowed.blocked, allowed.reset),
                (left, false, 60)
            );
        }
        assert!(ask("/a", 7).blocked);
        assert!(!ask("/b", 7).blocked);
        assert!(!ask("/a", 67).blocked);
        assert!(Limiter::new(0).untouched().is_none());
    }

    #[test]
    fn idle_callers_are_forgotten() {
        let limiter = Limiter::new(2);
        let ask = |caller: usize, s| {
            let caller = caller.to_string();
            limiter.count_here(Key { caller, ..key("/a") }, s)
        };
        for caller in 0..1000 {
            ask(caller, 0);
        }
        // An active one stays.
        ask(0, 59);
        ask(1000, 60);
        assert_eq!(limiter.here.lock().map(|h| h.seconds.len()).ok(), Some(2));
        assert_eq!(ask(0, 61).seconds, [(59, 1), (61, 1)]);
    }
}
