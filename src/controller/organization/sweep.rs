//! Removes what objects that are gone have left behind: users on the platform, new tokens kept for later.
//!
//! Nobody else will: an object's own reconcile ends with the object. The order of looking is what makes it safe:
//! first what may be left over, and then, from the API server and not from a cache, which objects there are. Nothing
//! is made for an object before the object is there, so what an earlier list shows a later list of objects explains.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::api::{
    MANAGED_BY_LABEL, MANAGER, ProgrammaticUser, RETAINED_LABEL, STAGING_LABEL, USER_ID_ANNOTATION,
};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::platforms::Platform;
use crate::plan::{Marker, is_marked};
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
    let live: BTreeSet<String> = live
        .iter()
        .map(|uid| Marker::new(&context.instance, uid, "").uid8)
        .collect();
    let client = platform.client().await;
    let mut gone = Vec::new();
    for (id, marker) in orphans.iter().filter(|(_, m)| !live.contains(&m.uid8)) {
        if context.lease_margin().is_zero() {
            break;
        }
        match delete(&client, id, marker).await {
            Ok(true) => {
                tracing::info!(
                    organization = name,
                    user_id = id,
                    "deleted a user whose object is gone"
                );
                context.metrics.orphan_deleted();
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

/// Deletes Secrets with new tokens whose objects are gone. Costs nothing while the watch shows none.
pub(super) async fn staging(context: &Context) -> Result<(), Error> {
    let known: BTreeSet<String> = context
        .caches
        .users
        .iter()
        .flat_map(|users| users.state())
        .filter_map(|user| user.uid())
        .collect();
    let staged = context.own_secrets.state();
    let mut values = staged.iter().filter_map(|s| s.labels().get(STAGING_LABEL));
    if !sees_all(context) || values.all(|uid| known.contains(uid)) {
        return Ok(());
    }
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &context.config.namespace);
    let params = ListParams::default().labels(STAGING_LABEL);
    let found = list_all("list the staged Secrets", std::slice::from_ref(&api), params).await?;
    let live = uids(context).await?;
    for secret in found {
        if secret
            .labels()
            .get(STAGING_LABEL)
            .is_none_or(|uid| live.contains(uid))
        {
            continue;
        }
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: secret.uid(),
            resource_version: None,
        });
        match api.delete(&secret.name_any(), &params).await {
            Ok(_) => tracing::info!(
                secret = secret.name_any(),
                "deleted a staged Secret whose object is gone"
            ),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return Err(Error::from_kube("delete a staged Secret")(error)),
        }
    }
    Ok(())
}
