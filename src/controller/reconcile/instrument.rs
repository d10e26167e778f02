//! Instrumentation of a reconcile: span, metrics, closing log line.

use std::sync::Arc;
use std::time::Instant;

use kube::runtime::controller::Action;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::controller::context::{Context, fresh_nonce};
use crate::controller::error::Error;
use crate::controller::reconcile::panics::catch_panic;
use crate::controller::schedule::queue_lag::QueueLag;

/// What a reconcile is about.
pub(in crate::controller) struct ReconcileTarget {
    pub(in crate::controller) kind: &'static str,
    pub(in crate::controller) namespace: Option<String>,
    pub(in crate::controller) name: String,
    /// Of the user, or the object itself; may be empty.
    pub(in crate::controller) organization: String,
}

impl Context {
    fn queue(&self, kind: &str) -> &QueueLag {
        if kind == "Organization" {
            &self.queues.organizations
        } else {
            &self.queues.users
        }
    }
}

/// Runs a reconcile; `work` returns the next requeue, and whether it changed anything. A panic of it is an error.
pub(in crate::controller) async fn instrument(
    context: Arc<Context>,
    subject: ReconcileTarget,
    work: impl Future<Output = Result<(Action, bool), Error>> + Send,
) -> Result<Action, Error> {
    let ReconcileTarget {
        kind,
        namespace,
        name,
        organization,
    } = subject;
    // Enabled at every level: otherwise the lines of one that asks for errors only would not say what they are about.
    let span = tracing::error_span!(
        "reconcile",
        kind,
        namespace,
        // In JSON `name` is that of the span.
        object = name,
        organization,
        id = fresh_nonce(),
        attempt = Empty,
        outcome = Empty,
        reason = Empty,
        seconds = Empty,
    );
    let lag = context.queue(kind).begin(namespace.as_deref(), &name);
    context.metrics.waited(kind, lag);
    let begun = Instant::now();
    let subject = match &namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    };
    // Within the span, so that the line that says where it panicked names the object.
    let work = context.watchdog.watch(kind, subject, catch_panic(work));
    let result = work.instrument(span.clone()).await;
    let took = begun.elapsed();
    let (outcome, reason) = match &result {
        Ok((_, true)) => ("changed", ""),
        Ok((_, false)) => ("unchanged", ""),
        Err(error) => ("error", error.reason()),
    };
    context.metrics.reconciled(kind, outcome, reason, took);
    span.record("outcome", outcome);
    span.record("seconds", took.as_secs_f64());
    if !reason.is_empty() {
        span.record("reason", reason);
    }
    span.in_scope(|| match &result {
        Ok((_, true)) => tracing::info!("reconciled"),
        // At rest there is nothing to say.
        Ok((_, false)) => tracing::debug!("reconciled"),
        Err(error) => tracing::warn!(%error, "reconcile failed; it is tried again"),
    });
    result.map(|(action, _)| action)
}

/// Names the attempt to make a user that the reconcile is about from now on.
pub(in crate::controller) fn record_attempt(nonce: &str) {
    Span::current().record("attempt", nonce);
}
