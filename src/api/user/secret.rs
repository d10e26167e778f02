//! The Secret that the token is put into.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// CEL: no key of a map of labels or annotations has a meaning for others.
const FREE_KEYS: &str = "self.all(k, !k.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|argoproj[.]io|fluxcd[.]io|helm[.]sh|programmatic-users[.]io)/') || k in ['app.kubernetes.io/name', 'app.kubernetes.io/component', 'app.kubernetes.io/part-of', 'app.kubernetes.io/version'])";
/// CEL: each key is one of labels or annotations.
const METADATA_KEYS: &str = "self.all(k, size(k) <= 253 && k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))";
/// CEL: each key is one of a Secret's data.
const SECRET_KEYS: &str = "self.all(k, k.matches('^[-._a-zA-Z0-9]{1,253}$'))";

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
