//! Since when objects wait to be looked at: since something asked for it, or since it was due.
//!
//! The controller runtime does not tell. One number is kept of each object that waits or will be due; that of an object
//! that goes without being looked at again is forgotten after a while.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::runtime::controller::Action;

use crate::controller::schedule::digest::{Digest, digest};

/// Whatever waits for longer than this is not there any more.
const FORGOTTEN: Duration = Duration::from_hours(1);
/// Below this many there is nothing worth looking through.
const FEW: usize = 1024;

/// The objects of one kind.
#[derive(Default)]
pub(in crate::controller) struct QueueLag(Mutex<State>);

#[derive(Default)]
struct State {
    /// By a digest of namespace and name; in the future for what will be due.
    since: HashMap<Digest, Instant>,
    /// How many may be there before it is looked through again.
    most: usize,
}

fn key(namespace: Option<&str>, name: &str) -> Digest {
    digest(&(namespace.unwrap_or_default(), name))
}

impl QueueLag {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something asks for a look at this object.
    pub(in crate::controller) fn enqueued(&self, namespace: Option<&str>, name: &str) {
        self.at(namespace, name, Instant::now());
    }

    /// It is to be looked at again after `pause`; what the runtime has to be told for that.
    pub(in crate::controller) fn requeue(
        &self,
        namespace: Option<&str>,
        name: &str,
        pause: Duration,
    ) -> Action {
        if let Some(at) = Instant::now().checked_add(pause) {
            self.at(namespace, name, at);
        }
        Action::requeue(pause)
    }

    fn at(&self, namespace: Option<&str>, name: &str, at: Instant) {
        let mut state = self.state();
        let since = state.since.entry(key(namespace, name)).or_insert(at);
        *since = at.min(*since);
        if state.since.len() > state.most.max(FEW) {
            let now = Instant::now();
            state
                .since
                .retain(|_, at| now.saturating_duration_since(*at) < FORGOTTEN);
            state.most = state.since.len() * 2;
        }
    }

    /// It is looked at now; how long it has waited.
    pub(in crate::controller) fn begin(&self, namespace: Option<&str>, name: &str) -> Duration {
        let since = self.state().since.remove(&key(namespace, name));
        since.map_or(Duration::ZERO, |at| at.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{FEW, QueueLag};

    #[test]
    fn the_wait_begins_with_the_first_who_asks_or_when_it_is_due() {
        let queue = QueueLag::default();
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        assert_eq!(queue.begin(None, "nobody-asked"), Duration::ZERO);
        queue.at(Some("a"), "x", ago(20));
        queue.enqueued(Some("a"), "x");
        assert_eq!(queue.begin(Some("b"), "x"), Duration::ZERO);
        assert_eq!(queue.begin(Some("a"), "x").as_secs(), 20);
        // Asked for before it was due.
        queue.requeue(None, "y", Duration::from_mins(5));
        assert_eq!(queue.begin(None, "y"), Duration::ZERO);
        queue.requeue(None, "z", Duration::from_mins(5));
        queue.at(None, "z", ago(3));
        assert_eq!(queue.begin(None, "z").as_secs(), 3);
    }

    #[test]
    fn what_never_comes_is_forgotten() {
        let queue = QueueLag::default();
        let long_ago = Instant::now().checked_sub(Duration::from_hours(2)).unwrap();
        for i in 0..=FEW {
            queue.at(None, &i.to_string(), long_ago);
        }
        assert!(queue.state().since.len() < 2, "{}", queue.state().since.len());
    }
}
