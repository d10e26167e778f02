//! Why a user may or may not do something: the decision of the middleware, and the statement that makes it.
//!
//! `decision` is `ALLOW`, `DENY`, or `CONDITIONAL` where it depends on the resource, of which nothing was said. `reason` is
//! `STATEMENT` (of `policyId`, with the index `statement`), `DEFAULT` (no statement allows it), `RESOURCE`, `EVERYBODY`, or
//! `ACCOUNT`: any right in an account includes reading it.
//!
//! Ours; the real service has no such route that is published.

use std::collections::HashMap;

use axum::extract::{Query, State};
use serde_json::json;

use super::Outcome;
use crate::App;
use crate::authz::{self, Decision, Question};
use crate::reply::{Answer, ApiError};
use crate::resource::Resource;
use crate::rules::{Needs, Rule};
use crate::store::{callers, facts};
use crate::validate::{Problems, invalid};

/// Reading an account, which goes with any other right in it.
const SEES: &str = "setup:describeAccount";

/// What the query asks.
struct Asked {
    user: String,
    action: String,
    resource: String,
    account: Option<String>,
    /// The routes of the action; one that no route has is taken as it is asked for.
    rules: Vec<&'static Rule>,
}

impl Asked {
    fn read(query: &HashMap<String, String>) -> Result<Self, ApiError> {
        let mut problems = Problems::default();
        let mut required = |field: &str| {
            let value = query.get(field).filter(|v| !v.is_empty()).cloned();
            if value.is_none() {
                problems.add(&format!("query.{field}"), "is required");
            }
            value.unwrap_or_default()
        };
        let (user, action) = (required("userId"), required("action"));
        let service = action.split_once(':').map(|(service, _)| service);
        if service.is_none() {
            problems.add("query.action", "must be like service:action");
        }
        problems.check()?;
        let given = query.get("accountId").filter(|a| !a.is_empty());
        // Where the middleware would look: an account says nothing of what is done in the organization.
        let rules: Vec<&Rule> = Rule::of_action(&action).collect();
        let anywhere = rules.is_empty() || rules.iter().any(|r| r.in_account());
        let account = given.filter(|_| anywhere).cloned();
        if account.is_none() && !rules.is_empty() && rules.iter().all(|r| r.in_account()) {
            return Err(invalid("query.accountId", "is required"));
        }
        // Of an account the resource is no open question: it is the account.
        let of_account = account
            .as_deref()
            .filter(|_| rules.iter().any(|r| r.needs == Needs::AccountOfPath));
        let unnamed = || {
            format!(
                "{}:{}",
                service.unwrap_or_default(),
                of_account.unwrap_or_default()
            )
        };
        let resource = query.get("resource").cloned().unwrap_or_else(unnamed);
        Ok(Self {
            user,
            action,
            resource,
            account,
            rules,
        })
    }

    fn has(&self, needs: Needs) -> bool {
        self.rules.iter().any(|rule| rule.needs == needs)
    }

    /// Whether the resource is left open, though a route of the action is about one.
    fn is_open(&self) -> bool {
        let mut here = self
            .rules
            .iter()
            .filter(|r| r.in_account() == self.account.is_some());
        self.resource.ends_with(':') && here.any(|r| r.is_about_resources())
    }
}

pub(super) async fn explain(State(app): State<App>, Query(query): Query<HashMap<String, String>>) -> Outcome {
    let asked = Asked::read(&query)?;
    let (user, action, resource) = (&asked.user, &asked.action, &asked.resource);
    let account = asked.account.as_deref();
    let mut tx = app.store.read().await?;
    Resource::User.require_in(&mut tx, user, "query.userId").await?;
    let facts = facts::read(&mut tx, user, account, resource).await?;
    let grants = callers::effective(&mut tx, user).await?.grants;
    let question = Question {
        action,
        resource,
        account,
        administrator_only: asked.has(Needs::Administrator),
        facts: &facts,
    };
    let decision = authz::decide(&grants, question);
    let seen = action == SEES && account.is_some_and(|a| authz::sees(&grants, a));
    let (decided, reason, by) = match &decision {
        _ if asked.has(Needs::Caller) => ("ALLOW", "EVERYBODY", None),
        _ if asked.is_open() && authz::depends(&grants, question) => ("CONDITIONAL", "RESOURCE", None),
        Decision::Allow { policy, statement } => ("ALLOW", "STATEMENT", Some((policy, statement))),
        Decision::Deny { policy, statement } => ("DENY", "STATEMENT", Some((policy, statement))),
        Decision::Default if seen => ("ALLOW", "ACCOUNT", None),
        Decision::Default => ("DENY", "DEFAULT", None),
    };
    let explanation = json!({
        "userId": user, "action": action, "resource": resource, "accountId": account,
        "administratorOnly": question.administrator_only, "decision": decided, "reason": reason,
        "policyId": by.map(|(policy, _)| policy), "statement": by.map(|(_, index)| index),
    });
    Ok(Answer::one("spotinst:setup:access:explanation", explanation))
}
