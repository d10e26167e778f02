//! What a user may do, and where.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
