//! The handles that a reconcile may use.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::core::DeserializeGuard;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource};
use rand::Rng as _;

use crate::api::{MANAGER, Organization, ProgrammaticUser, ProgrammaticUserClass};
use crate::controller::config::Config;
use crate::controller::consumers::{PodLists, WorkloadIndex};
use crate::controller::error::Error;
use crate::controller::leader::LeaseState;
use crate::controller::organizations::connections::OrganizationStates;
use crate::controller::organizations::retained::record::RetainedUsers;
use crate::controller::schedule::concurrency::ConcurrencyLimiter;
use crate::controller::schedule::jitter;
use crate::controller::schedule::object_state::ObjectStates;
use crate::controller::schedule::triggers::{Queues, Triggers, UserRef};
use crate::controller::watch::cached_user::CachedUser;
use crate::controller::watch::streams::{Cache, Guarded, SecretNames};
use crate::health::watchdog::Watchdog;
use crate::metrics::Metrics;
use crate::plan::{EventDraft, Marker, NONCE_LEN, base32};
use crate::platform::UserName;
use crate::platform::client::{LimiterEvents, Observer, Purpose};

/// Caches of the watched kinds.
pub(super) struct Caches {
    /// One for each watched namespace, or one for all.
    pub(super) users: Vec<Cache<CachedUser>>,
    pub(super) classes: Guarded<ProgrammaticUserClass>,
    pub(super) organizations: Guarded<Organization>,
}

/// What all reconciles share.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) instance: String,
    pub(super) config: Config,
    pub(super) caches: Caches,
    /// Metadata of the Secrets of the operator's own namespace.
    pub(super) own_secrets: SecretNames,
    pub(super) retained: RetainedUsers,
    pub(super) platforms: Arc<OrganizationStates>,
    pub(super) triggers: Arc<Triggers>,
    pub(super) objects: Arc<ObjectStates>,
    /// Workloads that read Secrets.
    pub(super) workload_index: Arc<WorkloadIndex>,
    pub(super) pods: PodLists,
    pub(super) metrics: Arc<Metrics>,
    pub(super) watchdog: Arc<Watchdog>,
    pub(super) queues: Arc<Queues>,
    pub(super) concurrency: Arc<ConcurrencyLimiter>,
    pub(super) lease: Arc<LeaseState>,
    pub(super) recorder: Recorder,
}

impl Context {
    /// Secrets of the operator's own namespace.
    pub(super) fn own_secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.config.namespace)
    }

    /// The time by the clock of an organization's platform, as far as it is known.
    pub(super) fn platform_time(&self, organization: Option<&Organization>) -> Option<Timestamp> {
        let name = organization?.metadata.name.as_deref()?;
        self.platforms.known(name)?.limiter.now()
    }

    /// How long this process is the leader for certain.
    pub(super) fn lease_margin(&self) -> Duration {
        self.lease.time_left()
    }

    /// After this a call that made a user, and whose answer was lost, cannot be on its way any more: its deadline,
    /// and some. It does not wait for its turn after the attempt is in the journal: it has its permit.
    pub(super) fn settle(&self) -> Duration {
        self.config.create_timeout + self.config.settle_slack
    }

    /// Has a user compared with the platform in full, soon.
    pub(super) fn request_full_check(&self, user: &ObjectRef<CachedUser>, uid: &str) {
        self.objects.records.request_full_check(uid);
        self.triggers.user(user);
        self.end_if_gone(user, uid);
    }

    /// Users on the platform that carry this object's marker and an attempt that its journal does not know.
    ///
    /// `read` is a moment *before* the object was asked for from the API server. An attempt is journaled before its
    /// user is asked for, so only a list that had ended by then can tell: what it shows, the object would know.
    /// `None`: there was no such list yet.
    pub(super) fn unknown_users(&self, user: &ProgrammaticUser, read: Instant) -> Option<Vec<UserName>> {
        let organization = user.status.as_ref().and_then(|s| s.organization_name.as_deref());
        let state = organization.and_then(|name| self.platforms.known(name));
        let (state, listing) = state.and_then(|s| s.listing().map(|n| (s, n)))?;
        if listing.ended > read {
            return None;
        }
        let deleted = state.limiter.deleted_since(listing.begun);
        let journal = user
            .status
            .as_ref()
            .map(|s| s.journal.clone())
            .unwrap_or_default();
        let uid = user.metadata.uid.as_deref().unwrap_or_default();
        let mut strays = listing.strays(&self.instance, uid, &[&journal], &deleted);
        strays.retain(|user| !self.is_known_elsewhere(user));
        Some(strays)
    }

    /// Whether a user with a short marker is in the journal of an object: of another one then, with the same digest.
    fn is_known_elsewhere(&self, user: &UserName) -> bool {
        let short = Marker::parse(&user.username).filter(Marker::is_short);
        let knows = |o: &Arc<CachedUser>, nonce: &str| o.index.journal.as_ref().is_some_and(|j| j.has(nonce));
        short.is_some_and(|marker| self.users().any(|o| knows(&o, &marker.nonce)))
    }

    /// Whether one of these users has a short marker with the digest of this object, and another object has that digest, too.
    pub(super) fn shares_digest(&self, uid: &str, listed: &[UserName]) -> bool {
        let of = |uid: &str, nonce: &str| Marker::new(&self.instance, uid, nonce);
        let mut markers = listed.iter().filter_map(|user| Marker::parse(&user.username));
        let Some(short) = markers.find(|m| m.is_short() && m.is_of(&of(uid, &m.nonce))) else {
            return false;
        };
        let mut others = self.users().filter(|o| o.uid_ref() != uid);
        others.any(|o| short.is_of(&of(o.uid_ref(), &short.nonce)))
    }

    /// All objects in the caches.
    fn users(&self) -> impl Iterator<Item = Arc<CachedUser>> {
        self.caches.users.iter().flat_map(|users| users.state())
    }

    /// Waits until all caches are filled. Before that a class that exists looks like one that does not.
    pub(super) async fn synced(&self) -> Result<(), Error> {
        let mut filled = self.caches.classes.filled().await && self.caches.organizations.filled().await;
        for users in &self.caches.users {
            filled = filled && users.filled().await;
        }
        if filled {
            Ok(())
        } else {
            Err(Error::Kube("fill the caches", "the watch ended".to_owned()))
        }
    }

    /// A class by name, from the cache. One that cannot be read is an error, since it does exist.
    pub(super) fn class(&self, name: &str) -> Result<Option<Arc<ProgrammaticUserClass>>, Error> {
        readable(
            "read the ProgrammaticUserClass",
            self.caches.classes.get(&ObjectRef::new(name)).as_deref(),
        )
    }

    /// An organization by name, from the cache. One that cannot be read is an error, since it does exist.
    pub(super) fn organization(&self, name: &str) -> Result<Option<Arc<Organization>>, Error> {
        readable(
            "read the Organization",
            self.caches.organizations.get(&ObjectRef::new(name)).as_deref(),
        )
    }

    /// Whether this installation manages an organization.
    pub(super) fn manages(&self, organization: &str) -> bool {
        let managed = &self.config.organizations;
        managed.is_empty() || managed.iter().any(|name| name == organization)
    }

    /// Other users of the same class in the same namespace that exist, are being made or were retained. A new user that is within
    /// `max` takes its place in the same moment, so that of many that begin at once no more than `max` go on: the
    /// cache shows a user only after it has been begun.
    pub(super) fn quota_used(&self, user: &ProgrammaticUser, max: usize) -> usize {
        let uid = user.metadata.uid.clone().unwrap_or_default();
        let alike = |o: &Arc<CachedUser>| {
            o.meta().namespace == user.metadata.namespace && o.is_of(&user.spec.class_name)
        };
        let cached = self.caches.users.iter().flat_map(|users| users.state());
        let all: Vec<_> = cached.filter(alike).collect();
        let begun = all.iter().filter(|o| o.has_begun());
        let mut taken: BTreeSet<String> = begun.map(|o| o.uid_ref().to_owned()).collect();
        let retained = self.retained.all().into_iter().filter(|kept| {
            kept.class == user.spec.class_name && Some(&kept.namespace) == user.metadata.namespace.as_ref()
        });
        // An object that is not gone yet counts once.
        taken.extend(retained.map(|kept| kept.uid));
        let candidates = all.iter().map(|o| o.uid_ref());
        self.objects.records.reserve_quota(&uid, max, candidates, taken)
    }

    /// The pause before the next try of this object: longer each time, with jitter.
    pub(super) fn backoff(&self, uid: &str) -> Duration {
        jitter::around(self.objects.records.next_backoff(uid))
    }

    /// The pause before the next look at an object that a person has to mend.
    pub(super) fn recheck(&self, uid: &str) -> Duration {
        jitter::around(self.objects.records.next_recheck(uid))
    }

    /// How long a create call for an object of this namespace would have to wait at least; `None`: there is room.
    pub(super) fn create_pause(
        &self,
        organization: &str,
        namespace: &str,
        purpose: Purpose,
    ) -> Option<Duration> {
        self.platforms
            .known(organization)?
            .limiter
            .create_pause(namespace, purpose)
    }

    /// Ends the records of a user that the cache no longer has: a late reconcile may have begun them after the watch showed the
    /// deletion. Called after whatever may begin one, so that no order of the two leaves one behind.
    pub(super) fn end_if_gone(&self, user: &UserRef, uid: &str) {
        let cached = self.triggers.known(user);
        if cached.as_ref().is_none_or(|cached| cached.uid_ref() != uid) {
            self.objects.remove(uid);
        }
        if cached.is_none() {
            let namespace = user.namespace.as_deref().unwrap_or_default();
            self.workload_index.remove(namespace, &user.name);
        }
    }

    /// Publishes an Event. One that cannot be written is logged and no more: in a namespace that is being
    /// deleted none can.
    pub(super) async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, notice: &EventDraft) {
        self.publish_about(&object.object_ref(&()), notice).await;
    }

    /// The same, about an object that is not at hand.
    pub(super) async fn publish_about(&self, object: &ObjectReference, notice: &EventDraft) {
        let event = Event {
            type_: if notice.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: notice.reason.to_string(),
            note: Some(notice.message.chars().take(1000).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, object).await {
            tracing::warn!(
                error = crate::controller::error::describe(&error),
                reason = %notice.reason,
                "Event not written"
            );
        }
    }
}

fn readable<K: Clone>(
    doing: &'static str,
    found: Option<&DeserializeGuard<K>>,
) -> Result<Option<Arc<K>>, Error> {
    match found {
        None => Ok(None),
        Some(DeserializeGuard(Ok(object))) => Ok(Some(Arc::new(object.clone()))),
        Some(DeserializeGuard(Err(invalid))) => Err(Error::Kube(doing, invalid.error.clone())),
    }
}

/// Publishes Events in the operator's name.
pub(super) fn recorder(client: &Client) -> Recorder {
    let reporter = Reporter {
        controller: MANAGER.to_owned(),
        instance: None,
    };
    Recorder::new(client.clone(), reporter)
}

/// 80 bits from the operating system's generator.
pub(super) fn fresh_nonce() -> String {
    let mut bytes = [0u8; 10];
    rand::rng().fill_bytes(&mut bytes);
    base32(&bytes, NONCE_LEN)
}

/// Limiters that count calls, ask the lease for its time, and wake the Organization when the platform refuses its credential.
pub(super) fn limiter_events(
    lease: Arc<LeaseState>,
    triggers: Arc<Triggers>,
    metrics: Arc<Metrics>,
) -> Box<dyn Fn(&str) -> LimiterEvents + Send + Sync> {
    Box::new(move |organization: &str| {
        let (lease, triggers) = (lease.clone(), triggers.clone());
        let name = organization.to_owned();
        let calls = Calls {
            metrics: metrics.clone(),
            organization: name.clone(),
        };
        LimiterEvents {
            margin: Box::new(move || lease.time_left()),
            refused: Box::new(move || triggers.organization(&name)),
            observer: Box::new(calls),
        }
    })
}

/// Counts the calls of one organization.
struct Calls {
    metrics: Arc<Metrics>,
    organization: String,
}

impl Observer for Calls {
    fn called(&self, route: &str, outcome: &'static str, took: Duration) {
        self.metrics.called(&self.organization, route, outcome, took);
    }

    fn waited(&self, span: Duration) {
        self.metrics.waited_for_turn(&self.organization, span);
    }

    fn rejected_locally(&self, reason: &'static str) {
        self.metrics.held(&self.organization, reason);
    }
}
