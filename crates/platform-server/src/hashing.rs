//! How many passwords are hashed at once: each takes 19 MiB and a core for a while.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reply::ApiError;

const PLACES: usize = 2;
/// Passwords that may wait in each queue.
const WAITING: usize = 16;

/// The queue that a password waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// Sign-ins from unknown browsers.
    Strangers,
    /// Requests with a credential, and sign-ins from a known browser of the user: strangers take no room here.
    Known,
}

/// Bounds how many passwords are hashed, and how many wait.
#[derive(Debug)]
pub(super) struct Hashing {
    places: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    known: Arc<Semaphore>,
}

impl Default for Hashing {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PLACES)),
            strangers: Arc::new(Semaphore::new(PLACES + WAITING)),
            known: Arc::new(Semaphore::new(PLACES + WAITING)),
        }
    }
}

/// Room in a queue, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _waiting: OwnedSemaphorePermit,
}

impl Hashing {
    /// Takes room in a queue; [`ApiError::Busy`] if it is full.
    pub(super) fn join(&self, line: Line) -> Result<Turn, ApiError> {
        let line = match line {
            Line::Strangers => &self.strangers,
            Line::Known => &self.known,
        };
        line.clone()
            .try_acquire_owned()
            .map(|waiting| Turn { _waiting: waiting })
            .map_err(|_| ApiError::Busy)
    }

    /// Hashes a password, or compares one, off the async threads, [`PLACES`] at once. The work keeps its place until it ends,
    /// though its client may have closed the connection: clients cannot start more by going away.
    pub(super) async fn hashed<T: Send + 'static>(
        &self,
        turn: Turn,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(|_| ApiError::Internal("shutting down"))?;
        let work = move || {
            let _held = (turn, place);
            work()
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| ApiError::Internal("hashing stopped"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{ApiError, Hashing, Line, PLACES, WAITING};

    #[tokio::test]
    async fn what_is_given_up_keeps_its_place_until_it_ends() {
        let hashing = Hashing::default();
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
            let turn = hashing.join(Line::Strangers).unwrap();
            let given_up = timeout(Duration::from_millis(20), hashing.hashed(turn, work));
            drop(given_up.await);
        }
        // Nothing may fail before this: the test would wait for its threads.
        may_end.store(true, Ordering::SeqCst);
        let all = timeout(Duration::from_secs(30), hashing.places.acquire_many(2)).await;
        drop(all.unwrap().unwrap());
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_panic_gives_its_place_back() {
        let hashing = Hashing::default();
        let fails: fn() = || std::panic::resume_unwind(Box::new(()));
        let turn = hashing.join(Line::Strangers).unwrap();
        assert!(hashing.hashed(turn, fails).await.is_err());
        assert_eq!(hashing.places.available_permits(), PLACES);
        assert_eq!(hashing.strangers.available_permits(), PLACES + WAITING);
    }

    /// A full queue refuses at once, and takes no room from known browsers.
    #[tokio::test]
    async fn a_full_line_refuses_strangers_at_once() {
        let hashing = Hashing::default();
        let all: Vec<_> = (0..PLACES + WAITING)
            .map(|_| hashing.join(Line::Strangers).unwrap())
            .collect();
        assert!(matches!(hashing.join(Line::Strangers), Err(ApiError::Busy)));
        let known = hashing.join(Line::Known).unwrap();
        assert_eq!(hashing.hashed(known, || 7).await.unwrap(), 7);
        drop(all);
        hashing.join(Line::Strangers).unwrap();
    }
}
