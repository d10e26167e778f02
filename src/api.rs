//! The custom resources, group `programmatic-users.io`, version `v1alpha1`. Types only.
//!
//! The doc comments of fields are the users' reference: they reach the CRD and `kubectl explain`.

mod class;
mod duration;
mod names;
mod organization;
mod user;

pub use class::{
    Allow, ClassDefaults, ClassRotation, NamespaceSelector, OnRevoked, ProgrammaticUserClass,
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

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// All custom resource definitions with the name of the file under `crds/` that each belongs in.
#[must_use]
pub fn crds() -> [(&'static str, CustomResourceDefinition); 3] {
    [
        ("organizations.yaml", Organization::crd()),
        ("programmaticuserclasses.yaml", ProgrammaticUserClass::crd()),
        ("programmaticusers.yaml", ProgrammaticUser::crd()),
    ]
}
