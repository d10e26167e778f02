//! One reconcile of a `ProgrammaticUser`: observe, and then plan and apply in turn until there is nothing to do.

pub(in crate::controller) mod execute;
pub(in crate::controller) mod instrument;
pub(in crate::controller) mod observe;
pub(in crate::controller) mod panics;
pub(in crate::controller) mod secret;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::reconcile::execute::Executor;
use crate::controller::reconcile::observe::observe;
use crate::controller::schedule::jitter;
use crate::controller::schedule::object_state::{Due, Skip};
use crate::controller::watch::cached_user::CachedUser;
use crate::plan;
use crate::plan::{Decision, Observed, Requeue, SecretView};

/// No decision needs as many steps; a plan that does is a bug that must not hammer the platform.
const MAX_STEPS: usize = 64;

pub(super) async fn reconcile(
    user: Arc<CachedUser>,
    organization: &str,
    context: Arc<Context>,
) -> Result<(Action, bool), Error> {
    let (namespace, name) = (
        user.namespace().ok_or(Error::Malformed("namespace"))?,
        user.name_any(),
    );
    let uid = user.uid().unwrap_or_default();
    let again = |pause| context.queues.users.requeue(Some(&namespace), &name, pause);
    let version = user.resource_version().unwrap_or_default();
    match context.objects.skip(&uid, &version) {
        Skip::No => {}
        Skip::UntilChange => return Ok((Action::await_change(), false)),
        Skip::For(left) => return Ok((again(left), false)),
        // Many may wait for a few places: no request is made for one that gets none.
        Skip::UntilRoom(purpose, latest) => {
            if let Some(left) = context.create_pause(organization, &namespace, purpose) {
                return Ok((again(earlier(jitter::from(left), latest)), false));
            }
        }
    }
    let result = work(&context, &namespace, &name, &uid).await;
    if result.is_err() {
        context.objects.forget(&uid);
    }
    result
}

async fn work(context: &Context, namespace: &str, name: &str, uid: &str) -> Result<(Action, bool), Error> {
    context.synced().await?;
    context.objects.begin(uid);
    let Some(mut observed) = observe(context, namespace, name).await? else {
        context.objects.remove(uid);
        return Ok((Action::await_change(), false));
    };
    if let Some(error) = &observed.unreadable {
        tracing::warn!(
            namespace,
            name,
            error,
            "ProgrammaticUser cannot be read in full: only a deletion, a revocation, an expiry and the class's rules are carried out"
        );
    }
    let result = steps(context, &mut observed).await;
    if observed.answers.finalizer_removed {
        context.objects.remove(uid);
    } else if observed.user.status.as_ref().is_none_or(|s| s.journal.is_empty()) {
        context.objects.records.release_quota(uid);
    }
    result
}

/// Plans and applies in turn until there is nothing to do.
async fn steps(context: &Context, observed: &mut Observed) -> Result<(Action, bool), Error> {
    let (namespace, name) = (
        observed.user.namespace().unwrap_or_default(),
        observed.user.name_any(),
    );
    let uid = observed.user.uid().unwrap_or_default();
    plan::validate_object(observed);
    let mut hand = Executor::new(context, &namespace);
    let mut attempt = None;
    let mut versions = vec![observed.user.resource_version().unwrap_or_default()];
    for _ in 0..MAX_STEPS {
        let journal = observed.user.status.as_ref().map(|s| &s.journal);
        let pending = journal.and_then(|j| j.pending.as_ref()).map(|p| p.nonce.clone());
        if let Some(nonce) = pending.filter(|p| Some(p) != attempt.as_ref()) {
            instrument::record_attempt(&nonce);
            attempt = Some(nonce);
        }
        let rest = match plan::next(observed, Timestamp::now()) {
            Decision::Do(step) => {
                hand.execute(step, observed).await?;
                observed.platform_now = context.platform_time(observed.organization.as_deref());
                versions.extend(observed.user.resource_version());
                continue;
            }
            Decision::Done(rest) => rest,
        };
        hand.give_back_permit();
        if let Some(status) = rest.status {
            hand.write_status(observed, *status).await?;
            versions.extend(observed.user.resource_version());
        }
        if let Some(notice) = &rest.event {
            context.publish(&*observed.user, notice).await;
        }
        return Ok((
            end(context, observed, rest.requeue, versions, hand.wrote),
            hand.wrote,
        ));
    }
    tracing::error!(namespace, name, "a plan did not come to an end");
    let pause = context.backoff(&uid);
    Ok((
        context.queues.users.requeue(Some(&namespace), &name, pause),
        hand.wrote,
    ))
}

/// Notes what the reconcile has left, and when the next is due.
fn end(
    context: &Context,
    observed: &Observed,
    requeue: Requeue,
    mut versions: Vec<String>,
    wrote: bool,
) -> Action {
    let (namespace, name) = (observed.user.namespace(), observed.user.name_any());
    let uid = observed.user.uid().unwrap_or_default();
    let records = &context.objects.records;
    if requeue != Requeue::Backoff {
        records.reset_backoff(&uid);
    }
    if wrote || !matches!(requeue, Requeue::Stalled(_)) {
        records.reset_recheck(&uid);
    }
    let pause = match requeue {
        Requeue::OnChange => None,
        Requeue::Backoff => Some(context.backoff(&uid)),
        Requeue::After(span) => Some(span),
        Requeue::Permit { after, latest, .. } => Some(earlier(jitter::from(after), latest)),
        Requeue::Stalled(latest) => Some(earlier(context.recheck(&uid), latest)),
    };
    if requeue == Requeue::Backoff || observed.answers.finalizer_removed {
        context.objects.forget(&uid);
    } else {
        let room = match requeue {
            Requeue::Permit { purpose, latest, .. } => Some((purpose, latest)),
            _ => None,
        };
        versions.sort_unstable();
        versions.dedup();
        let secrets = [&observed.current_secret, &observed.next_secret];
        let secrets = secrets.into_iter().filter_map(version_of);
        let versions = versions.iter().map(String::as_str);
        context
            .objects
            .end(&uid, versions, secrets, Due { after: pause, room });
    }
    let queue = &context.queues.users;
    pause.map_or_else(Action::await_change, |pause| {
        queue.requeue(namespace.as_deref(), &name, pause)
    })
}

fn earlier(pause: Duration, latest: Option<Duration>) -> Duration {
    latest.map_or(pause, |latest| latest.min(pause))
}

/// Of a Secret of ours.
fn version_of(secret: &SecretView) -> Option<&str> {
    match secret {
        SecretView::Ours(own) => Some(&own.resource_version),
        _ => None,
    }
}

/// After an error that no status could tell of.
#[expect(clippy::needless_pass_by_value, reason = "the runtime calls it so")]
pub(super) fn on_error(user: Arc<CachedUser>, error: &Error, context: Arc<Context>) -> Action {
    let pause = error.again(|| context.backoff(&user.uid().unwrap_or_default()));
    context.end_if_gone(&ObjectRef::from_obj(&*user), user.uid_ref());
    let namespace = user.namespace();
    context
        .queues
        .users
        .requeue(namespace.as_deref(), &user.name_any(), pause)
}
