//! The custom resources, group `programmatic-users.io`, version `v1alpha1`. Types only.
//!
//! The doc comments of fields are the users' reference: they reach the CRD and `kubectl explain`.

mod class;
mod duration;
mod names;
mod organization;
mod reason;
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
pub use reason::Reason;
pub use user::{
    Abandoned, Access, AccountEntry, Consumer, Consumers, Current, DeletionPolicy, Granted, GrantedName,
    GroupEntry, Journal, Pending, PolicyEntry, ProgrammaticUser, ProgrammaticUserSpec,
    ProgrammaticUserStatus, Restart, Retiring, Role, Rotation, RotationWindow, Scope, SecretKeys, SecretSpec,
    SecretTemplate, SecretValue, WorkloadKind,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
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
    .map(|(name, crd)| (name, bounded(crd)))
}

/// What `format: date-time` of the API server admits besides these, such as the offset `+99:99` or the year 9999, the
/// types of this crate cannot hold.
const TIME: &str = r"^[1-8][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";

/// The API server takes `format: int32` and `format: date-time` for more than this crate can read. A schema that is wider
/// than its reader lets a tenant make an object that cannot be read.
fn bounded(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas = crd.spec.versions.iter_mut().filter_map(|v| v.schema.as_mut());
    schemas
        .filter_map(|s| s.open_api_v3_schema.as_mut())
        .for_each(bound);
    crd
}

fn bound(schema: &mut JSONSchemaProps) {
    let range = match schema.format.as_deref() {
        Some("int32") => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
        Some("uint32") => Some((0.0, f64::from(u32::MAX))),
        // As far as a JSON number is exact everywhere.
        Some("int64") => Some((-9_007_199_254_740_991.0, 9_007_199_254_740_991.0)),
        Some("date-time") => {
            schema.pattern.get_or_insert_with(|| TIME.to_owned());
            None
        }
        _ => None,
    };
    if let Some((min, max)) = range {
        schema.minimum.get_or_insert(min);
        schema.maximum.get_or_insert(max);
    }
    schema
        .properties
        .iter_mut()
        .flat_map(|p| p.values_mut())
        .for_each(bound);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        bound(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        bound(values);
    }
}

/// An object without a status is done with in the eyes of kstatus. One that the operator has not reconciled yet is not, and so
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
