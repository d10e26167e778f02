//! Every route of the API: which path is which action, and who handles it.

mod access;
mod accounts;
mod audit;
mod elastigroups;
mod users;

use std::collections::HashMap;

use axum::http::Method;
use serde::de::DeserializeOwned;

use super::auth::Principal;
use super::reply::{Failure, Output};
use super::store::Db;

/// One request of somebody who has proven who they are.
pub(super) struct Call<'a> {
    pub(super) principal: &'a Principal,
    pub(super) query: &'a HashMap<String, String>,
    pub(super) body: &'a [u8],
    /// The id in the path.
    pub(super) id: &'a str,
}

impl Call<'_> {
    /// The body; the error says where it is wrong and not what was there.
    fn body<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(self.body).map_err(|e| {
            let message = e.to_string();
            let missing = message
                .strip_prefix("missing field `")
                .and_then(|m| m.split('`').next());
            match missing {
                Some(field) => Failure::required(field),
                None => Failure::invalid(
                    "body",
                    format!(
                        "the body is not what this route takes: {:?} error at line {} column {}",
                        e.classify(),
                        e.line(),
                        e.column()
                    ),
                ),
            }
        })
    }

    fn admin_only(&self, what: &str) -> Result<(), Failure> {
        if self.principal.is_admin() {
            return Ok(());
        }
        Err(Failure::forbidden(format!(
            "only an organization admin may {what}"
        )))
    }
}

/// What a path and method mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    CreateProgrammaticUser,
    CreateUser,
    ListUsers,
    ReadUser,
    DeleteUser,
    PutUserPolicies,
    PutUserGroups,
    ListAccounts,
    ReadAccount,
    CreateAccount,
    UpdateAccount,
    DeleteAccount,
    ListPolicies,
    CreatePolicy,
    UpdatePolicy,
    DeletePolicy,
    ListPolicyActions,
    ListGroups,
    CreateGroup,
    ReadGroup,
    UpdateGroup,
    DeleteGroup,
    PutGroupUsers,
    PutGroupPolicies,
    ListAudit,
    ListElastigroups,
    CreateElastigroup,
    ReadElastigroup,
    DeleteElastigroup,
}

/// A matched route.
pub(super) struct Route {
    pub(super) action: Action,
    /// For limits and logs: method and pattern.
    pub(super) name: &'static str,
    /// What it is called in policies and in the audit log.
    pub(super) verb: &'static str,
    /// What kind of object it is about.
    pub(super) resource: &'static str,
    pub(super) id: String,
}

/// Why a path leads nowhere.
pub(super) enum Lost {
    Path,
    Method,
}

/// Finds the route. Paths are matched without regard to case, as clients disagree on one of them; a slash at the
/// end is ignored.
pub(super) fn find(method: &Method, path: &str) -> Result<Route, Lost> {
    use Action as A;
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let lower: Vec<String> = segments.iter().map(|s| s.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    type Entry = (&'static str, Action, &'static str, &'static str);
    let (id, entries): (usize, &[Entry]) = match lower.as_slice() {
        ["setup", "user", "programmatic"] => (
            9,
            &[(
                "POST /setup/user/programmatic",
                A::CreateProgrammaticUser,
                "setup:createProgrammaticUser",
                "user",
            )],
        ),
        ["setup", "user"] => (
            9,
            &[("POST /setup/user", A::CreateUser, "setup:createUser", "user")],
        ),
        ["setup", "organization", "user"] => (
            9,
            &[(
                "GET /setup/organization/user",
                A::ListUsers,
                "setup:describeOrganizationUsers",
                "user",
            )],
        ),
        ["setup", "user", _] => (
            2,
            &[
                ("GET /setup/user/{id}", A::ReadUser, "setup:describeUser", "user"),
                (
                    "DELETE /setup/user/{id}",
                    A::DeleteUser,
                    "setup:deleteUser",
                    "user",
                ),
            ],
        ),
        ["setup", "user", _, "policymapping"] => (
            2,
            &[(
                "PUT /setup/user/{id}/policyMapping",
                A::PutUserPolicies,
                "setup:updateUserPoliciesMapping",
                "user",
            )],
        ),
        ["setup", "user", _, "usergroupmapping"] => (
            2,
            &[(
                "PUT /setup/user/{id}/userGroupMapping",
                A::PutUserGroups,
                "setup:updateUserGroupsMapping",
                "user",
            )],
        ),
        ["setup", "account"] => (
            9,
            &[
                (
                    "GET /setup/account",
                    A::ListAccounts,
                    "setup:describeAllAccounts",
                    "account",
                ),
                (
                    "POST /setup/account",
                    A::CreateAccount,
                    "setup:createAccount",
                    "account",
                ),
            ],
        ),
        ["setup", "account", _] => (
            2,
            &[
                (
                    "GET /setup/account/{id}",
                    A::ReadAccount,
                    "setup:describeAccount",
                    "account",
                ),
                (
                    "PUT /setup/account/{id}",
                    A::UpdateAccount,
                    "setup:updateAccount",
                    "account",
                ),
                (
                    "DELETE /setup/account/{id}",
                    A::DeleteAccount,
                    "setup:deleteAccount",
                    "account",
                ),
            ],
        ),
        ["setup", "organization", "policy"] => (
            9,
            &[(
                "GET /setup/organization/policy",
                A::ListPolicies,
                "setup:describePolicy",
                "policy",
            )],
        ),
        ["setup", "access", "policy"] => (
            9,
            &[(
                "POST /setup/access/policy",
                A::CreatePolicy,
                "setup:createPolicy",
                "policy",
            )],
        ),
        ["setup", "access", "policy", _] => (
            3,
            &[
                (
                    "PUT /setup/access/policy/{id}",
                    A::UpdatePolicy,
                    "setup:updatePolicy",
                    "policy",
                ),
                (
                    "DELETE /setup/access/policy/{id}",
                    A::DeletePolicy,
                    "setup:deletePolicy",
                    "policy",
                ),
            ],
        ),
        ["setup", "access", "policyaction"] => (
            9,
            &[(
                "GET /setup/access/policyAction",
                A::ListPolicyActions,
                "setup:describePolicyAction",
                "policyAction",
            )],
        ),
        ["setup", "access", "usergroup"] => (
            9,
            &[
                (
                    "GET /setup/access/userGroup",
                    A::ListGroups,
                    "setup:describeUserGroup",
                    "userGroup",
                ),
                (
                    "POST /setup/access/userGroup",
                    A::CreateGroup,
                    "setup:createUserGroup",
                    "userGroup",
                ),
            ],
        ),
        ["setup", "access", "usergroup", _] => (
            3,
            &[
                (
                    "GET /setup/access/userGroup/{id}",
                    A::ReadGroup,
                    "setup:describeUserGroup",
                    "userGroup",
                ),
                (
                    "PUT /setup/access/userGroup/{id}",
                    A::UpdateGroup,
                    "setup:updateUserGroup",
                    "userGroup",
                ),
                (
                    "DELETE /setup/access/userGroup/{id}",
                    A::DeleteGroup,
                    "setup:deleteUserGroup",
                    "userGroup",
                ),
            ],
        ),
        ["setup", "access", "usergroup", _, "usermapping"] => (
            3,
            &[(
                "PUT /setup/access/userGroup/{id}/userMapping",
                A::PutGroupUsers,
                "setup:updateUserGroup",
                "userGroup",
            )],
        ),
        ["setup", "access", "usergroup", _, "policymapping"] => (
            3,
            &[(
                "PUT /setup/access/userGroup/{id}/policyMapping",
                A::PutGroupPolicies,
                "setup:updateUserGroup",
                "userGroup",
            )],
        ),
        ["audit", "events"] => (
            9,
            &[(
                "GET /audit/events",
                A::ListAudit,
                "setup:describeAllAuditEvents",
                "auditEvent",
            )],
        ),
        ["aws", "ec2", "group"] => (
            9,
            &[
                (
                    "GET /aws/ec2/group",
                    A::ListElastigroups,
                    "elastigroup:describeGroup",
                    "elastigroup",
                ),
                (
                    "POST /aws/ec2/group",
                    A::CreateElastigroup,
                    "elastigroup:createGroup",
                    "elastigroup",
                ),
            ],
        ),
        ["aws", "ec2", "group", _] => (
            3,
            &[
                (
                    "GET /aws/ec2/group/{id}",
                    A::ReadElastigroup,
                    "elastigroup:describeGroup",
                    "elastigroup",
                ),
                (
                    "DELETE /aws/ec2/group/{id}",
                    A::DeleteElastigroup,
                    "elastigroup:deleteGroup",
                    "elastigroup",
                ),
            ],
        ),
        _ => return Err(Lost::Path),
    };
    let entry = entries
        .iter()
        .find(|e| e.0.split(' ').next() == Some(method.as_str()))
        .ok_or(Lost::Method)?;
    let (name, action, verb, resource) = *entry;
    let id = segments.get(id).copied().unwrap_or_default().to_owned();
    Ok(Route {
        action,
        name,
        verb,
        resource,
        id,
    })
}

/// Handles one request. For a mutation `db` is a transaction that is kept only if this succeeds.
pub(super) async fn handle(route: &Route, call: &Call<'_>, db: &mut Db) -> Result<Handled, Failure> {
    use Action as A;
    match route.action {
        A::CreateProgrammaticUser => users::create_programmatic(call, db).await,
        A::CreateUser => users::create_personal(call, db).await,
        A::ListUsers => users::list(call, db).await.map(Handled::read),
        A::ReadUser => users::read(call, db).await.map(Handled::read),
        A::DeleteUser => users::delete(call, db).await,
        A::PutUserPolicies => users::put_policies(call, db).await,
        A::PutUserGroups => users::put_groups(call, db).await,
        A::ListAccounts => accounts::list(call, db).await.map(Handled::read),
        A::ReadAccount => accounts::read(call, db).await.map(Handled::read),
        A::CreateAccount => accounts::create(call, db).await,
        A::UpdateAccount => accounts::update(call, db).await,
        A::DeleteAccount => accounts::delete(call, db).await,
        A::ListPolicies => access::list_policies(call, db).await.map(Handled::read),
        A::CreatePolicy => access::create_policy(call, db).await,
        A::UpdatePolicy => access::update_policy(call, db).await,
        A::DeletePolicy => access::delete_policy(call, db).await,
        A::ListPolicyActions => access::list_actions(call).map(Handled::read),
        A::ListGroups => access::list_groups(call, db).await.map(Handled::read),
        A::CreateGroup => access::create_group(call, db).await,
        A::ReadGroup => access::read_group(call, db).await.map(Handled::read),
        A::UpdateGroup => access::update_group(call, db).await,
        A::DeleteGroup => access::delete_group(call, db).await,
        A::PutGroupUsers => access::put_group_users(call, db).await,
        A::PutGroupPolicies => access::put_group_policies(call, db).await,
        A::ListAudit => audit::list(call, db).await.map(Handled::read),
        A::ListElastigroups => elastigroups::list(call, db).await.map(Handled::read),
        A::CreateElastigroup => elastigroups::create(call, db).await,
        A::ReadElastigroup => elastigroups::read(call, db).await.map(Handled::read),
        A::DeleteElastigroup => elastigroups::delete(call, db).await,
    }
}

/// An answer, and the id of the object that it is about, for the audit log.
pub(super) struct Handled {
    pub(super) output: Output,
    pub(super) id: String,
}

impl Handled {
    fn read(output: Output) -> Self {
        Self {
            output,
            id: String::new(),
        }
    }

    fn done(id: &str) -> Self {
        Self {
            output: Output::Done,
            id: id.to_owned(),
        }
    }
}

/// Names of users, groups and policies.
fn check_name(name: &str) -> Result<(), Failure> {
    if name.trim().is_empty() {
        return Err(Failure::invalid("name", "\"name\" is not allowed to be empty"));
    }
    if name.chars().count() > 256 {
        return Err(Failure::invalid(
            "name",
            "\"name\" length must be less than or equal to 256 characters long",
        ));
    }
    match name.chars().find(|c| "+=@".contains(*c) || c.is_control()) {
        Some(c) => Err(Failure::invalid(
            "name",
            format!("\"name\" may not contain {c:?}"),
        )),
        None => Ok(()),
    }
}
