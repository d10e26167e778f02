//! One list call to the platform, and what follows from it for the users of an organization.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use crate::api::{Organization, OrphanPolicy, Reason, UserCounts};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::organizations::connections::{Connection, OrganizationState, UserListing};
use crate::controller::organizations::drift::{Findings, Views};
use crate::controller::organizations::{drift, orphans, retained};
use crate::controller::schedule::triggers::UserRef;
use crate::controller::watch::cached_user::JournalIndex;
use crate::plan::{EventDraft, Marker, Problem};
use crate::platform::client;

/// Users that are compared with the platform in full, in turn, after each list.
const CHECKS: usize = 5;

/// What a list call to the platform found.
pub(in crate::controller) struct Inspection {
    pub(in crate::controller) state: Arc<OrganizationState>,
    pub(in crate::controller) connection: Arc<Connection>,
    pub(in crate::controller) counts: UserCounts,
    /// Users that no object knows, after the sweep.
    pub(in crate::controller) orphans: BTreeSet<String>,
    /// Users that the sweep deleted.
    pub(in crate::controller) deleted: Vec<String>,
}

/// One list call, whatever the number of users; and what follows from it.
pub(in crate::controller) async fn inspect(
    context: &Context,
    organization: &Organization,
    name: &str,
) -> Result<Result<Inspection, Problem>, Error> {
    let before = views(context);
    let (state, connection, listing) = match list(context, organization, name).await {
        Ok(found) => found,
        Err(problem) => return Ok(Err(problem)),
    };
    let after = views(context);
    // A platform may be late with its lists.
    let late = listing
        .begun
        .checked_sub(context.settle())
        .unwrap_or(listing.begun);
    let deleted = state.limiter.deleted_since(late);
    let mut found = drift::compare(name, &context.instance, &listing, &before, &after, &deleted);
    let retained = retained::in_organization(context, name, &listing, connection.client()).await?;
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

    let times = (listing.begun, listing.ended);
    let mut settled = state.settled_orphans(found.orphans.keys(), times, context.settle());
    settled.retain(|id| !kept.contains(id));
    let gone = delete_orphans(context, organization, &connection, &found.orphans, &settled).await?;
    let n = i32::try_from(gone.len()).unwrap_or_default();
    found.counts.orphaned -= n;
    found.counts.managed -= n;
    let orphans = found.orphans.into_keys().chain(found.strangers);
    Ok(Ok(Inspection {
        state,
        connection,
        counts: found.counts,
        orphans: orphans.filter(|id| !gone.contains(id)).collect(),
        deleted: gone,
    }))
}

/// The list call, with the state and the connection of the organization.
async fn list(
    context: &Context,
    organization: &Organization,
    name: &str,
) -> Result<(Arc<OrganizationState>, Arc<Connection>, Arc<UserListing>), Problem> {
    let state = context.platforms.state(organization).await?;
    let connection = context.platforms.refresh(organization).await?;
    let begun = Instant::now();
    match connection.client().probe().await {
        Ok(users) => {
            let listing = Arc::new(UserListing::new(begun, users, &context.instance));
            state.listing_succeeded(Some(listing.clone()));
            Ok((state, connection, listing))
        }
        Err(error) => {
            state.listing_succeeded(None);
            if error.tells_of_endpoint() {
                detail(context, organization, &state, &error).await;
            }
            Err(context.platforms.problem(name, &error))
        }
    }
}

/// Deletes the settled ones of these orphans, if the Organization says so; the ids of those that are gone.
async fn delete_orphans(
    context: &Context,
    organization: &Organization,
    connection: &Connection,
    orphans: &BTreeMap<String, Marker>,
    settled: &BTreeSet<String>,
) -> Result<Vec<String>, Error> {
    let wanted =
        organization.spec.orphan_policy == OrphanPolicy::Delete && orphans::watches_all_namespaces(context);
    if !wanted || settled.is_empty() {
        return Ok(Vec::new());
    }
    let settled = orphans.iter().filter(|(id, _)| settled.contains(*id));
    let settled = settled.map(|(id, marker)| (id.clone(), marker.clone())).collect();
    orphans::orphans(context, &organization.name_any(), connection, &settled).await
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
