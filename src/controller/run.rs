//! What a leader does: watches, and the controllers on them.

mod users;

use std::sync::Arc;

use futures::future::{BoxFuture, Either, join_all, ready, select};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::Controller;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::{Organization, ProgrammaticUserClass};
use crate::controller::config::Config;
use crate::controller::consumers::{PodLists, WorkloadIndex, watch_workloads};
use crate::controller::context::{Caches, Context, limiter_events, recorder};
use crate::controller::leader::LeaseState;
use crate::controller::organizations;
use crate::controller::organizations::connections::OrganizationStates;
use crate::controller::organizations::retained::record::RetainedUsers;
use crate::controller::schedule::concurrency::ConcurrencyLimiter;
use crate::controller::schedule::object_state::ObjectStates;
use crate::controller::schedule::triggers::{OrganizationTriggers, Queues, Triggers, UserTriggers, fan_out};
use crate::controller::watch::startup_scan;
use crate::controller::watch::streams::{
    Changes, SecretNames, classes, namespaces, organizations, own_secrets,
};
use crate::health::watchdog::Watchdog;
use crate::metrics::Metrics;

use users::UserController;

type Stream<K> = BoxStream<'static, watcher::Result<K>>;

/// Watches and controllers that have not begun.
pub(super) struct Controllers {
    /// One for each watched namespace; usually there is just one for all.
    users: Vec<(UserController, UserTriggers)>,
    organizations: (Stream<DeserializeGuard<Organization>>, OrganizationTriggers),
    class_changes: Stream<DeserializeGuard<ProgrammaticUserClass>>,
    readiness_changes: Stream<DeserializeGuard<Organization>>,
    own_secrets: Stream<PartialObjectMeta<Secret>>,
}

impl Controllers {
    /// Ends when the last reconcile has ended after `shutdown`, or when a watch has ended.
    pub(super) fn start(
        self,
        context: &Arc<Context>,
        shutdown: &CancellationToken,
    ) -> BoxFuture<'static, ()> {
        let started = self
            .users
            .into_iter()
            .map(|(users, triggers)| users.start(triggers, context, shutdown));
        let (mut controllers, scopes): (Vec<_>, Vec<_>) = started.unzip();
        controllers.push(reconcile_organizations(self.organizations, context, shutdown));
        // What changes for whole classes, and for users that have no object.
        let changed = Arc::new(Notify::new());
        let (of_class, of_label) = (changed.clone(), changed.clone());
        let others = futures::future::join5(
            organizations::classes::keep(context.clone(), changed),
            startup_scan::scan(context.clone(), scopes),
            fan_out(
                self.class_changes.inspect_ok(move |_| of_class.notify_one()),
                self.readiness_changes,
                labels(context).inspect_ok(move |_| of_label.notify_one()),
                context.caches.classes.clone(),
                context.triggers.clone(),
            ),
            credentials(self.own_secrets, context.clone()),
            watch_workloads(
                context.metrics.clone(),
                context.client.clone(),
                scopes_of(&context.config),
                context.workload_index.clone(),
                context.triggers.clone(),
            ),
        );
        let others = select(Box::pin(others), Box::pin(shutdown.clone().cancelled_owned()));
        run_with_background(join_all(controllers).map(drop), tokio::spawn(others)).boxed()
    }
}

/// Namespaces that have a watch of their own; `None`: one for all.
fn scopes_of(config: &Config) -> Vec<Option<String>> {
    match config.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    }
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
    let objects = Arc::new(ObjectStates::default());
    let scopes = scopes_of(&config);
    let workload_index = Arc::new(WorkloadIndex::new(config.consumers, &scopes));
    let (classes, class_changes) = classes(&metrics, Api::all(client.clone()));
    let (own_secrets, own_changes) = own_secrets(&metrics, &client, &config.namespace);
    let users: Vec<_> = scopes
        .into_iter()
        .map(|scope| UserController::new(&metrics, &client, scope, &objects, &workload_index))
        .collect();
    let caches: Vec<_> = users.iter().map(|users| users.cache.clone()).collect();
    let (triggers, for_users, for_organizations) = Triggers::new(&caches, objects.clone(), queues.clone());
    let triggers = Arc::new(triggers);
    let platforms = organization_states(&client, &config, &own_secrets, &lease, &triggers, &metrics);
    let on_event = lifetimes(&platforms, &objects);
    let (organizations, organization_changes, readiness_changes) =
        organizations(&metrics, Api::all(client.clone()), on_event);
    let context = Context {
        recorder: recorder(&client),
        client,
        instance,
        config,
        concurrency: Arc::new(ConcurrencyLimiter::new(triggers.clone(), organizations.clone())),
        caches: Caches {
            users: caches,
            classes,
            organizations,
        },
        retained: RetainedUsers::new(own_secrets.clone()),
        own_secrets,
        platforms,
        triggers,
        objects,
        workload_index,
        pods: PodLists::default(),
        metrics,
        watchdog,
        queues,
        lease,
    };
    let controllers = Controllers {
        users: users.into_iter().zip(for_users).collect(),
        organizations: (organization_changes.boxed(), for_organizations),
        class_changes: class_changes.boxed(),
        readiness_changes: readiness_changes.boxed(),
        own_secrets: own_changes.boxed(),
    };
    (Arc::new(context), controllers)
}

/// The controller of all organizations.
fn reconcile_organizations(
    (changes, triggers): (Stream<DeserializeGuard<Organization>>, OrganizationTriggers),
    context: &Arc<Context>,
    shutdown: &CancellationToken,
) -> BoxFuture<'static, ()> {
    let queues = context.queues.clone();
    let changes = changes.inspect_ok(move |o| queues.organizations.enqueued(None, &o.name_any()));
    Controller::for_stream(changes, context.caches.organizations.store())
        .reconcile_on(triggers)
        .graceful_shutdown_on(shutdown.clone().cancelled_owned())
        .run(organizations::reconcile, organizations::on_error, context.clone())
        .for_each(|_| ready(()))
        .boxed()
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

/// Namespaces of all scopes whose labels changed.
fn labels(context: &Context) -> impl Changes<PartialObjectMeta<Namespace>> + use<> {
    let each = scopes_of(&context.config)
        .into_iter()
        .map(|scope| namespaces(&context.metrics, &context.client, scope.as_deref()).boxed());
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
