//! Objects of the cluster, read page by page.

use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Resource, ResourceExt as _};

use super::cluster::Cluster;
use super::outcome::Failure;
use super::view::UserView;
use crate::api::{Organization, ProgrammaticUser};

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// Objects of one of our kinds, in any version: of a namespace, or of the whole cluster.
pub(super) fn api<K: Resource<DynamicType = ()>>(
    cluster: &Cluster,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<K>(&());
    match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &kind),
        None => Api::all_with(cluster.client.clone(), &kind),
    }
}

/// All of a list.
pub(super) async fn list<K>(api: &Api<K>, mut params: ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    params = params.limit(PAGE);
    let mut all = Vec::new();
    loop {
        let page = api.list(&params).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(all),
        }
    }
}

/// The users of a namespace, or all, by namespace and name.
pub(super) async fn users(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<UserView>, kube::Error> {
    let objects = list(
        &api::<ProgrammaticUser>(cluster, namespace),
        ListParams::default(),
    )
    .await?;
    let mut users: Vec<UserView> = objects.iter().map(UserView::new).collect();
    users.sort_by_cached_key(|u| (u.namespace.clone(), u.name.clone()));
    Ok(users)
}

/// One user.
pub(super) async fn user(cluster: &Cluster, name: &str) -> Result<DynamicObject, Failure> {
    let namespace = &cluster.namespace;
    api::<ProgrammaticUser>(cluster, Some(namespace))
        .get(name)
        .await
        .map_err(|e| no_user(cluster, name, "read", &e))
}

/// The message for a failed request for a user.
pub(super) fn no_user(cluster: &Cluster, name: &str, doing: &str, error: &kube::Error) -> Failure {
    let namespace = &cluster.namespace;
    if matches!(error, kube::Error::Api(s) if s.code == 404) && !super::cluster::is_unknown_kind(error) {
        return Failure::Failed(format!(
            "there is no ProgrammaticUser {name} in namespace {namespace}: `get` lists those of all namespaces, -n chooses one"
        ));
    }
    cluster.failed(&format!("{doing} ProgrammaticUser {namespace}/{name}"), error)
}

/// The Organization of this name, or the only one.
pub(super) async fn organization(cluster: &Cluster, name: Option<&str>) -> Result<Organization, Failure> {
    let found = match name {
        Some(name) => {
            let found = api::<Organization>(cluster, None).get_opt(name).await;
            found
                .map_err(|e| cluster.failed(&format!("read Organization {name}"), &e))?
                .ok_or_else(|| {
                    Failure::Failed(format!(
                        "there is no Organization {name}: `kubectl get puo` lists them"
                    ))
                })?
        }
        None => only(organizations(cluster).await?)?,
    };
    let name = found.name_any();
    found.try_parse().map_err(|_| {
        Failure::Failed(format!(
            "Organization {name} cannot be read by this version: use the program of the operator's version"
        ))
    })
}

/// All Organizations, by name.
pub(super) async fn organizations(cluster: &Cluster) -> Result<Vec<DynamicObject>, Failure> {
    let mut all = list(&api::<Organization>(cluster, None), ListParams::default())
        .await
        .map_err(|e| cluster.failed("list the Organizations", &e))?;
    all.sort_by_cached_key(kube::ResourceExt::name_any);
    Ok(all)
}

fn only(mut all: Vec<DynamicObject>) -> Result<DynamicObject, Failure> {
    match (all.pop(), all.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => Err(Failure::Failed(
            "there is no Organization in this cluster: create one (docs/reference.md), or, for `audit`, give --endpoint"
                .to_owned(),
        )),
        (Some(last), _) => {
            let names: Vec<String> = all.iter().chain([&last]).map(kube::ResourceExt::name_any).collect();
            Err(Failure::Usage(format!(
                "there are several Organizations: give --organization with one of {}",
                names.join(", ")
            )))
        }
    }
}
