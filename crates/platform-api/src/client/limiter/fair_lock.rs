//! A line before the slots: one caller stands first, and the others wait for that place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::super::fair_queue::FairQueue;

/// One line. Namespaces take turns in it, so that one with many calls holds up another's for the time of one.
#[derive(Default)]
pub(super) struct FairLock(Mutex<State>);

#[derive(Default)]
struct State {
    /// Whether somebody stands first.
    is_taken: bool,
    waiting: FairQueue<Arc<str>, oneshot::Sender<FairLockGuard>>,
}

/// The first place, until it is dropped.
pub(super) struct FairLockGuard(Arc<FairLock>);

impl FairLock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this caller stands first.
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
        // The line is kept by this caller, and so is its sender.
        turn.await.ok()
    }
}

impl Drop for FairLockGuard {
    /// The next one stands first. One that has given up drops what it is sent, and so passes it on.
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
        // One is sent the place and has not looked, the others have gone before.
        let told = gone.swap_remove(0);
        drop(gone);
        drop(head);
        assert!(futures::poll!(&mut last).is_pending());
        drop(told);
        assert!(last.await.is_some());
        assert!(!line.state().is_taken && line.state().waiting.pop().is_none());
    }
}
