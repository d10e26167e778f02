//! One row for every route of the API: the action that it is, and where the right to it is looked for.
//!
//! The middleware refuses a route without a row: to forget one grants nothing.

use axum::http::Method;

/// Where the right to an action is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// In the organization, by an administrator only.
    Administrator,
    Organization,
    /// In the account of the query (`accountId`), or in the caller's only one.
    AccountOfQuery,
    /// There too, for resources that the middleware does not know: it admits callers that could have the right to one, and the
    /// handler checks each with [`super::auth::AuthorizedRequest::may`].
    ResourcesOfQuery,
    AccountOfPath,
    /// Nowhere: any caller, and the handler shows only what is the caller's own.
    Caller,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) method: Method,
    /// As given to the router.
    pub(super) path: &'static str,
    /// `service:action`
    pub(super) action: &'static str,
    pub(super) needs: Needs,
    pub(super) resource_type: &'static str,
}

impl Rule {
    pub(super) fn find(method: &Method, path: &str) -> Option<&'static Self> {
        // A HEAD request is answered by the GET handler.
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        RULES.iter().find(|r| r.method == method && r.path == path)
    }

    pub(super) fn of_action(action: &str) -> impl Iterator<Item = &'static Self> {
        RULES.iter().filter(move |r| r.action == action)
    }

    /// Whether the right is looked for in an account.
    pub(super) fn in_account(&self) -> bool {
        use Needs::{AccountOfPath, AccountOfQuery, ResourcesOfQuery};
        matches!(self.needs, AccountOfPath | AccountOfQuery | ResourcesOfQuery)
    }

    /// Whether it concerns single resources: `explain` may leave open which one.
    pub(super) fn is_about_resources(&self) -> bool {
        self.needs == Needs::ResourcesOfQuery || self.path.contains("{id}")
    }

    /// Whether the action is one on the organization.
    pub(super) fn in_organization(&self) -> bool {
        matches!(self.needs, Needs::Administrator | Needs::Organization)
    }

    /// The action without its service.
    pub(super) fn verb(&self) -> &'static str {
        self.action.split_once(':').map_or(self.action, |(_, verb)| verb)
    }

    pub(super) fn service(&self) -> &'static str {
        self.action
            .split_once(':')
            .map_or(self.action, |(service, _)| service)
    }
}

macro_rules! rules {
    ($($method:ident $path:literal $action:literal $needs:ident $resource:literal)*) => {
        &[$(Rule {
            method: Method::$method, path: $path, action: $action, needs: Needs::$needs, resource_type: $resource,
        }),*]
    };
}

pub(super) static RULES: &[Rule] = rules! {
    POST   "/setup/user/programmatic"                  "setup:createProgrammaticUser"     Administrator  "user"
    POST   "/setup/user"                               "setup:createUser"                 Administrator  "user"
    GET    "/setup/user"                               "setup:describeUser"               AccountOfQuery "user"
    GET    "/setup/organization/user"                  "setup:describeOrganizationUsers"  Organization   "user"
    PUT    "/setup/user/password"                      "setup:updatePassword"             Caller         "user"
    GET    "/setup/user/session"                       "setup:describeSession"            Caller         "session"
    DELETE "/setup/user/session"                       "setup:deleteSession"              Caller         "session"
    DELETE "/setup/user/session/{id}"                  "setup:deleteSession"              Caller         "session"
    GET    "/setup/user/{id}"                          "setup:describeUser"               Organization   "user"
    DELETE "/setup/user/{id}"                          "setup:deleteUser"                 Administrator  "user"
    PUT    "/setup/user/{id}/policyMapping"            "setup:updateUserPoliciesMapping"  Administrator  "user"
    PUT    "/setup/user/{id}/userGroupMapping"         "setup:updateUserGroupMapping"     Administrator  "user"
    GET    "/setup/account"                            "setup:describeAllAccounts"        Caller         "account"
    POST   "/setup/account"                            "setup:createAccount"              Administrator  "account"
    GET    "/setup/account/{id}"                       "setup:describeAccount"            AccountOfPath  "account"
    PUT    "/setup/account/{id}"                       "setup:updateAccount"              AccountOfPath  "account"
    DELETE "/setup/account/{id}"                       "setup:deleteAccount"              Administrator  "account"
    POST   "/setup/account/{id}/user"                  "setup:createUserMapping"          Administrator  "user"
    PUT    "/setup/account/{id}/user"                  "setup:updateUserMapping"          Administrator  "user"
    DELETE "/setup/account/{id}/user"                  "setup:deleteUserMapping"          Administrator  "user"
    GET    "/setup/accountUserMapping"                 "setup:describeUser"               Organization   "user"
    POST   "/setup/accountUserMapping"                 "setup:updateUserMapping"          Administrator  "user"
    POST   "/setup/organization"                       "setup:createOrganization"         Administrator  "organization"
    DELETE "/setup/organization/{id}"                  "setup:deleteOrganization"         Administrator  "organization"
    GET    "/setup/organization/policy"                "setup:describePolicy"             Organization   "policy"
    POST   "/setup/access/policy"                      "setup:createPolicy"               Administrator  "policy"
    GET    "/setup/access/policy"                      "setup:describePolicy"             AccountOfQuery "policy"
    PUT    "/setup/access/policy/{id}"                 "setup:updatePolicy"               Administrator  "policy"
    DELETE "/setup/access/policy/{id}"                 "setup:deletePolicy"               Administrator  "policy"
    GET    "/setup/access/policyAction"                "setup:describePolicyAction"       Caller         "policyAction"
    GET    "/setup/access/explain"                     "setup:explainAccess"              Administrator  "policy"
    GET    "/setup/access/userGroup"                   "setup:describeUserGroup"          Organization   "userGroup"
    POST   "/setup/access/userGroup"                   "setup:createUserGroup"            Administrator  "userGroup"
    GET    "/setup/access/userGroup/{id}"              "setup:describeUserGroup"          Organization   "userGroup"
    PUT    "/setup/access/userGroup/{id}"              "setup:updateUserGroup"            Administrator  "userGroup"
    DELETE "/setup/access/userGroup/{id}"              "setup:deleteUserGroup"            Administrator  "userGroup"
    PUT    "/setup/access/userGroup/{id}/userMapping"  "setup:updateUserGroupUsers"       Administrator  "userGroup"
    PUT    "/setup/access/userGroup/{id}/policyMapping" "setup:updateUserGroupPolicies"   Administrator  "userGroup"
    GET    "/audit/events"                             "setup:describeAllAuditEvents"     Organization   "audit"
    GET    "/aws/ec2/group"                            "elastigroup:describeGroup"        ResourcesOfQuery "elastigroup"
    POST   "/aws/ec2/group"                            "elastigroup:createGroup"          ResourcesOfQuery "elastigroup"
    GET    "/aws/ec2/group/{id}"                       "elastigroup:describeGroup"        AccountOfQuery "elastigroup"
    DELETE "/aws/ec2/group/{id}"                       "elastigroup:deleteGroup"          AccountOfQuery "elastigroup"
};
