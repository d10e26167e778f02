//! `Organization`: one organization of the platform, and the credential to administer it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Duration;

/// One organization of the platform: where it is reached, and the admin credential that the operator uses there.
/// Owned by cluster administrators; users never name it, their class does.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "programmatic-users.io",
    version = "v1alpha1",
    kind = "Organization",
    shortname = "puo",
    category = "programmatic-users",
    status = "OrganizationStatus",
    doc = "One organization of the platform: where it is reached, and the admin credential that the operator uses there.",
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
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.endpoint.url"),
    printcolumn(name = "Managed", type_ = "integer", json_path = ".status.users.managed"),
    printcolumn(name = "Unmanaged", type_ = "integer", json_path = ".status.users.unmanaged"),
    printcolumn(name = "Orphaned", type_ = "integer", json_path = ".status.users.orphaned"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationSpec {
    /// Where the platform's API is.
    pub endpoint: Endpoint,
    /// The Secret, in the operator's own namespace, with the token of an organization admin. The operator sends nothing of a
    /// Secret that does not say where it may be sent: by annotation `programmatic-users.io/endpoint` (the `endpoint.url`),
    /// or `programmatic-users.io/organization` (the name of this object, whatever its endpoint); of both, both have to match.
    /// Otherwise the reason is `CredentialNotGranted`.
    pub credentials: Credentials,
    /// How hard the operator may use the platform.
    #[serde(default)]
    pub limits: Limits,
    /// How often the platform is compared with the cluster.
    #[serde(default)]
    pub drift: Drift,
    /// Keep this object, when it is deleted, until no `ProgrammaticUser` has a user in this organization: without
    /// it those users cannot be deleted on the platform any more. With the chart's admission policies, to set it to `false`
    /// needs verb `abandon-users` on organizations. Default true.
    #[serde(default = "default_true")]
    pub deletion_protection: bool,
    /// What happens to users of this installation whose `ProgrammaticUser` is gone, or does not know them.
    #[serde(default)]
    pub orphan_policy: OrphanPolicy,
}

/// Where the platform's API is.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.url.startsWith('https://') || (has(self.insecure) && self.insecure)").message("the admin credential must not travel in clear text: use an https:// url, or, for a platform on loopback or inside the cluster only, set insecure: true").field_path(".url"))]
pub struct Endpoint {
    /// Scheme, host and port, such as `https://api.spotinst.io`; no path, query or user. Link-local addresses and the
    /// metadata services of clouds are refused (`InvalidEndpoint`).
    #[schemars(regex(pattern = r"^https?://[a-zA-Z0-9.\[\]:-]+/?$"), length(max = 253))]
    pub url: String,
    /// Certificates (PEM) of the authorities to trust for this endpoint instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_bundle: Option<String>,
    /// How long one call may take, at most 1m. Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('1m')").message("endpoint.timeout is longer than 0s and at most 1m"))]
    pub timeout: Option<Duration>,
    /// Allow `http://`, on loopback, private addresses and `.svc` names only.
    #[serde(default)]
    pub insecure: bool,
}

/// The Secret with the admin token, in the operator's own namespace.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Name of the Secret. It is always looked up in the operator's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Key in the Secret. Default `token`.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// Key of the token before the current one. It is used when the current one is refused, until the Secret
    /// changes, so that a token can be replaced without a moment in which none is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub previous_key: Option<String>,
}

fn default_key() -> String {
    "token".to_owned()
}

fn default_true() -> bool {
    true
}

/// What happens to users of this installation that no `ProgrammaticUser` knows.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrphanPolicy {
    /// They are counted in the status, named by the condition `OrphansFound`, and left alone: after a restore of the
    /// cluster from a backup they may be the ones in use.
    #[default]
    Report,
    /// Those whose object is gone are deleted, once two lists a while apart show them; not those of objects with
    /// `deletionPolicy: Retain`. Only by an operator that watches all namespaces. Not
    /// for a cluster that was restored or copied.
    Delete,
}

/// How hard the operator may use the platform.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Calls a minute; after a rest, a tenth of them at once and beyond it. Default 300. The platform's own answers slow the operator further
    /// where needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub requests_per_minute: Option<i32>,
    /// Calls at one time. Default 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_in_flight: Option<i32>,
    /// New users an hour, rotations included; these leave a tenth of it to users that have no token yet and to revocations,
    /// which may go a tenth beyond it. Of each of these one namespace may take half, and at least one user: a namespace
    /// that makes and deletes users again and again leaves the other half to the others. A single namespace has to count with
    /// that half. `CreateBudgetExhausted` says which bound was met. Default 1000. Counted from the start of the operator's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub creates_per_hour: Option<i32>,
}

/// How often the platform is compared with the cluster.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// One list call for all users of the organization, whatever their number, in each interval, and a closer look
    /// at five of them in turn. Default 5m.
    pub interval: Duration,
}

impl Default for Drift {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(300),
        }
    }
}

/// What the operator found of the organization.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `CredentialValid`; `Stalled` while a person has to act, `OrphansFound` while there are users that no
    /// object knows, `ClockSkewed` while the platform's time is more than a day from the operator's, `DeletionBlocked` while
    /// the object is to be deleted and has users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many users the organization has, as of the last list that differed from the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<UserCounts>,
    /// The admin credential in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialStatus>,
}

/// Users of the organization, by who manages them.
#[derive(KubeSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserCounts {
    /// Programmatic users that this installation made, those that follow included.
    pub managed: i32,
    /// Programmatic users that this operator did not make.
    pub unmanaged: i32,
    /// Users of this installation that no `ProgrammaticUser` knows: its object is gone, or its journal does not name
    /// them.
    #[serde(default)]
    pub orphaned: i32,
    /// Users whose objects were deleted with `deletionPolicy: Retain`.
    #[serde(default)]
    pub retained: i32,
    /// Users whose token was replaced and whose overlap is not over.
    #[serde(default)]
    pub retiring: i32,
}

/// The admin credential in use.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// Last four characters of the token.
    pub last_digits: String,
    /// When the platform first accepted this token. Not renewed at each call: status changes only when facts do.
    pub last_verified: Timestamp,
}
