//! Panics of reconciles. A panic is a fault of the operator that one object brings to light: it ends that reconcile and
//! no other. The reconcile gives its permits and places back as it unwinds. The object is tried again after a pause that
//! grows, whatever else changes, and at once when somebody changes the object.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt as _};

use crate::api::Reason;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::schedule::object_state::{Digest, digest};
use crate::controller::schedule::queue_lag::QueueLag;
use crate::plan::EventDraft;

/// The first pause after a panic, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(1));

/// Runs `work` to its end or to its panic.
///
/// What reconciles share is behind locks of which none stays poisoned, so that the others work on.
pub(in crate::controller) async fn catch_panic<T>(
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let ended = AssertUnwindSafe(work).catch_unwind().await;
    // The payload may quote any value. The panic hook has logged what may be logged.
    ended.unwrap_or(Err(Error::Panicked))
}

/// A digest of what the object asks for: its spec and its annotations.
pub(in crate::controller) fn desired_digest(object: &impl Resource) -> Digest {
    let metadata = object.meta();
    digest(&(metadata.generation, &metadata.annotations))
}

/// Objects whose last reconcile panicked, by UID.
#[derive(Default)]
pub(in crate::controller) struct Panics(Mutex<HashMap<String, Panicked>>);

struct Panicked {
    /// How often in a row.
    times: u32,
    /// When the object is tried again.
    until: Instant,
    /// What the object asked for.
    asks: Digest,
}

impl Panics {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Panicked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long this object is left alone still. An object that asks for something else is tried at once.
    pub(in crate::controller) fn pause(&self, uid: &str, asks: Digest) -> Option<Duration> {
        let all = self.all();
        let last = all.get(uid).filter(|last| last.asks == asks)?;
        let left = last.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Notes a panic; the pause before the next try.
    fn note(&self, uid: &str, asks: Digest) -> Duration {
        let now = Instant::now();
        let mut all = self.all();
        // Objects that are gone do not come again.
        all.retain(|_, last| now.saturating_duration_since(last.until) < PAUSES.1);
        let times = all
            .get(uid)
            .filter(|last| last.asks == asks)
            .map_or(0, |last| last.times.saturating_add(1));
        let pause = PAUSES.0.saturating_mul(1 << times.min(10)).min(PAUSES.1);
        let until = now.checked_add(pause).unwrap_or(now);
        all.insert(uid.to_owned(), Panicked { times, until, asks });
        pause
    }

    /// A reconcile of this object has come to its end.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        self.all().remove(uid);
    }
}

/// Counts the panic of this object's reconcile, tells of it on the object and in the log, and says when the object is
/// tried again.
pub(in crate::controller) async fn report<K>(
    context: &Context,
    kind: &'static str,
    queue: &QueueLag,
    object: &K,
    asks: Digest,
) -> Action
where
    K: Resource<DynamicType = ()>,
{
    let uid = object.meta().uid.as_deref().unwrap_or_default();
    let pause = context.panics.note(uid, asks);
    context.metrics.panicked(kind);
    let (namespace, name) = (object.namespace(), object.name_any());
    tracing::error!(
        kind,
        namespace,
        object = name,
        pause_seconds = pause.as_secs(),
        "the reconcile of this object panicked; it is tried again after the pause, or when the object changes. Other objects are not affected. Please report it with the line above that says where"
    );
    context.publish(object, &notice(pause)).await;
    queue.requeue(namespace.as_deref(), &name, pause)
}

fn notice(pause: Duration) -> EventDraft {
    EventDraft {
        warning: true,
        reason: Reason::InternalError,
        message: format!(
            "the operator failed on this object by a fault of its own (a panic, whose place is in its log); it tries again in {} s, or when this object changes. Please report it",
            pause.as_secs()
        ),
    }
}

#[cfg(test)]
mod tests;
