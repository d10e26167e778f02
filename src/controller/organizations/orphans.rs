//! Removes what objects that are gone have left behind: users on the platform, new tokens kept for later.
//!
//! No other code does: an object's own reconcile ends with the object. The order of the reads makes it safe:
//! first what may be left over, and then, from the API server and not from a cache, which objects there are. Nothing
//! is made for an object before the object is there, so what an earlier list shows a later list of objects explains.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::api::{
    MANAGED_BY_LABEL, MANAGER, NONCE_ANNOTATION, ProgrammaticUser, RETAINED_LABEL, STAGED_FOR_ANNOTATION,
    STAGING_LABEL, USER_ID_ANNOTATION,
};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::organizations::connections::Connection;
use crate::controller::watch::readable::Readable;
use crate::plan::{Marker, checksum_matches, is_marked};
use crate::platform::client;

/// Objects of one page of a list: a page is read as a whole, and the metadata of one may have hundreds of KiB.
const PAGE: u32 = 50;

/// All objects of a kind as the API server has them now, in the watched namespaces.
pub(in crate::controller) async fn list_all<K>(
    doing: &'static str,
    apis: &[Api<K>],
    params: ListParams,
) -> Result<Vec<PartialObjectMeta<K>>, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut all = Vec::new();
    for api in apis {
        // Without a resourceVersion a list is a quorum read; its later pages are of the same moment.
        let mut params = params.clone().limit(PAGE);
        loop {
            let page = api
                .list_metadata(&params)
                .await
                .map_err(Error::from_kube(doing))?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => break,
            }
        }
    }
    Ok(all)
}

/// Where objects of a namespaced kind are looked for.
pub(in crate::controller) fn scoped_apis<K>(context: &Context) -> Vec<Api<K>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match context.config.watch_namespaces.as_slice() {
        [] => vec![Api::all(context.client.clone())],
        some => some
            .iter()
            .map(|n| Api::namespaced(context.client.clone(), n))
            .collect(),
    }
}

/// Whether this operator sees all objects there are: only then the lack of one means something.
pub(in crate::controller) fn watches_all_namespaces(context: &Context) -> bool {
    context.config.watch_namespaces.is_empty()
}

/// Those of `orphans` whose tokens are in Secrets that an earlier version kept when their objects were deleted, without a
/// record of it. They are reported, and never deleted. The label alone says nothing: only what the operator wrote into the
/// Secret names id and attempt.
pub(in crate::controller) async fn still_needed(
    context: &Context,
    orphans: &BTreeMap<String, Marker>,
) -> Result<BTreeSet<String>, Error> {
    if orphans.is_empty() {
        return Ok(BTreeSet::new());
    }
    let labels = format!("{MANAGED_BY_LABEL}={MANAGER},{RETAINED_LABEL}");
    let secrets = list_all::<Secret>(
        "list the retained Secrets",
        &scoped_apis(context),
        ListParams::default().labels(&labels),
    )
    .await?;
    let user_of = |secret: PartialObjectMeta<Secret>| {
        let id = secret.annotations().get(USER_ID_ANNOTATION)?;
        let nonce = secret.annotations().get(NONCE_ANNOTATION)?;
        let marker = orphans.get(id)?;
        (marker.nonce == *nonce).then(|| id.clone())
    };
    Ok(secrets.into_iter().filter_map(user_of).collect())
}

async fn uids(context: &Context) -> Result<BTreeSet<String>, Error> {
    let doing = "list the ProgrammaticUsers";
    let all = list_all::<ProgrammaticUser>(doing, &scoped_apis(context), ListParams::default()).await?;
    Ok(all.into_iter().filter_map(|object| object.metadata.uid).collect())
}

/// Deletes those of `orphans`, found in a list of users, that no object explains now. The ids of those that are gone.
pub(in crate::controller) async fn orphans(
    context: &Context,
    name: &str,
    platform: &Connection,
    orphans: &BTreeMap<String, Marker>,
) -> Result<Vec<String>, Error> {
    let live = uids(context).await?;
    let live: BTreeMap<String, &String> = live
        .iter()
        .map(|uid| (Marker::new(&context.instance, uid, "").object, uid))
        .collect();
    let client = platform.client();
    let mut gone = Vec::new();
    for (id, marker) in orphans.iter().filter(|(_, m)| m.find(&live).is_none()) {
        if context.lease_margin().is_zero() {
            break;
        }
        match delete(client, id, marker).await {
            Ok(true) => {
                tracing::info!(
                    organization = name,
                    user_id = id,
                    "deleted a user whose object is gone"
                );
                context.metrics.orphan_deleted(name);
                gone.push(id.clone());
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(organization = name, user_id = id, %error, "an orphan was not deleted; it is tried again");
                break;
            }
        }
    }
    Ok(gone)
}

/// Reads the user first: a list says less of it.
async fn delete(client: &client::Client, id: &str, marker: &Marker) -> Result<bool, client::Error> {
    match client.user(id).await? {
        Some(details) if is_marked(&details, marker) => client.delete_user(id).await.map(|()| true),
        Some(_) => Ok(false),
        None => Ok(true),
    }
}

/// Deletes Secrets with new tokens that no attempt of their object needs any more: a process that is slow may put one
/// there when its attempt was given up, or its object deleted. Costs nothing while the watch shows none.
///
/// An attempt is in the journal before anything of it is staged, and not before everything is gone does it leave it.
pub(in crate::controller) async fn sweep_staging(context: &Context) -> Result<(), Error> {
    for secret in context.own_secrets.state() {
        let annotation = |key| secret.annotations().get(key).map(String::as_str);
        let object = annotation(STAGED_FOR_ANNOTATION).and_then(|o| o.split_once('/'));
        let (Some(uid), Some((namespace, name)), Some(nonce)) = (
            secret.labels().get(STAGING_LABEL),
            object,
            annotation(NONCE_ANNOTATION),
        ) else {
            continue;
        };
        if is_watched(context, namespace) && !is_needed(context, namespace, name, uid, nonce).await? {
            // The reconcile of the object may have deleted it meanwhile.
            let cached = context.own_secrets.get(&ObjectRef::from_obj(&*secret));
            if cached.is_some_and(|cached| cached.uid() == secret.uid()) {
                delete_staged(context, &secret).await?;
            }
        }
    }
    Ok(())
}

fn is_watched(context: &Context, namespace: &str) -> bool {
    watches_all_namespaces(context) || context.config.watch_namespaces.iter().any(|n| n == namespace)
}

async fn is_needed(
    context: &Context,
    namespace: &str,
    name: &str,
    uid: &str,
    nonce: &str,
) -> Result<bool, Error> {
    let api: Api<Readable> = Api::namespaced(context.client.clone(), namespace);
    let found = api
        .get_opt(name)
        .await
        .map_err(Error::from_kube("read the ProgrammaticUser"))?;
    // Of a status that cannot be read, nothing is intact.
    let Some(Readable { user, .. }) = found.filter(|o| o.meta().uid.as_deref() == Some(uid)) else {
        return Ok(false);
    };
    let journal = user
        .status
        .as_ref()
        .map(|s| s.journal.clone())
        .unwrap_or_default();
    let named = journal.pending.is_some_and(|p| p.nonce == nonce)
        || journal.abandoned.iter().any(|a| a.nonce == nonce);
    Ok(named || !checksum_matches(&context.instance, &user))
}

async fn delete_staged(context: &Context, secret: &PartialObjectMeta<Secret>) -> Result<(), Error> {
    let params = DeleteParams::default().preconditions(Preconditions {
        uid: secret.uid(),
        resource_version: None,
    });
    let name = secret.name_any();
    match context.own_secrets().delete(&name, &params).await {
        Ok(_) => {
            tracing::info!(secret = name, "deleted a staged token that no object needs");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(Error::from_kube("delete a staged Secret")(error)),
    }
}
