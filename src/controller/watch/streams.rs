//! Watches.
//!
//! The controller runtime lets all triggers share one backoff, so that one failing watch would hold up the
//! others. Therefore each stream here has a backoff of its own, and hands on objects only: errors are logged and
//! dropped. `managedFields` and the last applied configuration, three quarters of an object's memory, are cut
//! before an object is cached.

mod changes;
mod ended;

use std::collections::HashSet;
use std::fmt::Debug;
use std::future::ready;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{Predicate, PredicateConfig, WatchStreamExt as _, predicates, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::api::{MANAGED_BY_LABEL, MANAGER, Organization, ProgrammaticUserClass, READY};
use crate::controller::reconcile::secret::owner;
use crate::controller::schedule::digest::Digest;
use crate::controller::schedule::object_state::ObjectStates;
use crate::controller::watch::cached_user::CachedUser;
use crate::metrics::Metrics;

use changes::{Owners, Seen, changes};
use ended::Ended;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Objects that changed in a way that counts.
pub(in crate::controller) trait Changes<K>:
    Stream<Item = Result<K, watcher::Error>> + Send + 'static
{
}
impl<K, S: Stream<Item = Result<K, watcher::Error>> + Send + 'static> Changes<K> for S {}

/// Objects of a page of a list. The library reads a page as a whole, and users who may write objects decide how large they are:
/// up to 1.5 MiB each, of which a fifth of a page of 500 would fill the operator's memory.
const PAGE: u32 = 50;

fn config() -> watcher::Config {
    // Some load balancers drop an idle connection after 240 s without a word.
    watcher::Config::default().timeout(200).page_size(PAGE)
}

/// What was seen of an object counts until something else is seen.
fn forever() -> PredicateConfig {
    PredicateConfig::default().ttl(Duration::MAX)
}

/// The objects of a namespace, or of all.
pub(in crate::controller) fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn prune(object: &mut impl ResourceExt) {
    object.meta_mut().managed_fields = None;
    object.annotations_mut().remove(LAST_APPLIED);
}

/// Drops errors after logging and counting them.
fn log_errors<K, S>(kind: &'static str, metrics: &Arc<Metrics>, stream: S) -> impl Changes<K> + use<K, S>
where
    S: Stream<Item = Result<K, watcher::Error>> + Send + 'static,
    K: Send + 'static,
{
    metrics.watching(kind);
    let metrics = metrics.clone();
    stream.filter(move |item| {
        if let Err(error) = item {
            metrics.watch_failed(kind);
            tracing::warn!(kind, error = %short(error), "watch failed; it is tried again{}", advice(error));
        }
        ready(item.is_ok())
    })
}

/// What to do about the usual mistakes.
fn advice(error: &watcher::Error) -> &'static str {
    let (watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e)) = error else {
        return "";
    };
    match e {
        kube::Error::Api(status) if status.is_not_found() => {
            ": apply the custom resource definitions of crds/ first"
        }
        kube::Error::Api(status) if status.is_forbidden() => {
            ": give the operator the right to list and watch it"
        }
        _ => "",
    }
}

/// The first lines of a watch error, without the objects that its debug form holds.
fn short(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(e)
        | watcher::Error::WatchStartFailed(e)
        | watcher::Error::WatchFailed(e) => crate::controller::error::describe(e),
        watcher::Error::WatchError(status) => crate::controller::error::message_of(status),
        watcher::Error::NoResourceVersion => "the API server sent no resourceVersion".to_owned(),
    }
}

/// A watched kind in memory.
///
/// A channel of our own signals that it is filled: `Store::wait_until_ready` wakes only the one who asked
/// last, and the controller runtime asks, too.
pub(in crate::controller) struct Cache<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    filled: watch::Receiver<bool>,
}

impl<K: Resource<DynamicType = ()> + 'static> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            filled: self.filled.clone(),
        }
    }
}

impl<K: Resource<DynamicType = ()> + 'static> std::ops::Deref for Cache<K> {
    type Target = Store<K>;
    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Cache<K> {
    /// Waits until the first list is in; `false` if the watch has ended before.
    pub(in crate::controller) async fn filled(&self) -> bool {
        self.filled.clone().wait_for(|filled| *filled).await.is_ok()
    }

    /// Whether the first list is in.
    pub(in crate::controller) fn is_filled(&self) -> bool {
        *self.filled.borrow()
    }

    /// For the controller runtime.
    pub(in crate::controller) fn store(&self) -> Store<K> {
        self.store.clone()
    }
}

/// A cached kind whose objects may be undecodable.
pub(in crate::controller) type Guarded<K> = Cache<DeserializeGuard<K>>;

/// A cache, and what fills it. `on_event` gets each event after the store has it, and before the cache counts as filled.
fn cache<K>(
    api: Api<K>,
    mut on_event: impl FnMut(&watcher::Event<K>, &Store<K>) + Send + 'static,
) -> (Cache<K>, impl Stream<Item = Seen<K>> + Send + 'static)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let writer = Writer::<K>::new(());
    let (fill, filled) = watch::channel(false);
    let cache = Cache {
        store: writer.as_reader(),
        filled,
    };
    let store = cache.store();
    let events =
        reflector(writer, watcher(api, config()).modify(prune).default_backoff()).inspect(move |event| {
            let Ok(event) = event else { return };
            on_event(event, &store);
            if matches!(event, watcher::Event::InitDone) && !*fill.borrow() {
                fill.send_replace(true);
            }
        });
    (cache, events)
}

/// A cached kind, with a stream of the objects for which `counts` gives another answer than before; with `deleted`, also
/// of those that are gone.
fn cached<K>(
    kind: &'static str,
    metrics: &Arc<Metrics>,
    api: Api<DeserializeGuard<K>>,
    counts: impl Predicate<DeserializeGuard<K>> + Send + 'static,
    deleted: bool,
    on_event: impl Fn(&watcher::Event<DeserializeGuard<K>>) + Send + 'static,
) -> (Guarded<K>, impl Changes<DeserializeGuard<K>>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (cache, events) = cache(api, move |event, _| on_event(event));
    let changed = changes(cache.store(), events, counts, deleted);
    (cache, log_errors(kind, metrics, changed))
}

/// The classes, and a stream of those whose spec changed or that are gone.
pub(in crate::controller) fn classes(
    metrics: &Arc<Metrics>,
    api: Api<DeserializeGuard<ProgrammaticUserClass>>,
) -> (
    Guarded<ProgrammaticUserClass>,
    impl Changes<DeserializeGuard<ProgrammaticUserClass>>,
) {
    cached(
        "ProgrammaticUserClass",
        metrics,
        api,
        spec_changes(),
        true,
        |_| (),
    )
}

/// The organizations, a stream of those whose spec changed, and one of those whose users have to be enqueued. All are of
/// one watch, so that a receiver of a change finds it in the cache.
pub(in crate::controller) fn organizations(
    metrics: &Arc<Metrics>,
    api: Api<DeserializeGuard<Organization>>,
    on_event: impl Fn(&watcher::Event<DeserializeGuard<Organization>>) + Send + 'static,
) -> (
    Guarded<Organization>,
    impl Changes<DeserializeGuard<Organization>>,
    impl Changes<DeserializeGuard<Organization>>,
) {
    let (cache, changed) = cached(
        "Organization",
        metrics,
        api,
        spec_changes().combine(readiness),
        false,
        on_event,
    );
    let (sender, receiver) = mpsc::unbounded();
    let for_itself = changed
        .inspect_ok(move |organization| drop(sender.unbounded_send(Ok(organization.clone()))))
        .predicate_filter(spec_changes(), forever());
    let for_users = receiver.predicate_filter(readiness, forever());
    (cache, for_itself, for_users)
}

/// The users of a scope: a cache of a [`CachedUser`] each, and a stream of those whose desired state changed. The startup
/// scan checks those of the first list that were up to date. The records of an object end here, with its deletion or with a
/// list without it; `on_end` is called for each.
pub(in crate::controller) fn users<F: Fn(&CachedUser) + Send + 'static>(
    metrics: &Arc<Metrics>,
    api: Api<CachedUser>,
    objects: Arc<ObjectStates>,
    on_end: F,
) -> (Cache<CachedUser>, impl Changes<CachedUser> + use<F>) {
    let (mut first, mut ended) = (true, Ended::default());
    let on_event = move |event: &watcher::Event<CachedUser>, users: &Store<CachedUser>| {
        for user in ended.observe(event, users) {
            objects.remove(user.uid_ref());
            on_end(&user);
        }
        if matches!(event, watcher::Event::InitDone) && std::mem::take(&mut first) {
            let all = users.state();
            all.iter()
                .filter(|u| u.up_to_date)
                .for_each(|u| objects.await_scan(u.uid_ref()));
        }
    };
    let (cache, events) = cache(api, on_event);
    let asks = |user: &CachedUser| Some(user.desired_digest);
    let changed = changes(cache.store(), events, asks, false);
    (cache, log_errors("ProgrammaticUser", metrics, changed))
}

/// Namespaces of a scope whose labels changed.
pub(in crate::controller) fn namespaces(
    metrics: &Arc<Metrics>,
    client: &Client,
    scope: Option<&str>,
) -> impl Changes<PartialObjectMeta<Namespace>> + use<> {
    let api = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    let config = scope.map_or_else(config, |name| config().fields(&format!("metadata.name={name}")));
    let stream = watcher(api, config).modify(prune).default_backoff();
    let changed = stream
        .applied_objects()
        .predicate_filter(predicates::labels, forever());
    log_errors("Namespace", metrics, changed)
}

/// A change of spec, annotations or finalizers; not of the status, which is our own.
fn spec_changes<K: Resource + 'static>() -> impl Predicate<K> + Send + 'static
where
    K::DynamicType: Default + Eq + Hash,
{
    predicates::generation
        .combine(predicates::annotations)
        .combine(predicates::finalizers)
}

/// A change of spec, or of whether it is ready: then everything that waits for it is tried again.
#[expect(clippy::unnecessary_wraps, reason = "the form of a predicate")]
fn readiness(organization: &DeserializeGuard<Organization>) -> Option<u64> {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    organization.meta().generation.hash(&mut hasher);
    if let Ok(organization) = &organization.0 {
        let conditions = organization.status.iter().flat_map(|s| &s.conditions);
        conditions
            .filter(|c| c.type_ == READY)
            .for_each(|c| c.status.hash(&mut hasher));
    }
    Some(hasher.finish())
}

/// Metadata of the Secrets that the operator made, unless they are as their users' last reconcile left them; their data
/// never gets here. `lost` gets the owners whose Secrets were deleted during a pause of the watch, and
/// `listed` shows the progress of the first list: it is sent at each Secret, and true at the end.
pub(in crate::controller) fn secrets<F: Fn(&HashSet<Digest>) + Send + 'static>(
    metrics: &Arc<Metrics>,
    client: &Client,
    namespace: Option<&str>,
    objects: Arc<ObjectStates>,
    lost: F,
    listed: watch::Sender<bool>,
) -> impl Changes<PartialObjectMeta<Secret>> + use<F> {
    let api: Api<PartialObjectMeta<Secret>> = scoped(client, namespace);
    let ours = config().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}"));
    let mut owners = Owners::default();
    let stream = watcher(api, ours)
        .modify(prune)
        .default_backoff()
        .inspect(move |event| {
            let gone = event.as_ref().map(|event| owners.see(event)).unwrap_or_default();
            if !gone.is_empty() {
                lost(&gone);
            }
            match event {
                Ok(watcher::Event::InitApply(_)) if !*listed.borrow() => listed.send_modify(|_| ()),
                Ok(watcher::Event::InitDone) => drop(listed.send_replace(true)),
                _ => {}
            }
        })
        // A deleted Secret counts too.
        .touched_objects();
    let news = move |secret: &PartialObjectMeta<Secret>| {
        let version = secret.resource_version().unwrap_or_default();
        owner(secret).is_none_or(|owner| objects.secret_is_news(&owner.uid, &version))
    };
    log_errors("Secret", metrics, stream).filter(move |item| ready(item.as_ref().is_ok_and(&news)))
}

/// What happens to objects of a kind, for those who keep of each only what they need.
pub(in crate::controller) fn events<K>(
    kind: &'static str,
    metrics: &Arc<Metrics>,
    api: Api<K>,
) -> impl Stream<Item = watcher::Event<K>> + Send + 'static + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    // Whole objects are in memory for a moment only, a page of them at a time.
    let stream = watcher(api, config()).default_backoff();
    log_errors(kind, metrics, stream).filter_map(|item| ready(item.ok()))
}

/// Metadata of all Secrets of the operator's own namespace; their data never gets here.
pub(in crate::controller) type SecretNames = Store<PartialObjectMeta<Secret>>;

/// Watches those, with a stream of the ones that changed.
pub(in crate::controller) fn own_secrets(
    metrics: &Arc<Metrics>,
    client: &Client,
    namespace: &str,
) -> (SecretNames, impl Changes<PartialObjectMeta<Secret>>) {
    let writer = Writer::<PartialObjectMeta<Secret>>::new(());
    let store = writer.as_reader();
    let api: Api<PartialObjectMeta<Secret>> = Api::namespaced(client.clone(), namespace);
    let stream = reflector(writer, watcher(api, config()).modify(prune).default_backoff()).touched_objects();
    (store, log_errors("Secret", metrics, stream))
}
