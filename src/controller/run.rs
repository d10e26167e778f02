//! What a leader does: watches, and the controllers on them.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::{BoxFuture, Either, join_all, ready, select};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::{Organization, ProgrammaticUser, ProgrammaticUserClass};
use crate::controller::consumers::WorkloadIndex;
use crate::controller::context::{Caches, Context, Parts, limiter_events};
use crate::controller::error::Error;
use crate::controller::leader::LeaseState;
use crate::controller::organizations::classes;
use crate::controller::organizations::connections::OrganizationStates;
use crate::controller::reconcile::instrument::{ReconcileTarget, instrument};
use crate::controller::reconcile::panics;
use crate::controller::schedule::concurrency;
use crate::controller::schedule::digest::{Digest, digest};
use crate::controller::schedule::object_state::ObjectStates;
use crate::controller::schedule::triggers::{
    OrganizationTriggers, Queues, Triggers, UserRef, UserTriggers, fan_out,
};
use crate::controller::watch::cached_user::CachedUser;
use crate::controller::watch::startup_scan;
use crate::controller::watch::streams::{
    Cache, Changes, SecretNames, cached, namespaces, organizations, own_secrets, scoped, secrets,
    spec_changes, users,
};
use crate::controller::{Config, consumers, organizations, reconcile};
use crate::health::watchdog::Watchdog;
use crate::metrics::Metrics;

const KIND: &str = "ProgrammaticUser";

type Begin = dyn FnOnce(&Arc<Context>, &CancellationToken) -> BoxFuture<'static, ()> + Send;

/// Work that has not begun.
pub(super) struct Controllers {
    begin: Box<Begin>,
}

impl Controllers {
    /// Ends when the last reconcile has ended after `shutdown`, or when a watch has ended.
    pub(super) fn start(
        self,
        context: &Arc<Context>,
        shutdown: &CancellationToken,
    ) -> BoxFuture<'static, ()> {
        (self.begin)(context, shutdown)
    }
}

/// Namespaces that have a watch of their own; `None`: one for all.
fn scopes_of(config: &Config) -> Vec<Option<String>> {
    match config.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    }
}

/// The watch of the users of a scope. What is kept of an object ends with it.
fn watch_users(
    metrics: &Arc<Metrics>,
    client: &Client,
    scope: Option<&str>,
    objects: &Arc<ObjectStates>,
    index: &Arc<WorkloadIndex>,
) -> (Cache<CachedUser>, impl Changes<CachedUser> + use<>) {
    let index = index.clone();
    let on_end = move |user: &CachedUser| {
        index.remove(&user.namespace().unwrap_or_default(), &user.name_any());
    };
    users(metrics, scoped(client, scope), objects.clone(), on_end)
}

fn organization_states(
    client: &Client,
    config: &Config,
    own_secrets: &SecretNames,
    lease: &Arc<LeaseState>,
    triggers: &Arc<Triggers>,
    metrics: &Arc<Metrics>,
) -> Arc<OrganizationStates> {
    Arc::new(OrganizationStates::new(
        client.clone(),
        &config.namespace,
        own_secrets.clone(),
        (config.create_timeout, config.creates_hour),
        limiter_events(lease.clone(), triggers.clone(), metrics.clone()),
    ))
}

/// Ends what is kept of an Organization when the watch shows that it is gone.
fn lifetimes(
    states: &Arc<OrganizationStates>,
    objects: &Arc<ObjectStates>,
) -> impl Fn(&watcher::Event<DeserializeGuard<Organization>>) + Send + use<> {
    let (states, objects) = (states.clone(), objects.clone());
    move |event| {
        for uid in states.observe(event) {
            objects.remove(&uid);
        }
    }
}

/// Prepares watches and controllers. Nothing is asked of the API server before the work is started.
pub(super) fn build(
    client: Client,
    config: Config,
    instance: String,
    lease: Arc<LeaseState>,
    watchdog: Arc<Watchdog>,
) -> (Arc<Context>, Controllers) {
    let (queues, metrics) = (Arc::new(Queues::default()), Arc::new(Metrics::default()));
    let (class_cache, class_changes) = cached::<ProgrammaticUserClass>(
        "ProgrammaticUserClass",
        &metrics,
        Api::all(client.clone()),
        spec_changes(),
        true,
        |_| (),
    );
    let (own, own_changes) = own_secrets(&metrics, &client, &config.namespace);
    // What changes for whole classes, and for users that have no object.
    let changed = Arc::new(Notify::new());
    let scopes = scopes_of(&config);
    let objects = Arc::new(ObjectStates::default());
    let workload_index = Arc::new(WorkloadIndex::new(config.consumers, &scopes));
    let watched = scopes
        .iter()
        .map(|scope| watch_users(&metrics, &client, scope.as_deref(), &objects, &workload_index));
    let (users, user_changes): (Vec<_>, Vec<_>) = watched.unzip();
    let (triggers, for_users, for_organizations) = Triggers::new(&users, objects.clone(), queues.clone());
    let triggers = Arc::new(triggers);
    let states = organization_states(&client, &config, &own, &lease, &triggers, &metrics);
    let (organizations, organization_changes, readiness_changes) =
        organizations(&metrics, Api::all(client.clone()), lifetimes(&states, &objects));
    let context = Arc::new(Context::new(Parts {
        client: client.clone(),
        instance,
        config,
        caches: Caches {
            users: users.clone(),
            classes: class_cache.clone(),
            organizations: organizations.clone(),
        },
        own_secrets: own,
        platforms: states,
        triggers: triggers.clone(),
        objects,
        workload_index: workload_index.clone(),
        lease,
        watchdog,
        queues: queues.clone(),
        metrics: metrics.clone(),
    }));

    let begin = move |context: &Arc<Context>, shutdown: &CancellationToken| {
        let mut controllers = Vec::new();
        let mut scan_scopes = Vec::new();
        // One controller a watched namespace; usually there is just one.
        for (((scope, cache), changes), triggers) in
            scopes.iter().zip(&users).zip(user_changes).zip(for_users)
        {
            let lag = queues.clone();
            // Without its organization a user has no slot key.
            let (classes, organizations) = (class_cache.clone(), organizations.clone());
            let filled = async move { classes.filled().await && organizations.filled().await };
            let (watch_state, watched) = watch::channel(false);
            scan_scopes.push(startup_scan::Scope {
                namespace: scope.clone(),
                users: cache.clone(),
                watched,
            });
            let controller = users_of(
                cache.store(),
                after(filled, changes).inspect_ok(move |user| {
                    lag.users.enqueued(user.namespace().as_deref(), &user.name_any());
                }),
                secrets_of(&client, scope.as_deref(), cache, context, watch_state),
                triggers,
            );
            controllers.push(run(controller, context, shutdown));
        }
        let controller = organizations_of(
            organizations.store(),
            organization_changes,
            for_organizations,
            queues,
        )
        .graceful_shutdown_on(shutdown.clone().cancelled_owned())
        .run(organizations::reconcile, organizations::on_error, context.clone())
        .for_each(|_| ready(()));
        controllers.push(controller.boxed());
        let (of_class, of_label) = (changed.clone(), changed.clone());
        let others = futures::future::join5(
            classes::keep(context.clone(), changed),
            startup_scan::scan(context.clone(), scan_scopes),
            fan_out(
                class_changes.inspect_ok(move |_| of_class.notify_one()),
                readiness_changes,
                labels(&metrics, &client, &scopes).inspect_ok(move |_| of_label.notify_one()),
                class_cache,
                triggers.clone(),
            ),
            credentials(own_changes, context.clone()),
            consumers::watch_workloads(metrics, client, scopes, workload_index, triggers.clone()),
        );
        let others = select(Box::pin(others), Box::pin(shutdown.clone().cancelled_owned()));
        run_with_background(join_all(controllers).map(drop), tokio::spawn(others)).boxed()
    };
    (
        context,
        Controllers {
            begin: Box::new(begin),
        },
    )
}

/// Waits for the controllers, and lets the rest end with them. A panic of a reconcile ends that reconcile only; a panic of
/// the rest ends the process: without the rest, no reconcile would learn of changed classes or credentials.
async fn run_with_background<T>(controllers: impl Future<Output = ()> + Send, rest: JoinHandle<T>) {
    let (controllers, rest) = (std::pin::pin!(controllers), std::pin::pin!(rest));
    match select(controllers, rest).await {
        Either::Left(((), rest)) => rest.abort(),
        Either::Right((Err(error), _)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Either::Right((_, controllers)) => controllers.await,
    }
}

/// The controller of the users of one scope. It begins a reconcile at once; [`reconcile_in_slot`] bounds them.
fn users_of(
    store: Store<CachedUser>,
    changes: impl Changes<CachedUser>,
    secrets: impl Changes<PartialObjectMeta<Secret>>,
    triggers: UserTriggers,
) -> Controller<CachedUser> {
    Controller::for_stream(changes, store)
        .owns_stream(secrets)
        .reconcile_on(triggers)
}

/// The Secrets of the users of a scope, as soon as these are known: before that, what is shown of a Secret would be lost on
/// a user whom lists are to show.
fn secrets_of(
    client: &Client,
    scope: Option<&str>,
    users: &Cache<CachedUser>,
    context: &Arc<Context>,
    watched: watch::Sender<bool>,
) -> impl Changes<PartialObjectMeta<Secret>> + use<> {
    let (known, cache) = (users.clone(), users.clone());
    let (triggers, queues) = (context.triggers.clone(), context.queues.clone());
    let lost = move |owners: &HashSet<Digest>| {
        triggers.users(|user| owners.contains(&digest(user.uid_ref())));
    };
    let changes = secrets(
        &context.metrics,
        client,
        scope,
        context.objects.clone(),
        lost,
        watched,
    );
    after(async move { known.filled().await }, changes)
        .inspect_ok(move |secret| trigger_owner(secret, &queues, &cache))
}

/// Reconciles users until `shutdown`, and until the running reconciles have ended.
fn run(
    users: Controller<CachedUser>,
    context: &Arc<Context>,
    shutdown: &CancellationToken,
) -> BoxFuture<'static, ()> {
    let shared = context.clone();
    users
        .graceful_shutdown_on(shutdown.clone().cancelled_owned())
        .run(reconcile_in_slot, reconcile::on_error, context.clone())
        .for_each(move |result| {
            if matches!(result, Err(controller::Error::ObjectNotFound(_))) {
                shared.concurrency.reap(&shared.triggers);
            }
            ready(())
        })
        .boxed()
}

/// The changes, once `filled` has come to its end.
fn after<K>(filled: impl Future + Send + 'static, changes: impl Changes<K>) -> impl Changes<K> {
    async move {
        filled.await;
        changes
    }
    .flatten_stream()
}

/// The controller of all organizations.
fn organizations_of(
    store: Store<DeserializeGuard<Organization>>,
    changes: impl Changes<DeserializeGuard<Organization>>,
    triggers: OrganizationTriggers,
    queues: Arc<Queues>,
) -> Controller<DeserializeGuard<Organization>> {
    let changes = changes.inspect_ok(move |o| queues.organizations.enqueued(None, &o.name_any()));
    Controller::for_stream(changes, store).reconcile_on(triggers)
}

/// Namespaces of all scopes whose labels changed.
fn labels(
    metrics: &Arc<Metrics>,
    client: &Client,
    scopes: &[Option<String>],
) -> impl Changes<PartialObjectMeta<Namespace>> + use<> {
    let each = scopes
        .iter()
        .map(|scope| namespaces(metrics, client, scope.as_deref()).boxed());
    futures::stream::select_all(each)
}

/// Enqueues Organizations whose credential changed.
async fn credentials(changes: impl Changes<PartialObjectMeta<Secret>>, context: Arc<Context>) {
    let mut changes = std::pin::pin!(changes);
    while let Some(item) = changes.next().await {
        let Ok(secret) = item else { continue };
        let name = secret.name_any();
        for organization in context.caches.organizations.state() {
            let theirs = |o: &Organization| o.spec.credentials.secret_name == name;
            if organization.0.as_ref().is_ok_and(theirs) {
                context.triggers.organization(&organization.name_any());
            }
        }
    }
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
    let Some(_place) = concurrency::enter(&context, &user, &organization) else {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "of the rest")]
    async fn a_panic_of_the_rest_is_one_of_all() {
        run_with_background(
            futures::future::pending(),
            tokio::spawn(async { panic!("of the rest") }),
        )
        .await;
    }

    #[tokio::test]
    async fn the_controllers_are_waited_for_and_the_rest_is_not() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let rest = tokio::spawn(async move { drop(sender) });
        let controllers = async {
            // The rest has ended before.
            receiver.await.unwrap_err();
            drop(end);
        };
        run_with_background(controllers, rest).await;
        ended.await.unwrap_err();
        run_with_background(ready(()), tokio::spawn(futures::future::pending::<()>())).await;
    }
}
