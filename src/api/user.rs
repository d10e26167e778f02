//! `ProgrammaticUser`: a user that reaches the platform by API only, and the Secret with its token.

mod access;
mod rotation;
mod secret;
mod status;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use access::{Access, AccountEntry, GroupEntry, PolicyEntry, Role, Scope};
pub use rotation::{Rotation, RotationWindow};
pub use secret::{SecretKeys, SecretSpec, SecretTemplate, SecretValue};
pub use status::{
    Abandoned, Consumer, Current, Granted, GrantedName, Journal, Pending, ProgrammaticUserStatus, Retiring,
    WorkloadKind,
};

/// A user that reaches the platform by API only, and the Secret that its token is put into.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "programmatic-users.io",
    version = "v1alpha1",
    kind = "ProgrammaticUser",
    namespaced,
    shortname = "pu",
    category = "programmatic-users",
    status = "ProgrammaticUserStatus",
    doc = "A user that reaches the platform by API only, and the Secret that its token is put into.",
    // An object that is there already has a status, and has to stay changeable, for its finalizer's sake.
    validation = Rule::new("has(self.status) || !self.metadata.name.startsWith('sh.helm.release.v1.')").message("an object is not named sh.helm.release.v1.…: Helm would take a Secret of that name for one of its releases"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.className"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Scope", type_ = "string", json_path = ".spec.scope", priority = 1),
    printcolumn(
        name = "Token",
        type_ = "string",
        json_path = ".status.tokenLastDigits",
        priority = 1
    ),
    // Times that are not by the API server's clock, or not in the past, are strings: of a date that is later than its
    // own clock kubectl prints `<invalid>`.
    printcolumn(
        name = "Issued",
        type_ = "string",
        json_path = ".status.tokenIssuedAt",
        priority = 1
    ),
    printcolumn(
        name = "Next-Rotation",
        type_ = "string",
        json_path = ".status.nextRotation",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.className == oldSelf.className").message("className cannot be changed: delete this object and make one with the other class").field_path(".className"))]
#[x_kube(validation = Rule::new("self.scope != 'Account' || !has(self.access) || (has(self.access.accounts) && size(self.access.accounts) == 1)").message("scope Account takes exactly one account: name it in access.accounts, or use scope: Organization for several").field_path(".access"))]
#[x_kube(validation = Rule::new("!has(self.access) || self.access.role == 'PolicyBased' || (has(self.access.accounts) && size(self.access.accounts) >= 1)").message("role Viewer or Editor needs at least one account in access.accounts").field_path(".access"))]
#[x_kube(validation = Rule::new("!has(self.access) || self.access.role != 'PolicyBased' || (has(self.access.policies) && size(self.access.policies) >= 1)").message("role PolicyBased needs at least one policy in access.policies").field_path(".access"))]
#[x_kube(validation = Rule::new("!has(self.access) || self.access.role == 'PolicyBased' || !has(self.access.policies) || size(self.access.policies) == 0").message("access.policies needs role: PolicyBased; with role Viewer or Editor leave policies out").field_path(".access"))]
#[x_kube(validation = Rule::new("!has(self.access) || self.access.role != 'PolicyBased' || !has(self.access.accounts) || self.access.accounts.all(a, !has(a.role))").message("an account's own role goes with role Viewer or Editor only; with PolicyBased the policies say what is allowed").field_path(".access"))]
#[x_kube(validation = Rule::new("self.scope != 'Account' || !has(self.access) || !has(self.access.policies) || !has(self.access.accounts) || self.access.policies.all(p, !has(p.accounts) || p.accounts.all(x, self.access.accounts.exists(a, a.id == x)))").message("scope Account: a policy holds in the one account of access.accounts; leave policies[].accounts out").field_path(".access"))]
#[x_kube(validation = Rule::new("self.scope != 'Account' || !has(self.access) || !has(self.access.groups) || size(self.access.groups) == 0").message("scope Account: a group acts wherever its policies hold, so access.groups needs scope: Organization").field_path(".access"))]
pub struct ProgrammaticUserSpec {
    /// The `ProgrammaticUserClass` that says in which organization the user is made and what it may be given.
    #[schemars(length(min = 1, max = 253))]
    pub class_name: String,
    /// `Account`: acts in exactly one account. `Organization`: acts in one or several accounts.
    pub scope: Scope,
    /// Name on the platform; the operator appends a marker (`/k8s.…`) by which it knows its own users. Default
    /// is the name of this object. Longer names than 23 characters are cut before the marker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("!self.matches('[+=@/]')").message("displayName may not contain + = @ or /: the platform refuses them (use - or . instead)"))]
    pub display_name: Option<String>,
    /// Shown on the platform beside the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub description: Option<String>,
    /// What the user may do. Default: the class's `defaults.access`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The Secret that the token is put into.
    #[serde(default)]
    pub secret: SecretSpec,
    /// When the token is replaced. Default: the class's `defaults.rotation`. Without any it is replaced on demand
    /// (annotation `programmatic-users.io/rotate-at`), and when the platform or the Secret lost it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// What happens to the workloads that read the Secret. Default: the class's `defaults.consumers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumers: Option<Consumers>,
    /// What happens to the user and the Secret when this object is deleted. `Retain` needs a class with
    /// `allow.deletionPolicies: [Delete, Retain]`.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// End of life: from then on there is no user and no Secret. This object stays and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<Timestamp>,
    /// Leave everything as it is: nothing is created, changed or repaired. Only where the class has `allow.suspend: true`.
    /// These do not wait: a deletion, `expireAt`, `revoke-now`, a class that does not allow the user any more and says
    /// `onRevoked: Revoke`, its `maxAge`, the end of an overlap.
    #[serde(default)]
    pub suspend: bool,
}

/// What happens to the workloads that read the Secret.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consumers {
    /// `OnRotation`: after the token was replaced, each `Deployment`, `StatefulSet` and `DaemonSet` of this namespace that
    /// reads the Secret is restarted, one after the other. `Never`: they are left alone.
    #[serde(default)]
    pub restart: Restart,
}

/// Whether workloads are restarted.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// They are left alone.
    #[default]
    Never,
    /// When the token was replaced, one workload at a time; paused ones, and those whose pods are all newer than the
    /// change, are left alone. Needs a controller that runs with `--consumers=restart`.
    OnRotation,
}

/// What happens when the object is deleted.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// User and Secret are deleted; the token is dead at once.
    #[default]
    Delete,
    /// User and Secret stay, and the token stays valid, until the class revokes it or it reaches the class's `maxAge`. The
    /// operator does not replace it any more. Where the class does not allow this, or is gone, both are deleted.
    Retain,
}
