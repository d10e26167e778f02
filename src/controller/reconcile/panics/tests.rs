//! What becomes of a reconcile that panics.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use tokio::sync::{Mutex, Semaphore};

use crate::controller::reconcile::panics::{Error, catch_panic, notice};
use crate::controller::schedule::records::{PANIC_PAUSES, Records};

#[tokio::test]
async fn a_panic_ends_its_own_reconcile_and_gives_back_what_it_held() {
    let places = Arc::new(Semaphore::new(1));
    let lock = Arc::new(Mutex::new(0));
    let fails = catch_panic(async {
        let _place = places.acquire().await.unwrap();
        let _held = lock.lock().await;
        tokio::task::yield_now().await;
        assert_ne!(places.available_permits(), 0, "a value of this reconcile");
        Ok(())
    });
    let works = catch_panic(async {
        // It has to wait for the place of the one that panics.
        let _place = places.acquire().await.unwrap();
        *lock.lock().await += 1;
        Ok(*lock.lock().await)
    });
    let (failed, worked) = join(fails, works).await;
    assert!(matches!(failed, Err(Error::Panicked)));
    assert_eq!(failed.unwrap_err().reason(), "InternalError");
    assert!(matches!(worked, Ok(1)));
    assert_eq!(places.available_permits(), 1);
}

#[test]
fn the_pauses_grow_to_an_hour_and_a_changed_object_is_tried_at_once() {
    let records = Records::default();
    assert_eq!(records.panic_pause("a", 1), None);
    let all: Vec<u64> = (0..12).map(|_| records.record_panic("a", 1).as_secs()).collect();
    assert_eq!(all, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]);
    let left = records.panic_pause("a", 1).unwrap();
    assert!(left > Duration::from_mins(59) && left <= PANIC_PAUSES.1);
    assert_eq!(records.panic_pause("a", 2), None, "it asks for something else");
    assert_eq!(records.panic_pause("b", 1), None, "another object");
    assert_eq!(
        records.record_panic("a", 2),
        PANIC_PAUSES.0,
        "a new fault begins with a short pause"
    );
    records.reset_panics("a");
    assert_eq!(records.panic_pause("a", 2), None);
}

#[test]
fn the_event_tells_when_it_is_tried_again_and_nothing_of_the_panic() {
    let notice = notice(Duration::from_secs(40));
    assert!(notice.warning);
    assert_eq!(notice.reason, crate::api::Reason::InternalError);
    assert!(
        notice.message.contains("tries again in 40 s"),
        "{}",
        notice.message
    );
}
