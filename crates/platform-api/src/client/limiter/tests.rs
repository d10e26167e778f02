use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::{Caller, LimiterEvents, Limits, Priority, Purpose, RateLimiter, TokenBucket};
use crate::client::error::{Error, Kind};

fn caller(way: Priority) -> Caller {
    Caller {
        priority: way,
        ..of("payments")
    }
}

fn of(namespace: &str) -> Caller {
    Caller {
        priority: Priority::Normal,
        namespace: namespace.into(),
    }
}

#[test]
fn a_burst_goes_at_once_and_the_rest_at_an_even_pace_in_the_order_of_coming() {
    let now = Instant::now();
    let mut pace = TokenBucket::new(60);
    let times: Vec<_> = (0..10)
        .map(|_| pace.take(now).duration_since(now).as_secs())
        .collect();
    assert_eq!(times, [0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
    // After a rest there is a burst again, and not more than one.
    let later = now + Duration::from_mins(10);
    let times: Vec<_> = (0..9)
        .map(|_| pace.take(later).duration_since(later).as_secs())
        .collect();
    assert_eq!(times, [0, 0, 0, 0, 0, 0, 0, 1, 2]);
}

#[test]
fn the_slowest_pace_has_no_burst() {
    let now = Instant::now();
    let mut pace = TokenBucket::new(1);
    assert_eq!(pace.take(now), now);
    // A call that cannot wait for so long uses up nothing.
    assert_eq!(pace.take_before(now, now + Duration::from_secs(10)), None);
    assert_eq!(pace.take(now), now + Duration::from_mins(1));
}

#[tokio::test]
async fn while_the_platform_wants_a_pause_nothing_passes_and_the_longest_pause_counts() {
    let limiter = RateLimiter::new(Limits::default(), LimiterEvents::default());
    let error = Error::held(Kind::RateLimited(None), "GET /x", "slow down");
    limiter.pause(&error, Duration::from_mins(5));
    limiter.pause(&error, Duration::from_secs(1));
    let refused = limiter.acquire(&caller(Priority::Normal)).await.err();
    let Some(Kind::RateLimited(Some(left))) = refused.as_ref().map(|e| e.kind) else {
        panic!("{refused:?}");
    };
    assert!(left > Duration::from_mins(4), "{left:?}");
    assert_eq!(
        refused.map(|e| e.to_string()),
        Some(error.to_string()),
        "the same words each time"
    );
}

#[tokio::test]
async fn who_goes_ahead_stands_in_a_line_of_its_own_and_the_lines_take_turns() {
    let limits = Limits {
        max_in_flight: 1,
        requests_per_minute: 60_000,
        ..Limits::default()
    };
    let limiter = RateLimiter::new(limits, LimiterEvents::default());
    let order = RefCell::new(vec![]);
    let call = async |way, n| {
        let turn = limiter.acquire(&caller(way)).await.unwrap();
        order.borrow_mut().push((way, n));
        drop(turn);
    };
    let held = limiter.acquire(&caller(Priority::Normal)).await;
    let usual = (0..4).map(|n| call(Priority::Normal, n));
    let ahead = (0..2).map(|n| call(Priority::High, n));
    let mut all = std::pin::pin!(futures::future::join_all(usual.chain(ahead)));
    assert!(futures::poll!(&mut all).is_pending());
    assert_eq!(limiter.used().waiting, 6);
    drop(held);
    all.await;
    let (usual, ahead) = (|n| (Priority::Normal, n), |n| (Priority::High, n));
    assert_eq!(
        order.take(),
        [usual(0), ahead(0), usual(1), ahead(1), usual(2), usual(3)]
    );
}

/// A call of another namespace stands behind one call of a hundred that came before.
#[tokio::test]
async fn namespaces_take_turns_in_a_line() {
    let limits = Limits {
        max_in_flight: 1,
        requests_per_minute: 60_000,
        ..Limits::default()
    };
    let limiter = RateLimiter::new(limits, LimiterEvents::default());
    let order = RefCell::new(vec![]);
    let call = async |namespace: &'static str, n: usize| {
        let turn = limiter.acquire(&of(namespace)).await.unwrap();
        order.borrow_mut().push((namespace, n));
        drop(turn);
    };
    let held = limiter.acquire(&of("a")).await;
    let many = (0..100).map(|n| call("a", n));
    let others = [("b", 0), ("c", 0), ("b", 1)].map(|(namespace, n)| call(namespace, n));
    let mut all = std::pin::pin!(futures::future::join_all(many.chain(others)));
    assert!(futures::poll!(&mut all).is_pending());
    drop(held);
    all.await;
    let order = order.take();
    assert_eq!(
        order[..7],
        [
            ("a", 0),
            ("a", 1),
            ("b", 0),
            ("c", 0),
            ("a", 2),
            ("b", 1),
            ("a", 3)
        ]
    );
    assert_eq!(order.len(), 103);
}

#[tokio::test]
async fn only_the_first_of_each_line_has_a_moment_and_who_gives_up_takes_none() {
    let limiter = Arc::new(RateLimiter::new(Limits::default(), LimiterEvents::default()));
    let (hour, soon) = (Duration::from_hours(1), Instant::now() + Duration::from_hours(1));
    limiter.state().pace = TokenBucket {
        interval: hour,
        burst: Duration::ZERO,
        next: Some(soon),
    };
    let (in_usual, in_ahead) = (caller(Priority::Normal), caller(Priority::High));
    let usual = (0..4).map(|_| limiter.acquire(&in_usual));
    let ahead = (0..2).map(|_| limiter.acquire(&in_ahead));
    let mut all = std::pin::pin!(futures::future::join_all(usual.chain(ahead)));
    assert!(futures::poll!(&mut all).is_pending());
    assert_eq!(limiter.state().pace.next, Some(soon + hour * 2));
    let timeout = Duration::from_millis(20);
    for way in [Priority::Normal, Priority::High] {
        let permit = limiter
            .reserve_create("POST /x", timeout, Purpose::First, &caller(way))
            .await;
        assert_eq!(
            permit.map(drop).map_err(|e| e.kind),
            Err(Kind::RateLimited(Some(timeout)))
        );
    }
    let used = limiter.used();
    assert_eq!((used.waiting, used.in_flight), (6, 2));
    assert_eq!(limiter.state().pace.next, Some(soon + hour * 2));
}

#[tokio::test]
async fn usage_is_reported() {
    let limits = Limits {
        max_in_flight: 1,
        creates_per_hour: 2,
        ..Limits::default()
    };
    let limiter = Arc::new(RateLimiter::new(limits, LimiterEvents::default()));
    let permit = limiter
        .reserve_create(
            "POST /x",
            Duration::from_secs(1),
            Purpose::First,
            &caller(Priority::Normal),
        )
        .await
        .unwrap();
    let second = caller(Priority::Normal);
    let mut second = std::pin::pin!(limiter.acquire(&second));
    assert!(futures::poll!(&mut second).is_pending());
    let used = limiter.used();
    assert_eq!((used.in_flight, used.waiting, used.budget_left), (1, 1, 1));
    let turn = permit.redeem("POST /x", Duration::from_secs(1));
    assert_eq!(limiter.used().in_flight, 1);
    drop(turn);
    assert!(second.await.is_ok());
    let error = Error::held(Kind::RateLimited(None), "GET /x", "slow down");
    limiter.pause(&error, Duration::from_mins(5));
    let used = limiter.used();
    assert_eq!((used.in_flight, used.waiting), (0, 0));
    assert!(used.pause > Duration::from_mins(4), "{:?}", used.pause);
}

#[test]
fn deleted_users_are_remembered_for_lists_that_are_older() {
    let limiter = RateLimiter::new(Limits::default(), LimiterEvents::default());
    let before = Instant::now();
    limiter.note_deleted("pu-1");
    assert_eq!(limiter.deleted_since(before), ["pu-1"]);
    assert_eq!(
        limiter.deleted_since(Instant::now() + Duration::from_secs(1)),
        Vec::<String>::new()
    );
}

#[test]
fn a_time_that_cannot_be_right_makes_the_time_unknown_until_one_comes_that_can() {
    let limiter = RateLimiter::new(Limits::default(), LimiterEvents::default());
    let hours = |n| {
        Timestamp::now()
            .checked_add(SignedDuration::from_hours(n))
            .unwrap()
    };
    assert_eq!((limiter.now(), limiter.skew()), (None, None));
    for plausible in [hours(0), hours(23), hours(-23)] {
        limiter.note_time(plausible);
        assert!(limiter.now().unwrap() >= plausible);
        assert_eq!(limiter.skew(), None);
    }
    for not in [
        hours(25),
        hours(-25),
        Timestamp::MAX,
        Timestamp::MIN,
        Timestamp::UNIX_EPOCH,
    ] {
        limiter.note_time(not);
        assert_eq!(limiter.now(), None);
        assert_eq!(limiter.skew().unwrap().platform, not);
    }
    limiter.note_time(hours(0));
    assert!(limiter.now().is_some() && limiter.skew().is_none());
}
