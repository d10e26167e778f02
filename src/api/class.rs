//! `ProgrammaticUserClass`: what may be asked for, and by which namespaces.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Access, Consumers, DeletionPolicy, Duration, Role, Rotation, Scope, SecretKeys};

/// What may be asked for in one organization, and by which namespaces. Owned by cluster administrators, like a
/// `StorageClass`: a `ProgrammaticUser` names a class, and gets nothing that the class does not allow.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "programmatic-users.io",
    version = "v1alpha1",
    kind = "ProgrammaticUserClass",
    plural = "programmaticuserclasses",
    shortname = "puc",
    category = "programmatic-users",
    doc = "What may be asked for in one organization, and by which namespaces.",
    printcolumn(name = "Organization", type_ = "string", json_path = ".spec.organizationName"),
    printcolumn(name = "Scopes", type_ = "string", json_path = ".spec.scopes"),
    printcolumn(name = "Roles", type_ = "string", json_path = ".spec.allow.roles"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.organizationName == oldSelf.organizationName").message("organizationName cannot be changed: users of this class live in that organization. Make another class").field_path(".organizationName"))]
pub struct ProgrammaticUserClassSpec {
    /// The `Organization` in which users of this class are created.
    #[schemars(length(min = 1, max = 253))]
    pub organization_name: String,
    /// Scopes that users of this class may have.
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub scopes: Vec<Scope>,
    /// The ceiling of what may be asked for. An empty list allows nothing, `"*"` anything.
    #[serde(default)]
    pub allow: Allow,
    /// Which namespaces may use the class: none, unless named here.
    #[serde(default)]
    pub namespaces: NamespaceSelector,
    /// How many users of this class one namespace may have. No limit if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_users_per_namespace: Option<i32>,
    /// Bounds for the rotation that users may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<ClassRotation>,
    /// What becomes of users whose objects ask for more than the class allows: because it allows less than before, or
    /// because an object was changed.
    #[serde(default)]
    pub on_revoked: OnRevoked,
    /// What is used where a user's object says nothing. Applied at use, never written into the user's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<ClassDefaults>,
}

/// What becomes of users whose objects ask for more than the class allows.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnRevoked {
    /// The token stays valid up to `rotation.maxAge`; nothing is created, changed or replaced until the class allows it again.
    #[default]
    Keep,
    /// User and Secret are deleted, and the token is dead at once.
    Revoke,
}

/// The ceiling of a class. An empty list allows nothing, `"*"` anything.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allow {
    /// Account roles: `Viewer`, `Editor`, `PolicyBased`.
    #[serde(default)]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub roles: Vec<Role>,
    /// Account ids, or `"*"`. A policy for all accounts (`"*"`) needs `"*"` here.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 64)))]
    pub accounts: Vec<String>,
    /// Policies by id or by name, or `"*"`. A policy of the organization, which acts beyond the accounts of a user, needs
    /// `scope: Organization`, and `"*"` in `accounts`, too.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    pub policies: Vec<String>,
    /// Groups by id or by name, or `"*"`. A group acts wherever its policies hold, and needs `scope: Organization`. What a
    /// group that is named here may do is not compared with the other lists: name only groups whose policies you know.
    /// A group that only `"*"` allows may carry no policies but those in `policies`, and, if it carries any, needs `"*"`
    /// in `accounts`: the platform does not say in which accounts they hold.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    pub groups: Vec<String>,
    /// What objects may ask for in the shape of their Secrets, beyond what each object may. An object that asks for more
    /// is `Stalled` with `SecretNotAllowed`: nothing is made, written or replaced, and a token that is there stays valid.
    #[serde(default)]
    pub secret: AllowSecret,
    /// What may become of users when their objects are deleted. Default `[Delete]`. With `Retain`, users whose objects are gone
    /// stay valid: they count for `maxUsersPerNamespace` and end with `onRevoked: Revoke` and `rotation.maxAge` like the others.
    /// An object that asks for another policy gets no user (`DeletionPolicyNotAllowed`), and is deleted as with `Delete`.
    #[serde(default = "delete_only")]
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub deletion_policies: Vec<DeletionPolicy>,
    /// Whether `spec.suspend` has an effect. Default false: an object with `suspend: true` is looked after like any other, and
    /// its condition `Suspended` says so. Deletion, `expireAt`, revocation and `rotation.maxAge` do not wait for a suspended
    /// object in any case.
    #[serde(default)]
    pub suspend: bool,
}

/// What objects may ask for in the shape of their Secrets. Other programs act on names, labels, annotations, keys and
/// files of Secrets, so each list names what those may be: exactly, or by patterns in which `*` stands for any text. The
/// lists add to what is always allowed; `"*"` alone allows anything but what the API server refuses in every object: keys of
/// Kubernetes, of GitOps tools and of this operator, and names that Helm takes for its releases.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowSecret {
    /// Names of Secrets. Always allowed: the name of the object, if it has no dot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(regex(pattern = r"^[-.*a-z0-9]+$"), length(max = 253))
    )]
    pub names: Vec<String>,
    /// Keys of labels (`secret.template.labels`). Always allowed: `app.kubernetes.io/name`, `component`, `part-of` and
    /// `version`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(regex(pattern = r"^[-._/*a-zA-Z0-9]+$"), length(max = 317))
    )]
    pub labels: Vec<String>,
    /// Keys of annotations (`secret.template.annotations`). Always allowed: the same four as for labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(regex(pattern = r"^[-._/*a-zA-Z0-9]+$"), length(max = 317))
    )]
    pub annotations: Vec<String>,
    /// Keys of the Secret (`secret.keys`, `secret.extraKeys`), which become environment variables where a container takes
    /// the whole Secret. Always allowed: `SPOTINST_*`, `SPOT_*`, `token`, `account`, `endpoint`, `organization`, and the keys of
    /// the class's own `defaults.secret.keys`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(regex(pattern = r"^[-._*a-zA-Z0-9]+$"), length(max = 253))
    )]
    pub keys: Vec<String>,
    /// Keys of files (`secret.template.data`). Their text is the object's own, whatever reads the Secret. Always allowed:
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(regex(pattern = r"^[-._*a-zA-Z0-9]+$"), length(max = 253))
    )]
    pub template: Vec<String>,
}

impl Default for Allow {
    fn default() -> Self {
        Self {
            roles: Vec::new(),
            accounts: Vec::new(),
            policies: Vec::new(),
            groups: Vec::new(),
            secret: AllowSecret::default(),
            deletion_policies: delete_only(),
            suspend: false,
        }
    }
}

fn delete_only() -> Vec<DeletionPolicy> {
    vec![DeletionPolicy::Delete]
}

/// Namespaces that may use a class: those named, and those with all of the labels (if any are given).
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Namespaces by name.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    pub match_names: Vec<String>,
    /// Labels that a namespace must all have. Then those who may label namespaces decide which of them may use the class.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// Bounds for the rotation that users may ask for.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.maxAge) || !has(self.minOverlap) || duration(self.minOverlap) < duration(self.maxAge)").message("rotation.minOverlap has to be shorter than rotation.maxAge: a token is replaced, and its overlap over, before it is older than maxAge").field_path(".minOverlap"))]
pub struct ClassRotation {
    /// The oldest that a token may become, its overlap included: an object has to give `rotation.every`, and not a longer one.
    /// The operator replaces a token early enough for its overlap (`maxOverlap` where it waits for consumers) to end within
    /// `maxAge`, but not before half of `every`; where that is not early enough, it shortens the overlap. It revokes a token
    /// that reaches `maxAge` and that it cannot replace, since the object is refused: it deletes user and Secret (`TooOld`).
    /// Where a class gets a `maxAge`, or a shorter one, tokens that are older already have this long from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// The shortest overlap of an old and a new token that may be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_overlap: Option<Duration>,
}

/// What is used where a user's object says nothing.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassDefaults {
    /// Used as a whole if the user's object has no `access`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Used as a whole if the user's object has no `rotation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// Used as a whole if the user's object has no `consumers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumers: Option<Consumers>,
    /// For the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretDefaults>,
}

/// Defaults for the Secret.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretDefaults {
    /// Used as a whole if the user's object has no `secret.keys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<SecretKeys>,
}
