//! `ProgrammaticUser`: a user that reaches the platform by API only, and the Secret with its token.

mod status;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Duration;
pub use status::{
    Abandoned, Consumer, Current, Granted, GrantedName, Journal, Pending, ProgrammaticUserStatus, Retiring,
    WorkloadKind,
};

/// CEL: no key of a map of labels or annotations has a meaning for others.
const FREE_KEYS: &str = "self.all(k, !k.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|argoproj[.]io|fluxcd[.]io|helm[.]sh|programmatic-users[.]io)/') || k in ['app.kubernetes.io/name', 'app.kubernetes.io/component', 'app.kubernetes.io/part-of', 'app.kubernetes.io/version'])";
/// CEL: each key is one of labels or annotations.
const METADATA_KEYS: &str = "self.all(k, size(k) <= 253 && k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))";
/// CEL: each key is one of a Secret's data.
const SECRET_KEYS: &str = "self.all(k, k.matches('^[-._a-zA-Z0-9]{1,253}$'))";

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

/// At which level a user acts.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// In one or several accounts of the organization.
    Organization,
    /// In exactly one account.
    Account,
}

/// The console's "Account Role".
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// May read.
    Viewer,
    /// May read and change.
    Editor,
    /// The policies say what is allowed.
    PolicyBased,
}

/// What a user may do.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// `Viewer`, `Editor`, or `PolicyBased` together with `policies`.
    pub role: Role,
    /// The accounts in which the role holds. With `PolicyBased`: the accounts for policies that name none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub accounts: Vec<AccountEntry>,
    /// Policies by name or id: required with, and only with, role `PolicyBased`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub policies: Vec<PolicyEntry>,
    /// Groups by name or id. They act wherever their policies hold, and need `scope: Organization`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub groups: Vec<GroupEntry>,
}

/// One account.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.role) || self.role != 'PolicyBased'").message("an account's own role is Viewer or Editor").field_path(".role"))]
pub struct AccountEntry {
    /// Such as `act-11aa22bb`.
    #[schemars(regex(pattern = r"^act-[0-9a-zA-Z]+$"), length(max = 64))]
    pub id: String,
    /// A role for this account that differs from `access.role`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// One policy, by exactly one of name and id.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.name) != has(self.id)").message("name a policy by exactly one of name and id"))]
pub struct PolicyEntry {
    /// The policy's name; it has to be the only one of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
    /// Such as `pol-1a2b3c4d`, or a number for a built-in policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(pol-[0-9a-zA-Z]+|[0-9]+)$"), length(max = 64))]
    pub id: Option<String>,
    /// Accounts in which it holds, or `["*"]` for all present and future ones. Default: `access.accounts`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(regex(pattern = r"^(\*|act-[0-9a-zA-Z]+)$"), length(max = 64))
    )]
    #[x_kube(validation = Rule::new("!('*' in self) || size(self) == 1").message("\"*\" already means all accounts: name no other beside it"))]
    pub accounts: Vec<String>,
}

/// One group, by exactly one of name and id.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.name) != has(self.id)").message("name a group by exactly one of name and id"))]
pub struct GroupEntry {
    /// The group's name; it has to be the only one of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
    /// Such as `ugr-1a2b3c4d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^u[gr][gr]-[0-9a-zA-Z]+$"), length(max = 64))]
    pub id: Option<String>,
}

/// The Secret that the token is put into.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.keys) || !has(self.extraKeys) || !((has(self.keys.token) && self.keys.token in self.extraKeys) || (has(self.keys.account) && self.keys.account in self.extraKeys) || (has(self.keys.endpoint) && self.keys.endpoint in self.extraKeys) || (has(self.keys.organization) && self.keys.organization in self.extraKeys))").message("a key may carry one value only: secret.extraKeys repeats a key of secret.keys").field_path(".extraKeys"))]
pub struct SecretSpec {
    /// Default is the name of this object. Any other name, and one with a dot, has to be in the class's
    /// `allow.secret.names`. A Secret of that name that the operator did not make is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("!self.startsWith('sh.helm.release.v1.')").message("a Secret is not named sh.helm.release.v1.…: Helm would take it for one of its releases"))]
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"), length(max = 253))]
    pub name: Option<String>,
    /// Under which key each value goes. Default: the class's `defaults.secret.keys`, else
    /// `token: SPOTINST_TOKEN` and `account: SPOTINST_ACCOUNT`, which the platform's own clients read from their
    /// environment. Keys other than `SPOTINST_*`, `SPOT_*`, `token`, `account`, `endpoint`, `organization` and the class's
    /// default have to be in the class's `allow.secret.keys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<SecretKeys>,
    /// More keys for the same values: key in the Secret, and which value it carries. The class allows them as those of
    /// `keys`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    #[x_kube(validation = Rule::new(SECRET_KEYS).message("keys of a Secret consist of letters, digits, - _ and ."))]
    pub extra_keys: BTreeMap<String, SecretValue>,
    /// Labels, annotations and rendered files. The Secret's type is always `Opaque`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<SecretTemplate>,
    /// Which account goes into the Secret. Default: the only one; with several accounts none, unless named here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^act-[0-9a-zA-Z]+$"), length(max = 64))]
    pub account: Option<String>,
}

/// Under which key of the Secret each value goes.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeys {
    /// Key of the token. Default `SPOTINST_TOKEN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[-._a-zA-Z0-9]+$"), length(max = 253))]
    pub token: Option<String>,
    /// Key of the account id. Default `SPOTINST_ACCOUNT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[-._a-zA-Z0-9]+$"), length(max = 253))]
    pub account: Option<String>,
    /// Key of the platform's URL. Default: not in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[-._a-zA-Z0-9]+$"), length(max = 253))]
    pub endpoint: Option<String>,
    /// Key of the `Organization`'s name. Default: not in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[-._a-zA-Z0-9]+$"), length(max = 253))]
    pub organization: Option<String>,
}

/// A value that the Secret can carry.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretValue {
    /// The token.
    Token,
    /// The account id.
    Account,
    /// The platform's URL.
    Endpoint,
    /// The name of the `Organization`.
    Organization,
}

impl SecretValue {
    /// As manifests and templates name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Account => "account",
            Self::Endpoint => "endpoint",
            Self::Organization => "organization",
        }
    }
}

/// Labels, annotations and rendered files of the Secret.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// Labels of the Secret; the class's `allow.secret.labels` names their keys. Those of this object are not inherited: a GitOps tool would take the Secret for one of its own
    /// and delete it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    #[x_kube(validation = Rule::new(FREE_KEYS).message("labels of Kubernetes, of GitOps tools and of this operator have a meaning of their own: use a key of your own domain (app.kubernetes.io/name, component, part-of and version may be set)"))]
    #[x_kube(validation = Rule::new(METADATA_KEYS).message("keys of labels are letters, digits, - _ and ., after an optional domain and /"))]
    #[x_kube(validation = Rule::new("self.all(k, self[k].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$'))").message("values of labels are at most 63 letters, digits, - _ and ."))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Secret; the class's `allow.secret.annotations` names their keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    #[x_kube(validation = Rule::new("self.map(k, size(bytes(self[k]))).sum() <= 16384").message("secret.template.annotations may have 16384 bytes in all"))]
    #[x_kube(validation = Rule::new(FREE_KEYS).message("annotations of Kubernetes, of GitOps tools and of this operator have a meaning of their own: use a key of your own domain (app.kubernetes.io/name, component, part-of and version may be set)"))]
    #[x_kube(validation = Rule::new(METADATA_KEYS).message("keys of annotations are letters, digits, - _ and ., after an optional domain and /"))]
    pub annotations: BTreeMap<String, String>,
    /// Files by key, which the class's `allow.secret.template` names: text with `{{ token }}`, `{{ account }}`, `{{ endpoint }}` and `{{ organization }}` in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 8192}))]
    #[x_kube(validation = Rule::new("self.all(k, size(bytes(self[k])) <= 8192) && self.map(k, size(bytes(self[k]))).sum() <= 65536").message("each file of secret.template.data may have 8192 bytes, and all together 65536"))]
    #[x_kube(validation = Rule::new(SECRET_KEYS).message("keys of a Secret consist of letters, digits, - _ and ."))]
    pub data: BTreeMap<String, String>,
}

/// When a token is replaced.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.windows) || size(self.windows) == 0 || has(self.every)").message("rotation.windows needs rotation.every: windows say when a token that is old enough is replaced").field_path(".windows"))]
#[x_kube(validation = Rule::new("!has(self.every) || duration(has(self.overlap) ? self.overlap : '24h') < duration(self.every)").message("rotation.overlap, 24h by default, has to be shorter than rotation.every, or more and more old tokens stay valid").field_path(".overlap"))]
#[x_kube(validation = Rule::new("!has(self.waitForConsumers) || !self.waitForConsumers || has(self.maxOverlap)").message("rotation.waitForConsumers needs rotation.maxOverlap: without a bound a rollout that is stuck would keep an old token valid for ever").field_path(".maxOverlap"))]
#[x_kube(validation = Rule::new("!has(self.maxOverlap) || (has(self.waitForConsumers) && self.waitForConsumers)").message("rotation.maxOverlap needs rotation.waitForConsumers: true; without it rotation.overlap says how long the old token stays valid").field_path(".maxOverlap"))]
#[x_kube(validation = Rule::new("!has(self.maxOverlap) || duration(self.maxOverlap) >= duration(has(self.overlap) ? self.overlap : '24h')").message("rotation.maxOverlap has to be as long as rotation.overlap, 24h by default, or longer").field_path(".maxOverlap"))]
#[x_kube(validation = Rule::new("!has(self.maxOverlap) || !has(self.every) || duration(self.maxOverlap) < duration(self.every)").message("rotation.maxOverlap has to be shorter than rotation.every, or more and more old tokens stay valid").field_path(".maxOverlap"))]
pub struct Rotation {
    /// Age at which a token is replaced, by the platform's clock. Up to a tenth of it earlier, by a share that is
    /// fixed for each token, so that not all are replaced at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("rotation.every has to be 1m or longer"))]
    pub every: Option<Duration>,
    /// How long the old token stays valid beside the new one. Default 24h: environment variables of running pods
    /// never change. Shorter than `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Duration>,
    /// Keep the old token valid after the overlap, too, while a pod runs that reads the Secret and was there before it
    /// changed; needs `maxOverlap`. `revoke-now` and `expireAt` do not wait.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wait_for_consumers: bool,
    /// The old token dies after this at the latest, also if pods still use it. At least `overlap`; shorter than `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_overlap: Option<Duration>,
    /// Replace by age only within these; a token that would become older than the class's `maxAge` does not wait for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub windows: Vec<RotationWindow>,
}

/// A repeated span of time.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationWindow {
    /// Start, as five cron fields: minute (0-59), hour (0-23), day of month (1-31; `L` is the last), month (1-12 or
    /// JAN-DEC), day of week (0-7 or SUN-SAT; 0 and 7 are Sunday; `FRI#2` is the second Friday of the month, `FRIL` the
    /// last). Each is `*`, or a list of values and ranges, with steps behind a `/`. If both kinds of days are restricted,
    /// either is enough. A start that clocks skip is the moment at which they go on; one that they show twice is the first
    /// of the two. Fields that cannot be read, or that no day has within 40 years, are refused with the reason `InvalidSpec`.
    #[schemars(length(min = 9, max = 128))]
    pub cron: String,
    /// IANA name, such as `Europe/Berlin`. Default UTC. An unknown one is refused with the reason `InvalidSpec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub time_zone: Option<String>,
    /// How long it stays open; a week at most.
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('168h')").message("the duration of a rotation window is longer than 0s and at most 168h"))]
    pub duration: Duration,
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
