//! What a leader does: watches, and the controllers on them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, ready};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config as Workers, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::consumers::{self, Readers};
use super::context::{Caches, Context, Parts};
use super::error::Error;
use super::known::Known;
use super::lease::Standing;
use super::rest::AtRest;
use super::streams::{Cache, Changes, cached, own_secrets, readiness, secrets, spec_changes, users, watched};
use super::told::{Subject, told};
use super::triggers::{Queues, Triggers, UserTriggers, fan_out};
use super::{Config, organization, reconcile};
use crate::api::{Organization, ProgrammaticUser, ProgrammaticUserClass};
use crate::health::watchdog::Watchdog;

/// Users of one organization that are worked on at one time. The others wait in the order of coming, so that a
/// platform that does not answer holds up nobody else's users, and many users of one class no others of it for long.
/// Users that have no token yet have as many places of their own: they do not wait until all others are replaced.
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
    watchdog: Arc<Watchdog>,
) -> (Arc<Context>, Work) {
    let queues = Arc::new(Queues::default());
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
    let rest = Arc::new(AtRest::default());
    let watched = scopes
        .iter()
        .map(|scope| users(scoped(&client, scope.as_deref()), rest.clone()));
    let (users, user_changes): (Vec<_>, Vec<_>) = watched.unzip();
    let (triggers, for_users, for_organizations) = Triggers::new(&users, rest.clone(), queues.clone());
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
        rest: rest.clone(),
        readers: readers.clone(),
        standing,
        watchdog,
        queues: queues.clone(),
    }));

    let begin = move |context: &Arc<Context>, shutdown: &CancellationToken| {
        let mut controllers = Vec::new();
        // One controller a watched namespace; usually there is just one.
        for (((scope, cache), changes), triggers) in
            scopes.iter().zip(&users).zip(user_changes).zip(for_users)
        {
            let (asked, owners) = (queues.clone(), (queues.clone(), cache.clone()));
            let controller = users_of(
                cache.store(),
                changes.inspect_ok(move |user| {
                    asked.users.asked(user.namespace().as_deref(), &user.name_any());
                }),
                secrets(&client, scope.as_deref(), rest.clone())
                    .inspect_ok(move |secret| ask_owner(secret, &owners.0, &owners.1)),
                triggers,
            );
            let stop = shutdown.clone();
            let controller = controller
                .graceful_shutdown_on(shutdown.clone().cancelled_owned())
                .run(
                    move |user, context| in_lane(stop.clone(), user, context),
                    reconcile::on_error,
                    context.clone(),
                )
                .for_each(|_| ready(()));
            controllers.push(controller.boxed());
        }
        let asked = queues.clone();
        let organization_changes =
            organization_changes.inspect_ok(move |o| asked.organizations.asked(None, &o.name_any()));
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
    store: kube::runtime::reflector::Store<Known>,
    changes: impl Changes<Known>,
    secrets: impl Changes<PartialObjectMeta<Secret>>,
    triggers: UserTriggers,
) -> Controller<Known> {
    Controller::for_stream(changes, store)
        .owns_stream(secrets)
        .reconcile_on(triggers)
        .with_config(Workers::default())
}

fn scoped(client: &Client, namespace: Option<&str>) -> Api<Known> {
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

/// A Secret that changed has its owner looked at.
fn ask_owner(secret: &PartialObjectMeta<Secret>, queues: &Queues, users: &Cache<Known>) {
    let kind = ProgrammaticUser::kind(&());
    let owners = secret.owner_references().iter().filter(|o| o.kind == kind);
    for owner in owners {
        let namespace = secret.namespace().unwrap_or_default();
        // One that is gone will not be looked at.
        if users
            .get(&ObjectRef::new(&owner.name).within(&namespace))
            .is_some()
        {
            queues.users.asked(Some(&namespace), &owner.name);
        }
    }
}

/// Places by organization.
#[derive(Default)]
pub(super) struct Lanes {
    places: Mutex<HashMap<Lane, Arc<Semaphore>>>,
    waiting: AtomicUsize,
}

/// An organization, and whether a user has a token there.
type Lane = (String, bool);

impl Lanes {
    /// Waits for a place.
    async fn enter(&self, lane: Lane) -> Option<OwnedSemaphorePermit> {
        let lane = {
            let mut lanes = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            let lane = lanes.entry(lane);
            lane.or_insert_with(|| Arc::new(Semaphore::new(LANE))).clone()
        };
        let _one = Waiting::new(&self.waiting);
        // It is never closed.
        lane.acquire_owned().await.ok()
    }

    /// How many wait, of all organizations.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// One that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A reconcile, when it is its turn.
async fn in_lane(stop: CancellationToken, user: Arc<Known>, context: Arc<Context>) -> Result<Action, Error> {
    // What waits takes little room: the reconcile itself is made only when it begins.
    let lane = lane_of(&user, &context);
    let organization = lane.0.clone();
    let _place = tokio::select! {
        place = context.lanes.enter(lane) => place,
        () = stop.cancelled() => return Ok(Action::await_change()),
    };
    let subject = Subject {
        kind: "ProgrammaticUser",
        namespace: user.namespace(),
        name: user.name_any(),
        organization,
    };
    let work = reconcile::reconcile(user, context.clone());
    Box::pin(told(context, subject, work)).await
}

/// The organization that a user is, or would be, in; a guess from the caches is good enough to choose a lane.
fn lane_of(user: &Known, context: &Context) -> Lane {
    let begun = user.view.organization.as_deref().filter(|_| user.has_begun());
    let class = || {
        user.class
            .as_deref()
            .ok()
            .and_then(|name| context.class(name).ok().flatten())
    };
    let organization = begun
        .map(str::to_owned)
        .or_else(|| class().map(|c| c.spec.organization_name.clone()));
    let has_token = user.view.journal.as_ref().is_some_and(|j| j.current.is_some());
    (organization.unwrap_or_default(), has_token)
}
