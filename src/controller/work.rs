//! What a leader does: watches, and the controllers on them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, ready};
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Action, Config as Workers, Controller};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::consumers::{self, Readers};
use super::context::{Caches, Context, Parts};
use super::error::Error;
use super::lease::Standing;
use super::streams::{Changes, cached, own_secrets, readiness, secrets, spec_changes, watched};
use super::triggers::{Triggers, UserTriggers, fan_out};
use super::{Config, organization, reconcile};
use crate::api::{Organization, ProgrammaticUser, ProgrammaticUserClass};

/// Users of one organization that are worked on at one time. The others wait in the order of coming, so that a
/// platform that does not answer holds up nobody else's users, and many users of one class no others of it for long.
const LANE: usize = 16;

type Begin = dyn FnOnce(&Arc<Context>, &CancellationToken) -> BoxFuture<'static, ()> + Send;

/// Work that has not begun.
pub(super) struct Work {
    begin: Box<Begin>,
}

impl Work {
    /// Ends when the last reconcile has ended after `shutdown`, or when a watch has ended.
    pub(super) fn start(
        self,
        context: &Arc<Context>,
        shutdown: &CancellationToken,
    ) -> BoxFuture<'static, ()> {
        (self.begin)(context, shutdown)
    }
}

/// Prepares watches and controllers. Nothing is asked of the API server before the work is started.
pub(super) fn prepare(
    client: Client,
    config: Config,
    instance: String,
    standing: Arc<Standing>,
) -> (Arc<Context>, Work) {
    let (classes, class_changes) =
        cached::<ProgrammaticUserClass>("ProgrammaticUserClass", Api::all(client.clone()), spec_changes());
    let (organizations, organization_changes) =
        cached::<Organization>("Organization", Api::all(client.clone()), spec_changes());
    let readiness_changes = watched::<Organization>("Organization", Api::all(client.clone()), readiness);
    let (own, own_changes) = own_secrets(&client, &config.namespace);
    let scopes: Vec<Option<String>> = match config.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let watched = scopes.iter().map(|scope| {
        cached::<ProgrammaticUser>(
            "ProgrammaticUser",
            scoped(&client, scope.as_deref()),
            spec_changes(),
        )
    });
    let (users, user_changes): (Vec<_>, Vec<_>) = watched.unzip();
    let (triggers, for_users, for_organizations) = Triggers::new(&users);
    let triggers = Arc::new(triggers);
    let readers = Arc::new(Readers::new(config.consumers, scopes.len()));
    let context = Arc::new(Context::new(Parts {
        client: client.clone(),
        instance,
        config,
        caches: Caches {
            users: users.clone(),
            classes: classes.clone(),
            organizations: organizations.clone(),
        },
        own_secrets: own,
        triggers: triggers.clone(),
        readers: readers.clone(),
        standing,
    }));

    let begin = move |context: &Arc<Context>, shutdown: &CancellationToken| {
        let mut controllers = Vec::new();
        let lanes = Arc::new(Lanes::default());
        // One controller a watched namespace; usually there is just one.
        for (((scope, cache), changes), triggers) in
            scopes.iter().zip(&users).zip(user_changes).zip(for_users)
        {
            let controller = users_of(
                cache.store(),
                changes,
                secrets(&client, scope.as_deref()),
                triggers,
            );
            let (lanes, stop) = (lanes.clone(), shutdown.clone());
            let controller = controller
                .graceful_shutdown_on(shutdown.clone().cancelled_owned())
                .run(
                    move |user, context| in_lane(lanes.clone(), stop.clone(), user, context),
                    reconcile::on_error,
                    context.clone(),
                )
                .for_each(|_| ready(()));
            controllers.push(controller.boxed());
        }
        let controller = Controller::for_stream(organization_changes, organizations.store())
            .reconcile_on(for_organizations)
            .graceful_shutdown_on(shutdown.clone().cancelled_owned())
            .run(organization::reconcile, organization::on_error, context.clone())
            .for_each(|_| ready(()));
        controllers.push(controller.boxed());
        let stop = shutdown.clone().cancelled_owned();
        let others = futures::future::join3(
            fan_out(class_changes, readiness_changes, classes, triggers.clone()),
            credentials(own_changes, context.clone()),
            consumers::follow(client, scopes, readers, triggers.clone()),
        );
        let others = tokio::spawn(async move {
            tokio::select! {
                _ = others => {}
                () = stop => {}
            }
        });
        async move {
            futures::future::join_all(controllers).await;
            others.abort();
        }
        .boxed()
    };
    (
        context,
        Work {
            begin: Box::new(begin),
        },
    )
}

/// The controller of the users of one scope. It begins all reconciles at once; [`in_lane`] bounds them.
fn users_of(
    store: kube::runtime::reflector::Store<DeserializeGuard<ProgrammaticUser>>,
    changes: impl Changes<DeserializeGuard<ProgrammaticUser>>,
    secrets: impl Changes<PartialObjectMeta<Secret>>,
    triggers: UserTriggers,
) -> Controller<DeserializeGuard<ProgrammaticUser>> {
    Controller::for_stream(changes, store)
        .owns_stream(secrets)
        .reconcile_on(triggers)
        .with_config(Workers::default())
}

fn scoped(client: &Client, namespace: Option<&str>) -> Api<DeserializeGuard<ProgrammaticUser>> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Organizations look again at once when their credential changed.
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

/// Places by organization.
#[derive(Default)]
struct Lanes(Mutex<HashMap<String, Arc<Semaphore>>>);

impl Lanes {
    /// Waits for a place among the users of `organization`.
    async fn enter(&self, organization: String) -> Option<OwnedSemaphorePermit> {
        let lane = {
            let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let lane = lanes.entry(organization);
            lane.or_insert_with(|| Arc::new(Semaphore::new(LANE))).clone()
        };
        // It is never closed.
        lane.acquire_owned().await.ok()
    }
}

/// A reconcile, when it is its turn.
async fn in_lane(
    lanes: Arc<Lanes>,
    stop: CancellationToken,
    user: Arc<DeserializeGuard<ProgrammaticUser>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    // What waits takes little room: the reconcile itself is made only when it begins.
    let _place = tokio::select! {
        place = lanes.enter(organization_of(&user, &context)) => place,
        () = stop.cancelled() => return Ok(Action::await_change()),
    };
    Box::pin(reconcile::reconcile(user, context)).await
}

/// The organization that a user is, or would be, in; a guess from the caches is good enough to choose a lane.
fn organization_of(user: &DeserializeGuard<ProgrammaticUser>, context: &Context) -> String {
    let Ok(user) = &user.0 else { return String::new() };
    let status = user.status.as_ref();
    let begun = status.and_then(|s| s.organization_name.clone().filter(|_| !s.journal.is_empty()));
    let class = || context.class(&user.spec.class_name).ok().flatten();
    begun
        .or_else(|| class().map(|c| c.spec.organization_name.clone()))
        .unwrap_or_default()
}
