//! Finalizers of objects of the whole cluster.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::core::ClusterResourceScope;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::controller::context::Context;
use crate::controller::error::Error;

/// Adds or removes a finalizer; `None`: the object is gone. With the resourceVersion this is a compare-and-swap: no
/// finalizer of another controller can be lost, and an object that was deleted in the meantime gets none.
pub(in crate::controller) async fn set<K>(
    context: &Context,
    object: &K,
    finalizer: &str,
    present: bool,
    doing: &'static str,
) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned,
{
    let mut finalizers = object.finalizers().to_vec();
    finalizers.retain(|f| f != finalizer);
    if present {
        finalizers.push(finalizer.to_owned());
    }
    let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": finalizers}});
    let api: Api<K> = Api::all(context.client.clone());
    let written = api
        .patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch))
        .await;
    match written {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(Error::from_kube(doing)(error)),
    }
}
