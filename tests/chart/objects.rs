//! `ProgrammaticUser`s as a client other than the operator sends them, with any content.

use kube::api::DynamicObject;
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Api, Client};

/// The users of a namespace.
pub fn users(client: Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("programmatic-users.io", "v1alpha1", "ProgrammaticUser");
    let resource = ApiResource::from_gvk_with_plural(&kind, "programmaticusers");
    Api::namespaced_with(client, namespace, &resource)
}
