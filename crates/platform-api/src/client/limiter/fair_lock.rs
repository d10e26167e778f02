//! A fair lock: one caller holds it, the others wait in a queue whose namespaces take turns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::super::fair_queue::FairQueue;

/// Namespaces take turns, so that one with many calls delays a call of another by one call.
#[derive(Default)]
pub(super) struct FairLock(Mutex<State>);

#[derive(Default)]
struct State {
    /// Whether a caller holds the lock.
    is_taken: bool,
    waiting: FairQueue<Arc<str>, oneshot::Sender<FairLockGuard>>,
}

/// The lock, held until this is dropped.
pub(super) struct FairLockGuard(Arc<FairLock>);

impl FairLock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this caller holds the lock.
    pub(super) async fn first(self: &Arc<Self>, namespace: &Arc<str>) -> Option<FairLockGuard> {
        let turn = {
            let mut state = self.state();
            if !state.is_taken {
                state.is_taken = true;
                return Some(FairLockGuard(self.clone()));
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push(namespace.clone(), sender);
            receiver
        };
        // This caller keeps the lock, and so the sender, alive.
        turn.await.ok()
    }
}

impl Drop for FairLockGuard {
    /// Hands the lock to the next caller. One that has given up drops the guard that it is sent, which hands it on.
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state();
            let next = state.waiting.pop();
            state.is_taken = next.is_some();
            next
        };
        if let Some(next) = next {
            drop(next.send(FairLockGuard(self.0.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::FairLock;

    #[tokio::test]
    async fn a_caller_that_gives_up_loses_no_place() {
        let line = Arc::new(FairLock::default());
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        let head = line.first(&a).await;
        let mut last = Box::pin(line.first(&b));
        let mut gone: Vec<_> = (0..100).map(|_| Box::pin(line.first(&a))).collect();
        for waiting in &mut gone {
            assert!(futures::poll!(waiting).is_pending());
        }
        assert!(futures::poll!(&mut last).is_pending());
        // One is sent the lock and has not polled, the others have gone before.
        let notified = gone.swap_remove(0);
        drop(gone);
        drop(head);
        assert!(futures::poll!(&mut last).is_pending());
        drop(notified);
        assert!(last.await.is_some());
        assert!(!line.state().is_taken && line.state().waiting.pop().is_none());
    }
}
