//! Records of users whose objects were deleted with `deletionPolicy: Retain`: Secrets without data in the operator's own
//! namespace, which no tenant can write. By them such users count, and end with their class.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::{Api, ResourceExt as _};
use tokio::time::timeout;

use crate::api::{
    CLASS_ANNOTATION, EXPIRE_AT_ANNOTATION, GRANTED_ANNOTATION, Granted, ISSUED_AT_ANNOTATION,
    MANAGED_BY_LABEL, MANAGER, NONCE_ANNOTATION, ORGANIZATION_ANNOTATION, Organization, RETAINED_LABEL,
    RETAINED_USER_LABEL, Reason, SECRET_ANNOTATION, USER_ID_ANNOTATION,
};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::organizations::connections::UserListing;
use crate::controller::reconcile::panics::catch_panic;
use crate::plan::{EventDraft, Fate, Found, Marker, Retained, is_marked};
use crate::platform::client;

/// How long one pass over the users of one organization takes at most.
const ROUND: Duration = Duration::from_secs(30);

/// Name of a record; an attempt has one at most.
fn name(nonce: &str) -> String {
    format!("programmatic-users-retained-{nonce}")
}

/// The record of a user.
fn build(user: &Retained) -> Secret {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut annotations = BTreeMap::from([
        label(NONCE_ANNOTATION, &user.nonce),
        label(USER_ID_ANNOTATION, &user.user_id),
        label(CLASS_ANNOTATION, &user.class),
        label(ORGANIZATION_ANNOTATION, &user.organization),
        (
            SECRET_ANNOTATION.to_owned(),
            format!("{}/{}", user.namespace, user.secret),
        ),
    ]);
    let times = [
        (ISSUED_AT_ANNOTATION, user.issued_at),
        (EXPIRE_AT_ANNOTATION, user.expire_at),
    ];
    let times = times.into_iter().filter_map(|(key, at)| Some((key, at?)));
    annotations.extend(times.map(|(key, at)| (key.to_owned(), at.to_string())));
    let granted = user
        .granted
        .as_ref()
        .and_then(|granted| serde_json::to_string(granted).ok());
    annotations.extend(granted.map(|granted| (GRANTED_ANNOTATION.to_owned(), granted)));
    Secret {
        metadata: ObjectMeta {
            name: Some(name(&user.nonce)),
            labels: Some(BTreeMap::from([
                label(MANAGED_BY_LABEL, MANAGER),
                label(RETAINED_USER_LABEL, &user.uid),
            ])),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// The user of a record, if `secret` is one.
fn parse(secret: &PartialObjectMeta<Secret>) -> Option<Retained> {
    let uid = secret.labels().get(RETAINED_USER_LABEL)?.clone();
    let annotation = |key: &str| secret.annotations().get(key).cloned();
    let place = annotation(SECRET_ANNOTATION)?;
    let (namespace, secret_name) = place.split_once('/')?;
    Some(Retained {
        uid,
        nonce: annotation(NONCE_ANNOTATION)?,
        user_id: annotation(USER_ID_ANNOTATION)?,
        class: annotation(CLASS_ANNOTATION)?,
        organization: annotation(ORGANIZATION_ANNOTATION)?,
        namespace: namespace.to_owned(),
        secret: secret_name.to_owned(),
        issued_at: annotation(ISSUED_AT_ANNOTATION).and_then(|at| at.parse().ok()),
        expire_at: annotation(EXPIRE_AT_ANNOTATION).and_then(|at| at.parse().ok()),
        granted: annotation(GRANTED_ANNOTATION)
            .map(|text| serde_json::from_str(&text).unwrap_or_else(|_| Granted::unknown())),
    })
}

/// All that there are, also those that were just written and that the watch has not shown yet.
pub(in crate::controller) fn all(context: &Context) -> Vec<Retained> {
    let shown = context.own_secrets.state();
    let shown: BTreeMap<String, Retained> = shown
        .iter()
        .filter_map(|secret| parse(secret))
        .map(|user| (user.nonce.clone(), user))
        .collect();
    let mut all = context.just_retained(|nonce| shown.contains_key(nonce));
    all.extend(shown.into_values());
    all
}

/// How many are of this class.
pub(in crate::controller) fn of_class(context: &Context, class: &str) -> usize {
    all(context).iter().filter(|user| user.class == class).count()
}

/// How many are of this organization. A cache of records that is not filled yet would say none.
pub(in crate::controller) async fn of_organization(
    context: &Context,
    organization: &str,
) -> Result<usize, Error> {
    filled(context).await?;
    let users = all(context);
    Ok(users
        .iter()
        .filter(|user| user.organization == organization)
        .count())
}

/// Waits until all records are known.
pub(in crate::controller) async fn filled(context: &Context) -> Result<(), Error> {
    let filled = context.own_secrets.wait_until_ready().await;
    filled.map_err(|_| Error::Kube("fill the caches", "the watch ended".to_owned()))
}

/// Writes the record; it may be there from a try before.
pub(in crate::controller) async fn record(context: &Context, user: &Retained) -> kube::Result<()> {
    let written = context
        .own_secrets()
        .create(&PostParams::default(), &build(user))
        .await;
    match written {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(error),
    }
    context.retained(user.clone());
    Ok(())
}

/// The user at which the last round of an organization was given up, by its attempt. The next round begins behind it.
pub(in crate::controller) type Positions = BTreeMap<String, String>;

/// Ends those that their class does not let stay. Whether another pass is needed soon. Each organization has a
/// round of its own, which ends in time: no platform holds up the users of another one for longer.
pub(in crate::controller) async fn end_those_due(context: &Context, places: &mut Positions) -> bool {
    let mut organizations: BTreeMap<String, Vec<Retained>> = BTreeMap::new();
    for user in all(context) {
        if context.manages(&user.organization) {
            organizations
                .entry(user.organization.clone())
                .or_default()
                .push(user);
        }
    }
    for (organization, users) in &mut organizations {
        begin_behind(places.get(organization), users);
    }
    let rounds = organizations.iter().map(|(organization, users)| async move {
        let done = AtomicUsize::new(0);
        if let Ok(again) = timeout(ROUND, round(context, users, &done)).await {
            return (again, None);
        }
        tracing::warn!(
            organization,
            "the organization's retained users were not all looked after in time; they are tried again"
        );
        let at = users.get(done.load(Ordering::Relaxed));
        (true, at.map(|user| (organization.clone(), user.nonce.clone())))
    });
    let rounds = join_all(rounds).await;
    let again = rounds.iter().any(|(again, _)| *again);
    *places = rounds.into_iter().filter_map(|(_, place)| place).collect();
    again
}

/// Puts those first whose attempts come after this one.
fn begin_behind(last: Option<&String>, users: &mut [Retained]) {
    users.sort_by(|a, b| a.nonce.cmp(&b.nonce));
    let passed = last.map_or(0, |last| users.partition_point(|user| user.nonce <= *last));
    users.rotate_left(passed);
}

/// The users of one organization, one after the other; counts those that are done.
async fn round(context: &Context, users: &[Retained], done: &AtomicUsize) -> bool {
    let mut again = false;
    for user in users {
        if let Err(error) = catch_panic(look(context, user)).await {
            tracing::warn!(user_id = user.user_id, class = user.class, %error, "a retained user was not looked after; it is tried again");
            again = true;
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    again
}

async fn look(context: &Context, user: &Retained) -> Result<(), Error> {
    if given_up(context, user).await? {
        return Ok(());
    }
    match fate(context, user).await? {
        Fate::Stays => Ok(()),
        Fate::Ends(why) => end(context, user, &why).await,
    }
}

/// Drops the record of a user that cannot be deleted, since its Organization is gone, if its class is being deleted: it
/// would hold the class for ever. The user stays on the platform, which an Event reports.
async fn given_up(context: &Context, user: &Retained) -> Result<bool, Error> {
    let class = context.class(&user.class)?;
    let Some(class) = class.filter(|class| class.metadata.deletion_timestamp.is_some()) else {
        return Ok(false);
    };
    if context.organization(&user.organization)?.is_some() {
        return Ok(false);
    }
    let organizations: Api<Organization> = Api::all(context.client.clone());
    let found = organizations.get_metadata_opt(&user.organization).await;
    if found
        .map_err(Error::from_kube("read the Organization"))?
        .is_some()
    {
        return Ok(false);
    }
    forget(context, user).await?;
    let message = format!(
        "retained user {} stays on the platform, and its token, which is in Secret {}/{}, stays valid: Organization {} is gone, so that the operator cannot delete the user. Delete it on the platform",
        user.user_id, user.namespace, user.secret, user.organization
    );
    tracing::warn!(class = user.class, user_id = user.user_id, "{message}");
    let notice = EventDraft {
        warning: true,
        reason: Reason::UserLeftBehind,
        message,
    };
    context.publish(&*class, &notice).await;
    Ok(true)
}

async fn fate(context: &Context, user: &Retained) -> Result<Fate, Error> {
    let class = context.class(&user.class)?;
    let by_labels = class
        .as_ref()
        .is_some_and(|c| !c.spec.namespaces.match_labels.is_empty());
    let labels = if by_labels {
        let api: Api<Namespace> = Api::all(context.client.clone());
        let found = api.get_opt(&user.namespace).await;
        let found = found.map_err(Error::from_kube("read the Namespace"))?;
        found.and_then(|n| n.metadata.labels).unwrap_or_default()
    } else {
        BTreeMap::new()
    };
    let now: Option<Timestamp> = match context.organization(&user.organization)? {
        Some(organization) => context.platform_time(Some(&organization)),
        None => None,
    };
    let needs_catalog = class.as_ref().is_some_and(|class| user.needs_catalog(class));
    let found = match context.organization(&user.organization)? {
        Some(organization) if needs_catalog => catalog(context, &organization).await,
        _ => None,
    };
    let catalog = found.as_ref().map(|found| &*found.catalog);
    Ok(user.fate(class.as_deref(), &labels, now, catalog))
}

/// What the platform has; nothing, if it cannot be asked now.
async fn catalog(context: &Context, organization: &Organization) -> Option<Found> {
    let platform = context.platforms.get(organization).await.ok()?;
    platform.catalog(false).await.ok()
}

/// The user goes first, then the Secret with its token, then the record.
async fn end(context: &Context, user: &Retained, why: &str) -> Result<(), Error> {
    let doing = "delete a retained user";
    let organization = context
        .organization(&user.organization)?
        .ok_or_else(|| Error::Kube(doing, format!("Organization {} is gone", user.organization)))?;
    let platform = context.platforms.get(&organization).await;
    let platform = platform.map_err(|problem| Error::Kube(doing, problem.message))?;
    if context.lease_margin().is_zero() {
        return Err(Error::Kube(doing, "the lease is not certain".to_owned()));
    }
    delete_user(&platform.client().with_high_priority(), &context.instance, user)
        .await
        .map_err(|error| Error::Kube(doing, error.to_string()))?;
    delete_secret(context, user).await?;
    tracing::info!(
        organization = user.organization,
        user_id = user.user_id,
        namespace = user.namespace,
        why,
        "deleted a retained user"
    );
    forget(context, user).await
}

/// The user, if it carries the marker of the object and the attempt.
async fn delete_user(client: &client::Client, instance: &str, user: &Retained) -> Result<(), client::Error> {
    let marker = Marker::new(instance, &user.uid, &user.nonce);
    match client.user(&user.user_id).await? {
        Some(details) if is_marked(&details, &marker) => client.delete_user(&user.user_id).await,
        _ => Ok(()),
    }
}

/// The Secret, if it still is the one that was kept.
async fn delete_secret(context: &Context, user: &Retained) -> Result<(), Error> {
    let doing = "delete the Secret of a retained user";
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &user.namespace);
    let found = secrets.get_metadata_opt(&user.secret).await;
    let Some(found) = found.map_err(Error::from_kube(doing))? else {
        return Ok(());
    };
    let ours = found.labels().contains_key(RETAINED_LABEL)
        && found.annotations().get(NONCE_ANNOTATION) == Some(&user.nonce);
    if !ours {
        return Ok(());
    }
    let params = DeleteParams::default().preconditions(Preconditions {
        uid: found.uid(),
        resource_version: found.resource_version(),
    });
    match secrets.delete(&user.secret, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Error::from_kube(doing)(error)),
    }
}

/// The record of a user that is gone.
async fn forget(context: &Context, user: &Retained) -> Result<(), Error> {
    context.not_retained(&user.nonce);
    match context
        .own_secrets()
        .delete(&name(&user.nonce), &DeleteParams::default())
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Error::from_kube("delete the record of a retained user")(error)),
    }
}

/// The ids of an organization's retained users. Records of users that the platform neither lists nor finds are deleted.
pub(in crate::controller) async fn in_organization(
    context: &Context,
    organization: &str,
    snapshot: &UserListing,
    client: &client::Client,
) -> Result<BTreeSet<String>, Error> {
    let mut ids = BTreeSet::new();
    for user in all(context)
        .into_iter()
        .filter(|user| user.organization == organization)
    {
        let listed = snapshot.name_of(&user.user_id).is_some();
        if !listed && matches!(client.user(&user.user_id).await, Ok(None)) {
            forget(context, &user).await?;
        } else {
            ids.insert(user.user_id);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(nonce: &str) -> Retained {
        Retained {
            uid: "uid-1".to_owned(),
            nonce: nonce.to_owned(),
            user_id: "pu-1".to_owned(),
            class: "editors".to_owned(),
            organization: "acme".to_owned(),
            namespace: "payments".to_owned(),
            secret: "ci".to_owned(),
            issued_at: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            expire_at: Some("2027-01-01T00:00:00Z".parse().unwrap()),
            granted: None,
        }
    }

    #[test]
    fn a_round_begins_where_the_last_one_was_given_up() {
        let order = |last: Option<&str>| {
            let mut users = ["b", "c", "a"].map(user);
            begin_behind(last.map(str::to_owned).as_ref(), &mut users);
            users.map(|user| user.nonce).concat()
        };
        assert_eq!(order(None), "abc");
        assert_eq!(order(Some("a")), "bca");
        // The user may be gone.
        assert_eq!(order(Some("aa")), "bca");
        assert_eq!(order(Some("c")), "abc");
    }

    #[test]
    fn a_record_says_what_was_written_into_it() {
        let user = user("aaaabbbbccccdddd");
        let secret = build(&user);
        assert!(secret.data.is_none());
        let shown = |metadata: &ObjectMeta| {
            let json = serde_json::json!({ "metadata": metadata });
            serde_json::from_value::<PartialObjectMeta<Secret>>(json).unwrap()
        };
        assert_eq!(parse(&shown(&secret.metadata)), Some(user));
        let mut other = secret.metadata.clone();
        other.labels = None;
        assert_eq!(parse(&shown(&other)), None);
    }
}
