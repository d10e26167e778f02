//! What the operator did and found, and its record of what it asked the platform for.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::{Role, Scope};

/// What the operator did and found.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgrammaticUserStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `SecretPublished`, `AccessApplied`; `Reconciling` or `Stalled` while they are true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The organization in which the user lives, fixed at its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_name: Option<String>,
    /// The platform's id of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The Secret that carries the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Last four characters of the token, as the platform shows them too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_last_digits: Option<String>,
    /// When the token was made, by the platform's clock where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_issued_at: Option<Timestamp>,
    /// The token does not live longer: the class's `rotation.maxAge`. The operator replaces it before, or else revokes it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ends_at: Option<Timestamp>,
    /// When the token will be replaced because of its age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Timestamp>,
    /// The last value of the `rotate-at` annotation that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_rotate_at: Option<String>,
    /// The last value of the `revoke-now` annotation that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_revoke_now: Option<String>,
    /// Workloads whose pods read the Secret, by kind and name; 32 at most, those with old pods before the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"]))]
    pub consumers: Vec<Consumer>,
    /// How many more workloads there are than `consumers` lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_consumers: Option<u32>,
    /// The operator's record of what it asked the platform for. Not for other programs.
    #[serde(default, skip_serializing_if = "Journal::is_blank")]
    pub journal: Journal,
}

/// A workload whose pods read the Secret.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consumer {
    /// What it is.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
    /// Whether it still runs pods from before the Secret changed: their environment holds an older token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outdated: bool,
}

/// Kinds of workloads that are looked at.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// `apps/v1`.
    DaemonSet,
    /// `apps/v1`.
    Deployment,
    /// `apps/v1`.
    StatefulSet,
}

impl WorkloadKind {
    /// As manifests name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DaemonSet => "DaemonSet",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
        }
    }
}

/// The operator's record of what it asked the platform for, written before it asks.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// The attempt whose outcome is not known yet: the only ticket for one create call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// The user whose token the Secret carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Current>,
    /// Users whose tokens were replaced, until their overlap is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retiring: Vec<Retiring>,
    /// Attempts that were given up and may still have left a user behind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<Abandoned>,
    /// When the attempts of the last hour were begun: there is a bound, so that a tenant who deletes a Secret again
    /// and again can flood the organization.
    #[serde(rename = "begun", default, skip_serializing_if = "Vec::is_empty")]
    pub attempt_times: Vec<Timestamp>,
    /// Digest of this journal and of what else of the status is decided by. Where it does not fit, nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// The same, over the fields that the first version did not have as well. Absent: an older version wrote the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_checksum: Option<String>,
}

impl Journal {
    /// Whether it names nothing that may be on the platform.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_none()
            && self.current.is_none()
            && self.retiring.is_empty()
            && self.abandoned.is_empty()
    }

    /// Whether there is nothing to be kept.
    fn is_blank(&self) -> bool {
        *self == Self::default()
    }
}

/// An attempt whose outcome is not known yet.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Random, once used; part of the user's name on the platform.
    pub nonce: String,
    /// When it was written.
    pub started_at: Timestamp,
    /// Why a user is being made, such as `Create`, `Age`, `Requested`, `SpecChanged`, `SecretMissing`.
    pub reason: String,
    /// Digest of what it is being made of, see `current`.
    #[serde(default)]
    pub fingerprint: String,
    /// The Secret that its token is meant for.
    #[serde(default)]
    pub secret_name: String,
    /// Value of the `rotate-at` annotation when it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_at: Option<String>,
    /// Value of the `revoke-now` annotation when it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_now: Option<String>,
    /// What its user may do; see `current.granted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
}

/// The user whose token the Secret carries.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Current {
    /// The attempt that made it.
    pub nonce: String,
    /// The platform's id.
    pub user_id: String,
    /// Digest of what only a new user could change: name, description, roles, scope, shape of the Secret.
    pub fingerprint: String,
    /// Digest of the policies and groups that were applied last; absent until they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// What the user may do on the platform, or may have been able to do since the last change of `spec.access`. The operator
    /// writes it before it asks the platform for it, and compares the class with it. Absent: an older version made the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
    /// When the Secret got its token in place of an earlier user's, by the API server's clock; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_at: Option<Timestamp>,
}

/// A user whose token was replaced.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retiring {
    /// The attempt that made it.
    pub nonce: String,
    /// The platform's id.
    pub user_id: String,
    /// It is not deleted before this time, by the platform's clock.
    pub not_before: Timestamp,
    /// It is deleted at this time, by the platform's clock, although pods still use it; with `waitForConsumers`. No later than
    /// `notBefore`: it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// When the Secret got the next token, by the API server's clock: older pods may hold this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_at: Option<Timestamp>,
    /// The Secret that carried its token, if the new token went into another one: deleted together with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// What the user may do; see `current.granted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
}

/// What a user may do on the platform.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Granted {
    /// The level at which it acts.
    pub scope: Scope,
    /// Its roles, in whatever accounts.
    pub roles: Vec<Role>,
    /// Its accounts; `"*"`: those of a policy that names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// Its policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<GrantedName>,
    /// Its groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GrantedName>,
}

/// A policy or a group.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantedName {
    /// The platform's id, if it was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name, if the object or the class named it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Retiring {
    /// Whether it was revoked: the operator does not wait for the pods that use it.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.not_after.is_some_and(|at| at <= self.not_before)
    }

    /// From now on it has to die at once.
    pub fn revoke(&mut self, now: Timestamp) {
        self.not_before = self.not_before.min(now);
        self.not_after = Some(self.not_before);
    }
}

/// An attempt that was given up.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Abandoned {
    /// The attempt.
    pub nonce: String,
}
