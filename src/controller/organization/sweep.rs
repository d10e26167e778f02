//! Removes what objects that are gone have left behind: users on the platform, new tokens kept for later.
//!
//! Nobody else will: an object's own reconcile ends with the object. The order of looking is what makes it safe:
//! first what may be left over, and then, from the API server and not from a cache, which objects there are. Nothing
//! is made for an object before the object is there, so what an earlier list shows a later list of objects explains.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::api::{
    MANAGED_BY_LABEL, MANAGER, NONCE_ANNOTATION, ProgrammaticUser, RETAINED_LABEL, STAGED_FOR_ANNOTATION,
    STAGING_LABEL, USER_ID_ANNOTATION,
};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::platforms::Platform;
use crate::plan::{Marker, is_intact, is_marked};
use crate::platform::client;

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// All objects of a kind as the API server has them now, in the watched namespaces.
pub(super) async fn list_all<K>(
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
pub(super) fn everywhere<K>(context: &Context) -> Vec<Api<K>>
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
pub(super) fn sees_all(context: &Context) -> bool {
    context.config.watch_namespaces.is_empty()
}

/// Users whose tokens are in Secrets that were kept when their objects were deleted.
pub(super) async fn retained(context: &Context) -> Result<BTreeSet<String>, Error> {
    let labels = format!("{MANAGED_BY_LABEL}={MANAGER},{RETAINED_LABEL}");
    let secrets = list_all::<Secret>(
        "list the retained Secrets",
        &everywhere(context),
        ListParams::default().labels(&labels),
    )
    .await?;
    let user_of = |secret: PartialObjectMeta<Secret>| secret.annotations().get(USER_ID_ANNOTATION).cloned();
    Ok(secrets.into_iter().filter_map(user_of).collect())
}

async fn uids(context: &Context) -> Result<BTreeSet<String>, Error> {
    let doing = "list the ProgrammaticUsers";
    let all = list_all::<ProgrammaticUser>(doing, &everywhere(context), ListParams::default()).await?;
    Ok(all.into_iter().filter_map(|object| object.metadata.uid).collect())
}

/// Deletes those of `orphans`, found in a list of users, that no object explains now. The ids of those that are gone.
pub(super) async fn orphans(
    context: &Context,
    name: &str,
    platform: &Platform,
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
pub(super) async fn staging(context: &Context) -> Result<(), Error> {
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
            delete_staged(context, &secret).await?;
        }
    }
    Ok(())
}

fn is_watched(context: &Context, namespace: &str) -> bool {
    sees_all(context) || context.config.watch_namespaces.iter().any(|n| n == namespace)
}

async fn is_needed(
    context: &Context,
    namespace: &str,
    name: &str,
    uid: &str,
    nonce: &str,
) -> Result<bool, Error> {
    let api: Api<DeserializeGuard<ProgrammaticUser>> = Api::namespaced(context.client.clone(), namespace);
    let found = api
        .get_opt(name)
        .await
        .map_err(Error::from_kube("read the ProgrammaticUser"))?;
    let Some(object) = found.filter(|o| o.meta().uid.as_deref() == Some(uid)) else {
        return Ok(false);
    };
    // What cannot be read may say anything.
    let Ok(user) = object.0 else { return Ok(true) };
    let journal = user
        .status
        .as_ref()
        .map(|s| s.journal.clone())
        .unwrap_or_default();
    let named = journal.pending.is_some_and(|p| p.nonce == nonce)
        || journal.abandoned.iter().any(|a| a.nonce == nonce);
    Ok(named || !is_intact(&context.instance, &user))
}

async fn delete_staged(context: &Context, secret: &PartialObjectMeta<Secret>) -> Result<(), Error> {
    let params = DeleteParams::default().preconditions(Preconditions {
        uid: secret.uid(),
        resource_version: None,
    });
    let name = secret.name_any();
    match context.own_secrets().delete(&name, &params).await {
        Ok(_) => {
            tracing::info!(secret = name, "deleted a staged token that nobody needs");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(Error::from_kube("delete a staged Secret")(error)),
    }
}
