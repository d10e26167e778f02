//! Reconciles an `Organization`: probes the platform and its credential with one list call, and compares the users of the list
//! with the objects.

pub(in crate::controller) mod classes;
mod conditions;
pub(in crate::controller) mod connections;
mod deletion;
mod drift;
mod orphans;
pub(in crate::controller) mod retained;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use crate::api::{Organization, OrphanPolicy, Reason, UserCounts};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::organizations::connections::{Connection, OrganizationState, UserListing};
use crate::controller::reconcile::instrument::{ReconcileTarget, instrument};
use crate::controller::reconcile::panics;
use crate::controller::schedule::triggers::UserRef;
use crate::controller::watch::cached_user::JournalIndex;
use crate::plan::{EventDraft, Marker, Problem, Retry};
use crate::platform::client;

use deletion::DeletionHold;
use drift::{Findings, Views};

const KIND: &str = "Organization";
/// Longest pause between tries while something is wrong: everything else of the organization waits for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Pause between two questions whether a refused credential is accepted again; a changed Secret is seen at once.
const PROBE: Duration = Duration::from_mins(1);
/// Pause between two checks whether an Organization that is being deleted is still needed.
const RELEASE: Duration = Duration::from_secs(5);
/// Users that are compared with the platform in full, in turn, after each list.
const CHECKS: usize = 5;

/// What a list call to the platform found.
struct Inspection {
    state: Arc<OrganizationState>,
    connection: Arc<Connection>,
    counts: UserCounts,
    /// Users that no object knows, after the sweep.
    orphans: BTreeSet<String>,
    /// Users that the sweep deleted.
    deleted: Vec<String>,
}

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

/// One list call, whatever the number of users; and what follows from it.
async fn inspect(
    context: &Context,
    organization: &Organization,
    name: &str,
) -> Result<Result<Inspection, Problem>, Error> {
    let before = views(context);
    let state = match context.platforms.state(organization).await {
        Ok(state) => state,
        Err(problem) => return Ok(Err(problem)),
    };
    let connection = match context.platforms.refresh(organization).await {
        Ok(connection) => connection,
        Err(problem) => return Ok(Err(problem)),
    };
    let begun = Instant::now();
    let users = match connection.client().probe().await {
        Ok(users) => users,
        Err(error) => {
            state.listing_succeeded(None);
            if error.tells_of_endpoint() {
                detail(context, organization, &state, &error).await;
            }
            return Ok(Err(context.platforms.problem(name, &error)));
        }
    };
    let snapshot = Arc::new(UserListing::new(begun, users, &context.instance));
    state.listing_succeeded(Some(snapshot.clone()));
    let after = views(context);
    // A platform may be late with its lists.
    let settle = context.settle();
    let late = begun.checked_sub(settle).unwrap_or(begun);
    let deleted = state.limiter.deleted_since(late);
    let mut found = drift::compare(name, &context.instance, &snapshot, &before, &after, &deleted);
    let retained = retained::in_organization(context, name, &snapshot, connection.client()).await?;
    found.counts.retained = i32::try_from(retained.len()).unwrap_or(i32::MAX);
    let mut kept = BTreeSet::new();
    if !found.orphans.is_empty() {
        let all = found.orphans.len();
        found.orphans.retain(|id, _| !retained.contains(id));
        found.counts.orphaned -= i32::try_from(all - found.orphans.len()).unwrap_or_default();
        kept = orphans::still_needed(context, &found.orphans).await?;
    }
    trigger(context, name, &state, &after, &found);
    orphans::sweep_staging(context).await?;

    let times = (snapshot.begun, snapshot.ended);
    let settled = state.settled_orphans(found.orphans.keys(), times, settle);
    let mut gone = Vec::new();
    let wanted =
        organization.spec.orphan_policy == OrphanPolicy::Delete && orphans::watches_all_namespaces(context);
    if wanted && !settled.is_empty() {
        let settled: BTreeMap<String, Marker> = found
            .orphans
            .iter()
            .filter(|(id, _)| settled.contains(*id) && !kept.contains(*id))
            .map(|(id, marker)| (id.clone(), marker.clone()))
            .collect();
        gone = orphans::orphans(context, name, &connection, &settled).await?;
        let n = i32::try_from(gone.len()).unwrap_or_default();
        found.counts.orphaned -= n;
        found.counts.managed -= n;
    }
    let orphans = found.orphans.into_keys().chain(found.strangers);
    Ok(Ok(Inspection {
        state,
        connection,
        counts: found.counts,
        orphans: orphans.filter(|id| !gone.contains(id)).collect(),
        deleted: gone,
    }))
}

/// An Event for those who may see the operator's namespace. An Event about an Organization would have to be in namespace
/// `default`: this one is about the Secret of its credential.
async fn detail(
    context: &Context,
    organization: &Organization,
    state: &OrganizationState,
    error: &client::Error,
) {
    let message = error.to_string();
    if !state.is_news(&message) {
        return;
    }
    let secret = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Secret".to_owned()),
        namespace: Some(context.config.namespace.clone()),
        name: Some(organization.spec.credentials.secret_name.clone()),
        ..ObjectReference::default()
    };
    let notice = EventDraft {
        warning: true,
        reason: Reason::PlatformDetail,
        message: format!(
            "Organization {}, {}: {message}",
            organization.name_any(),
            organization.spec.endpoint.url
        ),
    };
    context.publish_about(&secret, &notice).await;
}

/// What the cache knows of all objects now.
fn views(context: &Context) -> Views {
    let all = context.caches.users.iter().flat_map(|users| users.state());
    all.map(|user| (user.uid_ref().to_owned(), user.index.clone()))
        .collect()
}

/// Requests full checks of the users whose turn it is, and of those about which the list shows something unexpected.
fn trigger(context: &Context, name: &str, state: &OrganizationState, views: &Views, found: &Findings) {
    let has_user = |v: &JournalIndex| {
        let journal = v.journal.as_ref();
        v.organization.as_deref() == Some(name) && journal.is_some_and(|j| j.current.is_some())
    };
    let theirs: BTreeSet<String> = views
        .iter()
        .filter(|(_, v)| has_user(v))
        .map(|(uid, _)| uid.clone())
        .collect();
    let turn = state.take_turn(|last| drift::next_in_turn(&theirs, last, CHECKS));
    let mut wanted = found.suspects.clone();
    wanted.extend(turn);
    if wanted.is_empty() {
        return;
    }
    for user in context.caches.users.iter().flat_map(|users| users.state()) {
        if let Some(uid) = user.uid().filter(|uid| wanted.contains(uid)) {
            let reference: UserRef = ObjectRef::from_obj(&*user);
            context.request_full_check(&reference, &uid);
        }
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
