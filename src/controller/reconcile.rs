//! One reconcile of a `ProgrammaticUser`: observe, and then plan and apply in turn until there is nothing to do.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;

use super::apply::Hand;
use super::context::Context;
use super::error::Error;
use super::observe::observe;
use super::told;
use crate::api::ProgrammaticUser;
use crate::plan::{self, Again, Next, Notice, Observed};

/// No decision needs as many steps; a plan that does is a bug that must not hammer the platform.
const MAX_STEPS: usize = 64;

pub(super) async fn reconcile(
    user: Arc<DeserializeGuard<ProgrammaticUser>>,
    context: Arc<Context>,
) -> Result<(Action, bool), Error> {
    let (namespace, name) = (
        user.namespace().ok_or(Error::Malformed("namespace"))?,
        user.name_any(),
    );
    if let Err(invalid) = &user.0 {
        context.metrics.undecodable();
        tracing::warn!(
            namespace,
            name,
            error = invalid.error,
            "ProgrammaticUser cannot be read and is passed over"
        );
        let notice = Notice {
            warning: true,
            reason: "Undecodable".to_owned(),
            message: format!(
                "this object cannot be read and is passed over until it is corrected: {}",
                invalid.error
            ),
        };
        context.publish(&*user, &notice).await;
        return Ok((Action::await_change(), false));
    }
    work(&context, &namespace, &name, &user.uid().unwrap_or_default()).await
}

async fn work(context: &Context, namespace: &str, name: &str, uid: &str) -> Result<(Action, bool), Error> {
    context.synced().await?;
    let Some(mut observed) = observe(context, namespace, name).await? else {
        context.forget(uid);
        return Ok((Action::await_change(), false));
    };
    let result = steps(context, &mut observed).await;
    if observed.learned.finalizer_removed {
        context.forget(uid);
    } else if observed.user.status.as_ref().is_none_or(|s| s.journal.is_empty()) {
        context.give_back_place(uid);
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
    let mut hand = Hand::new(context, &namespace);
    let mut attempt = None;
    for _ in 0..MAX_STEPS {
        let journal = observed.user.status.as_ref().map(|s| &s.journal);
        let pending = journal.and_then(|j| j.pending.as_ref()).map(|p| p.nonce.clone());
        if let Some(nonce) = pending.filter(|p| Some(p) != attempt.as_ref()) {
            told::attempt(&nonce);
            attempt = Some(nonce);
        }
        let rest = match plan::next(observed, Timestamp::now()) {
            Next::Do(step) => {
                hand.take(step, observed).await?;
                observed.platform_now = context.platform_time(observed.organization.as_deref());
                continue;
            }
            Next::Stop(rest) => rest,
        };
        if let Some(status) = rest.status {
            hand.write_status(observed, *status).await?;
        }
        if let Some(notice) = &rest.event {
            context.publish(&*observed.user, notice).await;
        }
        if rest.again != Again::Backoff {
            context.went_well(&uid);
        }
        let after = |pause| context.queues.users.again(Some(&namespace), &name, pause);
        let action = match rest.again {
            Again::Backoff => after(context.backoff(&uid)),
            Again::After(span) => after(span),
            Again::OnChange => Action::await_change(),
        };
        return Ok((action, hand.wrote));
    }
    tracing::error!(namespace, name, "a plan did not come to an end");
    let pause = context.backoff(&uid);
    Ok((
        context.queues.users.again(Some(&namespace), &name, pause),
        hand.wrote,
    ))
}

/// After an error that no status could tell of.
#[expect(clippy::needless_pass_by_value, reason = "the runtime calls it so")]
pub(super) fn on_error(
    user: Arc<DeserializeGuard<ProgrammaticUser>>,
    error: &Error,
    context: Arc<Context>,
) -> Action {
    let pause = error.again(|| context.backoff(&user.uid().unwrap_or_default()));
    let namespace = user.namespace();
    context
        .queues
        .users
        .again(namespace.as_deref(), &user.name_any(), pause)
}
