//! The custom resources, group `programmatic-users.io`, version `v1alpha1`. Types only.
//!
//! The doc comments of fields are the users' reference: they reach the CRD and `kubectl explain`.

mod class;
mod duration;
mod names;
mod organization;
mod user;

pub use class::{
    Allow, AllowSecret, ClassDefaults, ClassRotation, NamespaceSelector, OnRevoked, ProgrammaticUserClass,
    ProgrammaticUserClassSpec, SecretDefaults,
};
pub use duration::Duration;
pub use names::*;
pub use organization::{
    CredentialStatus, Credentials, Drift, Endpoint, Limits, Organization, OrganizationSpec,
    OrganizationStatus, OrphanPolicy, UserCounts,
};
pub use user::{
    Abandoned, Access, AccountEntry, Consumer, Consumers, Current, DeletionPolicy, GroupEntry, Journal,
    Pending, PolicyEntry, ProgrammaticUser, ProgrammaticUserSpec, ProgrammaticUserStatus, Restart, Retiring,
    Role, Rotation, RotationWindow, Scope, SecretKeys, SecretSpec, SecretTemplate, SecretValue, WorkloadKind,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt;

/// All custom resource definitions with the name of the file under `crds/` that each belongs in.
#[must_use]
pub fn crds() -> [(&'static str, CustomResourceDefinition); 3] {
    [
        ("organizations.yaml", unobserved_at_first(Organization::crd())),
        ("programmaticuserclasses.yaml", ProgrammaticUserClass::crd()),
        (
            "programmaticusers.yaml",
            unobserved_at_first(ProgrammaticUser::crd()),
        ),
    ]
}

/// An object without a status is done with in the eyes of kstatus. One that nobody has looked at yet is not, and so
/// it says that it was looked at before its first generation.
fn unobserved_at_first(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas = crd.spec.versions.iter_mut().filter_map(|v| v.schema.as_mut());
    let roots = schemas.filter_map(|s| s.open_api_v3_schema.as_mut());
    for properties in roots.filter_map(|root| root.properties.as_mut()) {
        if let Some(status) = properties.get_mut("status") {
            status.default = Some(JSON(serde_json::json!({"observedGeneration": -1})));
        }
    }
    crd
}
