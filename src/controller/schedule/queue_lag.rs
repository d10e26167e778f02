//! Measures how long objects wait for their reconcile: from the first event, or from when it was due.
//!
//! The controller runtime has no such metric. Objects that wait or will be due have an entry each; the entry of an object that
//! is deleted meanwhile is dropped after [`FORGOTTEN`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::runtime::controller::Action;

use crate::controller::schedule::digest::{Digest, digest};

/// An object that waits for longer than this does not exist any more.
const FORGOTTEN: Duration = Duration::from_hours(1);
/// Below this many entries none is searched for.
const FEW: usize = 1024;

/// The objects of one kind.
#[derive(Default)]
pub(in crate::controller) struct QueueLag(Mutex<State>);

#[derive(Default)]
struct State {
    /// By a digest of namespace and name; in the future for what will be due.
    since: HashMap<Digest, Instant>,
    /// How many entries there may be before old ones are searched for.
    most: usize,
}

fn key(namespace: Option<&str>, name: &str) -> Digest {
    digest(&(namespace.unwrap_or_default(), name))
}

impl QueueLag {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event or a trigger enqueues this object.
    pub(in crate::controller) fn enqueued(&self, namespace: Option<&str>, name: &str) {
        self.at(namespace, name, Instant::now());
    }

    /// The next reconcile is due after `pause`; the action that has the runtime do it.
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

    /// A reconcile begins; how long the object has waited.
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
    fn the_wait_begins_with_the_first_event_or_when_it_is_due() {
        let queue = QueueLag::default();
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        assert_eq!(queue.begin(None, "not-enqueued"), Duration::ZERO);
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
    fn entries_of_deleted_objects_are_dropped() {
        let queue = QueueLag::default();
        let long_ago = Instant::now().checked_sub(Duration::from_hours(2)).unwrap();
        for i in 0..=FEW {
            queue.at(None, &i.to_string(), long_ago);
        }
        assert!(queue.state().since.len() < 2, "{}", queue.state().since.len());
    }
}
