//! Panics of reconciles. A panic is a fault of the operator that one object brings to light: it ends that reconcile and
//! no other. The reconcile gives its permits and places back as it unwinds. The object is tried again after a pause that
//! grows, whatever else changes, and at once when the object changes.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt as _};

use crate::api::Reason;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::schedule::digest::{Digest, digest};
use crate::controller::schedule::queue_lag::QueueLag;
use crate::plan::EventDraft;

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
    let pause = context.objects.records.record_panic(uid, asks);
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
