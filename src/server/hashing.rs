//! How many passwords are hashed at once: each takes 19 MiB and a core for a while.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::App;
use super::reply::ApiError;

/// Hashes a password, or compares one, off the async threads and as many at once as the platform has places. A place is
/// taken until the work ends, and not until whoever asked for it has gone: clients that close their connection make no room.
pub(super) async fn hashed<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    limited(app.hashing.clone(), work).await
}

async fn limited<T: Send + 'static>(
    places: Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let place = places.acquire_owned().await;
    let place = place.map_err(|_| ApiError::Internal("shutting down"))?;
    let work = move || {
        let _place = place;
        work()
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ApiError::Internal("hashing stopped"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::limited;

    #[tokio::test]
    async fn what_is_given_up_keeps_its_place_until_it_ends() {
        let places = Arc::new(Semaphore::new(2));
        let begun = Arc::new(AtomicUsize::new(0));
        let may_end = Arc::new(AtomicBool::new(false));
        for _ in 0..8 {
            let (begun, may_end) = (begun.clone(), may_end.clone());
            let work = move || {
                begun.fetch_add(1, Ordering::SeqCst);
                while !may_end.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            // As by a client that closes its connection.
            let given_up = timeout(Duration::from_millis(20), limited(places.clone(), work));
            drop(given_up.await);
        }
        // Nothing may fail before this: the test would wait for its threads.
        may_end.store(true, Ordering::SeqCst);
        let all = timeout(Duration::from_secs(30), places.acquire_many(2)).await;
        drop(all.unwrap().unwrap());
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_panic_gives_its_place_back() {
        let places = Arc::new(Semaphore::new(1));
        let fails: fn() = || std::panic::resume_unwind(Box::new(()));
        assert!(limited(places.clone(), fails).await.is_err());
        assert_eq!(places.available_permits(), 1);
    }
}
