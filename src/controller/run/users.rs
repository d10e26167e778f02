//! The controller of the users of one scope.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::{BoxFuture, ready};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::ProgrammaticUser;
use crate::controller::consumers::WorkloadIndex;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::reconcile;
use crate::controller::reconcile::instrument::{ReconcileTarget, instrument};
use crate::controller::reconcile::panics;
use crate::controller::schedule::digest::{Digest, digest};
use crate::controller::schedule::object_state::ObjectStates;
use crate::controller::schedule::triggers::{Queues, UserRef, UserTriggers};
use crate::controller::watch::cached_user::CachedUser;
use crate::controller::watch::startup_scan;
use crate::controller::watch::streams::{Cache, Changes, scoped, secrets, users};
use crate::metrics::Metrics;

const KIND: &str = "ProgrammaticUser";

/// A controller that has not begun.
pub(in crate::controller) struct UserController {
    /// The namespace that it watches; `None`: all.
    scope: Option<String>,
    pub(in crate::controller) cache: Cache<CachedUser>,
    changes: BoxStream<'static, watcher::Result<CachedUser>>,
}

impl UserController {
    /// What is kept of an object ends with it.
    pub(in crate::controller) fn new(
        metrics: &Arc<Metrics>,
        client: &Client,
        scope: Option<String>,
        objects: &Arc<ObjectStates>,
        index: &Arc<WorkloadIndex>,
    ) -> Self {
        let index = index.clone();
        let on_end = move |user: &CachedUser| {
            index.remove(&user.namespace().unwrap_or_default(), &user.name_any());
        };
        let api = scoped(client, scope.as_deref());
        let (cache, changes) = users(metrics, api, objects.clone(), on_end);
        Self {
            scope,
            cache,
            changes: changes.boxed(),
        }
    }

    /// Reconciles users until `shutdown`, and until the running reconciles have ended; and what the startup scan has to
    /// look through. The controller begins a reconcile at once; [`reconcile_in_slot`] bounds them.
    pub(in crate::controller) fn start(
        self,
        triggers: UserTriggers,
        context: &Arc<Context>,
        shutdown: &CancellationToken,
    ) -> (BoxFuture<'static, ()>, startup_scan::Scope) {
        let (listed, watched) = watch::channel(false);
        let secrets = secrets_of(self.scope.as_deref(), &self.cache, context, listed);
        let caches = &context.caches;
        let (classes, organizations) = (caches.classes.clone(), caches.organizations.clone());
        // Without its organization a user has no slot key.
        let filled = async move { classes.filled().await && organizations.filled().await };
        let queues = context.queues.clone();
        let changes = after(filled, self.changes).inspect_ok(move |user| {
            queues
                .users
                .enqueued(user.namespace().as_deref(), &user.name_any());
        });
        let shared = context.clone();
        let controller = Controller::for_stream(changes, self.cache.store())
            .owns_stream(secrets)
            .reconcile_on(triggers)
            .graceful_shutdown_on(shutdown.clone().cancelled_owned())
            .run(reconcile_in_slot, reconcile::on_error, context.clone())
            .for_each(move |result| {
                if matches!(result, Err(controller::Error::ObjectNotFound(_))) {
                    shared.concurrency.reap();
                }
                ready(())
            });
        let scope = startup_scan::Scope {
            namespace: self.scope,
            users: self.cache,
            watched,
        };
        (controller.boxed(), scope)
    }
}

/// The Secrets of the users of a scope, as soon as these are known: before that, what is shown of a Secret would be lost on
/// a user whom lists are to show.
fn secrets_of(
    scope: Option<&str>,
    users: &Cache<CachedUser>,
    context: &Arc<Context>,
    listed: watch::Sender<bool>,
) -> impl Changes<PartialObjectMeta<Secret>> + use<> {
    let (known, cache) = (users.clone(), users.clone());
    let (triggers, queues) = (context.triggers.clone(), context.queues.clone());
    let lost = move |owners: &HashSet<Digest>| {
        triggers.users(|user| owners.contains(&digest(user.uid_ref())));
    };
    let changes = secrets(
        &context.metrics,
        &context.client,
        scope,
        context.objects.clone(),
        lost,
        listed,
    );
    after(async move { known.filled().await }, changes)
        .inspect_ok(move |secret| trigger_owner(secret, &queues, &cache))
}

/// The changes, once `filled` has come to its end.
fn after<K>(filled: impl Future + Send + 'static, changes: impl Changes<K>) -> impl Changes<K> {
    async move {
        filled.await;
        changes
    }
    .flatten_stream()
}

/// Records that the owner of a Secret that changed is enqueued.
fn trigger_owner(secret: &PartialObjectMeta<Secret>, queues: &Queues, users: &Cache<CachedUser>) {
    let kind = ProgrammaticUser::kind(&());
    let owners = secret.owner_references().iter().filter(|o| o.kind == kind);
    for owner in owners {
        let namespace = secret.namespace().unwrap_or_default();
        // A deleted owner is not reconciled.
        if users
            .get(&ObjectRef::new(&owner.name).within(&namespace))
            .is_some()
        {
            queues.users.enqueued(Some(&namespace), &owner.name);
        }
    }
}

/// A reconcile, if it is its turn; if not, it is called when it is.
async fn reconcile_in_slot(user: Arc<CachedUser>, context: Arc<Context>) -> Result<Action, Error> {
    if context.objects.awaits_scan(user.uid_ref()) {
        if user.up_to_date {
            // The startup scan enqueues it if needed.
            return Ok(Action::await_change());
        }
        // It has changed since, and does not wait for the scan.
        context.objects.release(user.uid_ref());
    }
    let organization = organization_of(&user, &context);
    let Some(_slot) = context.concurrency.enter(&user, &organization) else {
        return Ok(Action::await_change());
    };
    if let Some(left) = context
        .objects
        .records
        .panic_pause(user.uid_ref(), user.desired_digest)
    {
        let (namespace, name) = (user.namespace(), user.name_any());
        return Ok(context.queues.users.requeue(namespace.as_deref(), &name, left));
    }
    let subject = ReconcileTarget {
        kind: KIND,
        namespace: user.namespace(),
        name: user.name_any(),
        organization: organization.clone(),
    };
    let work = reconcile::reconcile(user.clone(), &organization, context.clone());
    let result = Box::pin(instrument(context.clone(), subject, work)).await;
    context.end_if_gone(&user_ref(&user), user.uid_ref());
    if matches!(result, Err(Error::Panicked)) {
        // What it knew of itself when it began may be half of the truth.
        context.objects.forget(user.uid_ref());
        let queue = &context.queues.users;
        return Ok(panics::report(&context, KIND, queue, &*user, user.desired_digest).await);
    }
    if result.is_ok() {
        context.objects.records.reset_panics(user.uid_ref());
    }
    result
}

fn user_ref(user: &CachedUser) -> UserRef {
    ObjectRef::from_obj(user)
}

/// The organization that a user is, or would be, in; a guess from the caches is good enough to choose a slot key.
fn organization_of(user: &CachedUser, context: &Context) -> String {
    let begun = user.index.organization.as_deref().filter(|_| user.has_begun());
    let class = || context.class(&user.class).ok().flatten();
    begun
        .map(str::to_owned)
        .or_else(|| class().map(|c| c.spec.organization_name.clone()))
        .unwrap_or_default()
}
