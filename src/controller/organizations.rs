//! Reconciles an `Organization`: probes the platform and its credential with one list call, and compares the users of the list
//! with the objects.

pub(in crate::controller) mod classes;
mod conditions;
pub(in crate::controller) mod connections;
mod deletion;
mod drift;
mod finalizer;
mod inspection;
mod orphans;
pub(in crate::controller) mod retained;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use crate::api::{Organization, Reason};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::reconcile::instrument::{ReconcileTarget, instrument};
use crate::controller::reconcile::panics;
use crate::plan::Retry;

use deletion::DeletionHold;
use inspection::inspect;

const KIND: &str = "Organization";
/// Longest pause between tries while something is wrong: everything else of the organization waits for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Pause between two questions whether a refused credential is accepted again; a changed Secret is seen at once.
const PROBE: Duration = Duration::from_mins(1);
/// Pause between two checks whether an Organization that is being deleted is still needed.
const RELEASE: Duration = Duration::from_secs(5);
pub(super) async fn reconcile(
    organization: Arc<DeserializeGuard<Organization>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let name = organization.name_any();
    if !context.manages(&name) {
        return Ok(Action::await_change());
    }
    let (uid, asks) = (
        organization.uid().unwrap_or_default(),
        panics::desired_digest(&*organization),
    );
    if let Some(left) = context.objects.records.panic_pause(&uid, asks) {
        return Ok(context.queues.organizations.requeue(None, &name, left));
    }
    let subject = ReconcileTarget {
        kind: KIND,
        namespace: None,
        name: name.clone(),
        organization: name.clone(),
    };
    let work = work(organization.clone(), context.clone());
    let result = Box::pin(instrument(context.clone(), subject, work)).await;
    if matches!(result, Err(Error::Panicked)) {
        let queue = &context.queues.organizations;
        return Ok(panics::report(&context, KIND, queue, &*organization, asks).await);
    }
    end_if_gone(&context, &name, &uid);
    if result.is_ok() {
        context.objects.records.reset_panics(&uid);
    }
    result
}

async fn work(
    organization: Arc<DeserializeGuard<Organization>>,
    context: Arc<Context>,
) -> Result<(Action, bool), Error> {
    let (name, uid) = (organization.name_any(), organization.uid().unwrap_or_default());
    let organization = match &organization.0 {
        Ok(organization) => organization,
        Err(invalid) => {
            tracing::warn!(
                name,
                error = invalid.error,
                "Organization cannot be read and is passed over"
            );
            return Ok((Action::await_change(), false));
        }
    };
    // Without all caches an object that exists looks like one that does not.
    context.synced().await?;
    let (hold, changed) = deletion::hold(&context, organization).await?;
    if hold == DeletionHold::Released {
        return Ok((Action::await_change(), false));
    }
    let wrote = changed.is_some();
    let organization = changed.as_ref().unwrap_or(organization);
    let interval = organization.spec.drift.interval.get().max(Duration::from_secs(1));
    let due = hold == DeletionHold::Alive || is_due(&context, organization, interval).await;
    let found = if due {
        Some(inspect(&context, organization, &name).await?)
    } else {
        None
    };
    let pause = match &found {
        None => RELEASE,
        Some(Ok(_)) => {
            context.objects.records.reset_backoff(&uid);
            interval
        }
        Some(Err(problem)) => match problem.retry {
            Retry::After(span) => span,
            Retry::Backoff | Retry::OnChange if problem.reason == Reason::CredentialInvalid => PROBE,
            Retry::Backoff | Retry::OnChange => context.backoff(&uid).min(LONGEST_PAUSE),
        },
    };
    let pause = if hold == DeletionHold::Alive {
        pause
    } else {
        pause.min(RELEASE)
    };
    let changed = conditions::write(&context, organization, found, hold).await? || wrote;
    Ok((context.queues.organizations.requeue(None, &name, pause), changed))
}

/// Whether the list call is due for an Organization whose deletion is blocked.
async fn is_due(context: &Context, organization: &Organization, interval: Duration) -> bool {
    let states = &context.platforms;
    match (states.state(organization).await, states.get(organization).await) {
        (Ok(state), Ok(connection)) => {
            let pause = if connection.is_refused() { PROBE } else { interval };
            state.is_due(pause)
        }
        _ => true,
    }
}

/// Ends the record of an Organization that the cache no longer has.
fn end_if_gone(context: &Context, name: &str, uid: &str) {
    let cached = context.caches.organizations.get(&ObjectRef::new(name));
    if cached.is_none_or(|cached| cached.uid().as_deref() != Some(uid)) {
        context.objects.remove(uid);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the runtime calls it so")]
pub(super) fn on_error(
    organization: Arc<DeserializeGuard<Organization>>,
    error: &Error,
    context: Arc<Context>,
) -> Action {
    let (name, uid) = (organization.name_any(), organization.uid().unwrap_or_default());
    let pause = error.again(|| context.backoff(&uid).min(LONGEST_PAUSE));
    end_if_gone(&context, &name, &uid);
    context.queues.organizations.requeue(None, &name, pause)
}
