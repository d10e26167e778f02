//! The target of a request and its authorization.

use std::collections::HashMap;

use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{Method, Uri};

use super::caller::Holder;
use crate::authz::{self, Facts, Grant, Question};
use crate::reply::ApiError;
use crate::resource::Resource;
use crate::rules::{Needs, Rule};
use crate::store::{Connection, accounts, facts};
use crate::validate::invalid;

/// Begin of the paths of one account.
const ACCOUNT: &str = "/setup/account/{id}";

#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) rule: &'static Rule,
    /// Of the path, where the route has one.
    pub(super) id: Option<String>,
    /// The account acted on, where the route has one, as the audit log records it. The right may still be the organization's,
    /// see [`Self::place`].
    pub(super) account: Option<String>,
}

impl Target {
    /// Finds the account, once: where the request names none it depends on the caller's rights, and a change must not move to
    /// another account.
    pub(super) async fn locate(
        &mut self,
        conn: &mut Connection,
        grants: &[Grant],
        request: &Parts,
    ) -> Result<(), ApiError> {
        self.account = match self.rule.needs {
            Needs::Caller | Needs::Administrator | Needs::Organization => {
                self.id.clone().filter(|_| self.rule.path.starts_with(ACCOUNT))
            }
            Needs::AccountOfPath => Some(self.id.clone().unwrap_or_default()),
            Needs::AccountOfQuery | Needs::ResourcesOfQuery => {
                Some(account_of_query(conn, grants, &request.uri).await?)
            }
        };
        Ok(())
    }

    /// Fails unless the holder is allowed; else the facts that the decision was made with.
    pub(super) async fn permit(&self, conn: &mut Connection, holder: &Holder) -> Result<Facts, ApiError> {
        let grants = &holder.rights.grants;
        let rule = self.rule;
        if rule.needs == Needs::Caller {
            return Ok(Facts::default());
        }
        if let Some(account) = self.place() {
            let seen = authz::sees(grants, account);
            if seen && !Resource::Account.exists(conn, account).await? {
                // Only a caller with rights in all accounts gets here, so the answer discloses nothing.
                return Err(match rule.needs {
                    Needs::AccountOfPath => Resource::Account.missing(account),
                    _ => Resource::Account.unknown(account, "query.accountId"),
                });
            }
            // Any right in an account includes reading it.
            if seen && rule.needs == Needs::AccountOfPath && rule.method == Method::GET {
                return Ok(Facts::default());
            }
        }
        let resource = format!("{}:{}", rule.service(), self.id.as_deref().unwrap_or_default());
        // Nothing is read where no policy of the caller has a condition.
        let mut statements = grants.iter().flat_map(|g| g.statements.iter());
        let facts = if statements.any(|s| s.condition.is_some()) {
            facts::read(conn, &holder.caller.id, self.place(), &resource).await?
        } else {
            Facts::default()
        };
        let question = Question {
            action: rule.action,
            resource: &resource,
            account: self.place(),
            administrator_only: rule.needs == Needs::Administrator,
            facts: &facts,
        };
        let allowed = match rule.needs {
            Needs::ResourcesOfQuery => authz::could(grants, question),
            _ => authz::decide(grants, question).is_allowed(),
        };
        if allowed {
            return Ok(facts);
        }
        Err(self.refusal())
    }

    /// The account that the right must hold in; `None` for the organization.
    pub(super) fn place(&self) -> Option<&str> {
        self.account.as_deref().filter(|_| self.rule.in_account())
    }

    /// The refusal of what is not allowed.
    pub(super) fn refusal(&self) -> ApiError {
        let place = self
            .place()
            .map_or("the organization".into(), |a| format!("account {a}"));
        let action = self.rule.action;
        ApiError::Forbidden(match self.rule.needs {
            Needs::Administrator => format!("Only an organization administrator may do this ({action})"),
            _ => format!("No policy allows {action} in {place}"),
        })
    }
}

async fn account_of_query(conn: &mut Connection, grants: &[Grant], uri: &Uri) -> Result<String, ApiError> {
    let query = Query::<HashMap<String, String>>::try_from_uri(uri)
        .map_err(|_| invalid("query", "must be a valid query string"))?;
    if let Some(account) = query.get("accountId").filter(|a| !a.is_empty()) {
        return Ok(account.clone());
    }
    let mut seen = accounts::list(conn)
        .await?
        .into_iter()
        .map(|a| a.account_id)
        .filter(|a| authz::sees(grants, a));
    match (seen.next(), seen.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(invalid("query.accountId", "is required")),
        (None, _) => Err(ApiError::Forbidden(
            "No policy allows anything in any account".into(),
        )),
    }
}
