//! Wire types and error model of the platform's administration API.
//!
//! This crate is all that the operator's client ([`client`]) and the embedded platform share. Field names and shapes are those of the published API description; where its sources disagree, the
//! comment at the type says which one is followed.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod audit;
mod bounded;
pub mod client;
mod time;
mod token;

use serde::{Deserialize, Serialize};

pub use audit::{ActorType, AuditEvent, AuditQuery};
pub use bounded::Bounded;
pub use time::{format_time, parse_time, parse_token_time};
pub use token::Token;

/// The body of every reply: the request and its result.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// What the server understood of the request. The published example of one route omits it; readers must not
    /// depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestInfo>,
    /// The answer.
    pub response: Reply<T>,
}

/// The `request` part of an [`Envelope`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestInfo {
    /// A UUID that the platform's support asks for.
    pub id: String,
    /// Path and query.
    #[serde(default)]
    pub url: String,
    /// HTTP method.
    #[serde(default)]
    pub method: String,
    /// ISO 8601, UTC.
    #[serde(default)]
    pub timestamp: String,
}

/// The `response` part of an [`Envelope`].
///
/// Success carries `kind`, `items` and `count` (absent on routes that answer by status alone), failure `errors`,
/// except 429, which carries `data` and no `errors`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct Reply<T> {
    /// HTTP status again, in words.
    pub status: StatusLine,
    /// Such as `spotinst:setup:organization:user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The objects asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<T>>,
    /// Number of `items`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<ErrorItem>>,
    /// Only on 429: a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// HTTP status in the body.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusLine {
    /// HTTP status code.
    pub code: u16,
    /// Its standard text.
    pub message: String,
}

/// One error of a failed reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorItem {
    /// `ValidationError` for schema faults, `SCREAMING_SNAKE` otherwise.
    #[serde(default)]
    pub code: String,
    /// A sentence.
    #[serde(default)]
    pub message: String,
    /// Dotted path of the offending field, its source first (`query.accountId`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// Role in one account, as the create call takes it. After creation a role has the shape of a built-in policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountRole {
    /// May read.
    Viewer,
    /// May read and change.
    Editor,
}

/// The two kinds of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserType {
    /// A console user, with e-mail address and password.
    Personal,
    /// Reaches the platform by API only.
    Programmatic,
}

/// One account of a create call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccountGrant {
    /// `act-…`
    pub id: String,
    /// Role in that account.
    pub role: AccountRole,
}

/// A policy given to a user or a group, and the accounts in which it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyGrant {
    /// `pol-…`, or a bare number for the built-in ones.
    pub policy_id: String,
    /// Accounts; `["*"]` is all present and future ones. May be left out for policies of the organization.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub account_ids: Vec<String>,
}

impl PolicyGrant {
    /// Adds an account to the grant of a policy, which it makes if `grants` has none yet.
    pub fn add(grants: &mut Vec<Self>, policy_id: &str, account_id: &str) {
        match grants.iter_mut().find(|g| g.policy_id == policy_id) {
            Some(grant) => grant.account_ids.push(account_id.to_owned()),
            None => grants.push(Self {
                policy_id: policy_id.to_owned(),
                account_ids: vec![account_id.to_owned()],
            }),
        }
    }
}

/// Body of `POST /setup/user/programmatic`: either `accounts` or `policies`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateProgrammaticUser {
    /// May not hold `+`, `=` or `@`. Not unique on the platform.
    pub name: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Roles by account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountGrant>,
    /// Policies by account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyGrant>,
}

/// Reply of `POST /setup/user/programmatic`: the only place where the token ever appears.
///
/// Neither `Debug` nor `Serialize`, like [`Token`] itself.
#[derive(Deserialize)]
pub struct CreatedUser {
    /// Shown once.
    pub token: Token,
    /// As sent.
    #[serde(default)]
    pub name: String,
    /// `pu-…`
    pub id: String,
}

/// Body of `PUT /setup/user/{id}/policyMapping`: replaces all direct policies.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolicyMapping {
    /// The whole new set.
    pub policies: Vec<PolicyGrant>,
}

/// Body of `PUT /setup/user/{id}/userGroupMapping`: replaces all groups.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupMapping {
    /// The whole new set. One SDK leaves the field out when it is empty.
    #[serde(default)]
    pub user_group_ids: Vec<String>,
}

/// One user in `GET /setup/organization/user`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserSummary {
    /// `u-…` or `pu-…`
    pub user_id: String,
    /// The `name` of the create call.
    #[serde(default)]
    pub username: String,
    /// Which kind of user.
    #[serde(rename = "type")]
    pub user_type: UserType,
    /// Console users only.
    #[serde(default)]
    pub email: Option<String>,
    /// A boolean: the description's own example quotes it, its clients want a boolean.
    #[serde(default)]
    pub mfa: bool,
    /// Groups by name.
    #[serde(default)]
    pub group_names: Vec<String>,
}

/// What is kept of one user in `GET /setup/organization/user`. There may be many.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserName {
    /// `u-…` or `pu-…`
    pub user_id: Box<str>,
    /// The `name` of the create call.
    #[serde(default)]
    pub username: Box<str>,
    /// Which kind of user.
    #[serde(rename = "type")]
    pub user_type: UserType,
}

/// The one item of `GET /setup/user/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserDetails {
    /// `u-…` or `pu-…`
    pub user_id: String,
    /// The `name` of the create call.
    #[serde(default)]
    pub username: String,
    /// Which kind of user.
    #[serde(rename = "type")]
    pub user_type: UserType,
    /// Console users only.
    #[serde(default)]
    pub email: Option<String>,
    /// Second factor.
    #[serde(default)]
    pub mfa: bool,
    /// Not in the description, but clients read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Groups that the user is in.
    #[serde(default, deserialize_with = "bounded::few")]
    pub groups: Vec<UserGroupRef>,
    /// Direct policies, not those of groups.
    #[serde(default, deserialize_with = "bounded::few")]
    pub policies: Vec<UserPolicy>,
    /// What is known of its tokens, never a token.
    #[serde(default, deserialize_with = "bounded::few")]
    pub tokens: Vec<TokenInfo>,
}

/// A group in [`UserDetails`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserGroupRef {
    /// `ugr-…`
    pub id: String,
    /// Display name.
    #[serde(default)]
    pub name: String,
    /// Policies of the group by name.
    #[serde(default)]
    pub policy_names: Vec<String>,
}

/// A policy in [`UserDetails`] and group details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserPolicy {
    /// `pol-…` or a number.
    pub policy_id: String,
    /// Display name.
    #[serde(default)]
    pub policy_name: String,
    /// `ACCOUNT`, `ORGANIZATION`, `SPOT_MANAGED_ACCOUNT` or `SPOT_MANAGED_ORGANIZATION`.
    #[serde(default)]
    pub policy_type: String,
    /// Where it holds.
    #[serde(default)]
    pub account_ids: Vec<String>,
}

/// What the platform shows of a token after its creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    /// Display name.
    #[serde(default)]
    pub name: String,
    /// See [`parse_time`].
    #[serde(default)]
    pub created_at: String,
    /// Serial number.
    #[serde(default)]
    pub token_id: i64,
    /// The last four characters.
    #[serde(default)]
    pub token_last_digits: String,
    /// Not in the description; the embedded platform sends it, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
}

/// One account in `GET /setup/account`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// `act-…`
    pub account_id: String,
    /// Display name; not unique.
    #[serde(default)]
    pub name: String,
    /// A string: the description says integer, its clients want a string.
    #[serde(default)]
    pub organization_id: Option<String>,
    /// Id of the linked cloud account.
    #[serde(default)]
    pub provider_external_id: Option<String>,
    /// `AWS`, `GCP`, `AZURE`.
    #[serde(default)]
    pub cloud_provider: Option<String>,
}

/// One policy in `GET /setup/organization/policy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// `pol-…` or a number.
    pub id: String,
    /// Display name.
    #[serde(default)]
    pub name: String,
    /// Free text.
    #[serde(default)]
    pub description: Option<String>,
    /// `ACCOUNT`, `ORGANIZATION`, `SPOT_MANAGED_ACCOUNT` or `SPOT_MANAGED_ORGANIZATION`.
    #[serde(rename = "type", default)]
    pub policy_type: String,
    /// The document; the client does not read it, see [`PolicyName`].
    #[serde(default)]
    pub policy_content: serde_json::Value,
    /// See [`parse_time`].
    #[serde(default)]
    pub created_at: Option<String>,
    /// See [`parse_time`].
    #[serde(default)]
    pub updated_at: Option<String>,
}

/// What is kept of one policy in `GET /setup/organization/policy`. Its document may be long, and is passed over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyName {
    /// `pol-…` or a number.
    pub id: String,
    /// Display name.
    #[serde(default)]
    pub name: String,
    /// `ACCOUNT`, `ORGANIZATION`, `SPOT_MANAGED_ACCOUNT` or `SPOT_MANAGED_ORGANIZATION`.
    #[serde(rename = "type", default)]
    pub policy_type: String,
}

/// One group in `GET /setup/access/userGroup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserGroup {
    /// `ugr-…`
    pub id: String,
    /// Display name.
    #[serde(default)]
    pub name: String,
    /// Free text.
    #[serde(default)]
    pub description: Option<String>,
    /// See [`parse_time`].
    #[serde(default)]
    pub created_at: Option<String>,
    /// Members.
    #[serde(default)]
    pub users_count: i64,
    /// Policies by name.
    #[serde(default)]
    pub policy_names: Vec<String>,
}
