use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{CreatePermit, Purpose};
use crate::client::error::{Error, Kind};
use crate::client::limiter::{Caller, LimiterEvents, Limits, Priority, RateLimiter};

const SECOND: Duration = Duration::from_secs(1);

fn of(namespace: &str) -> Caller {
    Caller {
        priority: Priority::Normal,
        namespace: namespace.into(),
    }
}

/// A limiter with so many places an hour, in a process that leads for `margin` milliseconds.
fn limiter(creates_per_hour: usize, margin: &Arc<AtomicU64>) -> Arc<RateLimiter> {
    let limits = Limits {
        creates_per_hour,
        max_in_flight: 1,
        ..Limits::default()
    };
    let margin = margin.clone();
    let hooks = LimiterEvents {
        margin: Box::new(move || Duration::from_millis(margin.load(Ordering::Relaxed))),
        ..LimiterEvents::default()
    };
    Arc::new(RateLimiter::new(limits, hooks))
}

fn leader() -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(u64::MAX))
}

async fn reserve(
    limiter: &Arc<RateLimiter>,
    namespace: &str,
    purpose: Purpose,
) -> Result<CreatePermit, Error> {
    let caller = of(namespace);
    limiter.reserve_create("POST /x", SECOND, purpose, &caller).await
}

/// A call for which a user is made.
async fn make(limiter: &Arc<RateLimiter>, namespace: &str, purpose: Purpose) -> Result<(), String> {
    let permit = reserve(limiter, namespace, purpose)
        .await
        .map_err(|e| e.to_string())?;
    permit
        .redeem("POST /x", SECOND)
        .map(drop)
        .map_err(|e| e.to_string())
}

#[tokio::test]
async fn a_permit_needs_a_turn_in_time_a_lease_that_lasts_and_a_place() {
    let kind = |r: Result<CreatePermit, Error>| r.map(drop).map_err(|e| e.kind);
    let first = async |limiter: &Arc<RateLimiter>| kind(reserve(limiter, "a", Purpose::First).await);
    let follower = Arc::new(AtomicU64::new(1000));
    assert_eq!(first(&limiter(1, &follower)).await, Err(Kind::NotLeading));

    let limiter = limiter(1, &leader());
    let held = limiter.acquire(&of("b")).await;
    assert_eq!(first(&limiter).await, Err(Kind::RateLimited(Some(SECOND))));
    drop(held);
    assert_eq!(first(&limiter).await, Ok(()));
    assert_eq!(make(&limiter, "a", Purpose::First).await, Ok(()));
    let before = limiter.state().pace.next;
    assert!(matches!(first(&limiter).await, Err(Kind::BudgetExhausted(_))));
    assert_eq!(limiter.state().pace.next, before, "a refusal uses up no turn");
}

#[tokio::test]
async fn a_permit_that_is_not_used_gives_back_its_slot_and_its_place() {
    let limiter = limiter(1, &leader());
    let permit = reserve(&limiter, "a", Purpose::First).await.unwrap();
    let used = limiter.used();
    assert_eq!((used.in_flight, used.budget_left), (1, 0));
    assert!(limiter.create_pause("b", Purpose::First).is_some());
    drop(permit);
    let used = limiter.used();
    assert_eq!((used.in_flight, used.budget_left), (0, 1));
    assert_eq!(limiter.create_pause("b", Purpose::First), None);
    // Another one's place stays taken.
    assert_eq!(make(&limiter, "b", Purpose::First).await, Ok(()));
    assert_eq!(limiter.used().budget_left, 0);
}

/// The settle window counts from the loss of the leadership.
#[tokio::test]
async fn a_permit_ends_with_the_leadership_with_a_pause_and_with_its_time() {
    let leads = leader();
    let limiter = limiter(1, &leads);
    let sent = |permit: CreatePermit| permit.redeem("POST /x", SECOND).map(drop).map_err(|e| e.kind);

    let permit = reserve(&limiter, "a", Purpose::First).await.unwrap();
    leads.store(1000, Ordering::Relaxed);
    assert_eq!(sent(permit), Err(Kind::NotLeading));
    leads.store(u64::MAX, Ordering::Relaxed);

    let mut permit = reserve(&limiter, "a", Purpose::First).await.unwrap();
    permit.ends = Instant::now();
    assert_eq!(sent(permit), Err(Kind::RateLimited(None)));

    let permit = reserve(&limiter, "a", Purpose::First).await.unwrap();
    let error = Error::held(Kind::RateLimited(None), "GET /x", "slow down");
    limiter.pause(&error, Duration::from_mins(5));
    assert!(matches!(sent(permit), Err(Kind::RateLimited(Some(_)))));
    assert!(limiter.create_pause("a", Purpose::First) > Some(Duration::from_mins(4)));
    // Nothing was sent, and nothing is used up.
    assert_eq!(limiter.used().budget_left, 1);
}

#[tokio::test]
async fn replacements_leave_a_part_of_the_budget_to_others_and_revocations_have_one_of_their_own() {
    let limits = Limits {
        creates_per_hour: 10,
        ..Limits::default()
    };
    let limiter = Arc::new(RateLimiter::new(limits, LimiterEvents::default()));
    for n in 0..9 {
        let namespace = ["a", "b", "c"][n % 3];
        assert_eq!(make(&limiter, namespace, Purpose::Replacement).await, Ok(()));
    }
    let message = make(&limiter, "d", Purpose::Replacement).await.unwrap_err();
    assert!(
        message.contains("9 users were made within an hour, all that limits.createsPerHour (10) allows; a tenth is kept for new users and revocations"),
        "{message}"
    );
    assert_eq!(make(&limiter, "a", Purpose::First).await, Ok(()));
    let message = make(&limiter, "d", Purpose::First).await.unwrap_err();
    assert!(
        message.contains("10 users were made within an hour, all that limits.createsPerHour (10) allows"),
        "{message}"
    );
    assert_eq!(make(&limiter, "a", Purpose::Revocation).await, Ok(()));
    let message = make(&limiter, "d", Purpose::Revocation).await.unwrap_err();
    assert!(
        message.contains("11 users were made within an hour") && message.contains("with the tenth more"),
        "{message}"
    );
    let most = |purpose: Purpose| [1, 2, 10, 1000].map(|all| purpose.most(all));
    assert_eq!(most(Purpose::Replacement), [1, 1, 9, 900]);
    assert_eq!(most(Purpose::Revocation), [2, 3, 11, 1100]);
}

#[tokio::test]
async fn the_error_of_a_used_up_share_names_the_namespace() {
    let limiter = limiter(10, &leader());
    for _ in 0..5 {
        assert_eq!(make(&limiter, "payments", Purpose::First).await, Ok(()));
    }
    let message = make(&limiter, "payments", Purpose::First).await.unwrap_err();
    assert!(
        message.contains("5 users were made for namespace payments within an hour, all that its share of limits.createsPerHour (half of 10) allows"),
        "{message}"
    );
    assert_eq!(make(&limiter, "search", Purpose::First).await, Ok(()));
}
