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
use crate::rules::{Needs, Rule};
use crate::store::{callers, facts, users};
use crate::validate::{Problems, invalid};

/// Reading an account, which goes with any other right in it.
const SEES: &str = "setup:describeAccount";

pub(super) async fn explain(State(app): State<App>, Query(query): Query<HashMap<String, String>>) -> Outcome {
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
    // Where the middleware would look: an account says nothing of what is done in the organization. Actions that no route has
    // are taken as they are asked for.
    let rules: Vec<&Rule> = Rule::of_action(&action).collect();
    let anywhere = rules.is_empty() || rules.iter().any(|r| r.in_account());
    let account = given.filter(|_| anywhere).map(String::as_str);
    if account.is_none() && !rules.is_empty() && rules.iter().all(|r| r.in_account()) {
        return Err(invalid("query.accountId", "is required"));
    }
    // Of an account the resource is no open question: it is the account.
    let of_account = account.filter(|_| rules.iter().any(|r| r.needs == Needs::AccountOfPath));
    let unnamed = || {
        format!(
            "{}:{}",
            service.unwrap_or_default(),
            of_account.unwrap_or_default()
        )
    };
    let resource = query.get("resource").cloned().unwrap_or_else(unnamed);
    let mut tx = app.store.read().await?;
    if !users::exists(&mut tx, &user).await? {
        let message = format!("User {user} does not exist");
        return Err(ApiError::Unknown(
            "USER_DOESNT_EXIST",
            message,
            "query.userId".to_owned(),
        ));
    }
    let facts = facts::read(&mut tx, &user, account, &resource).await?;
    let grants = callers::effective(&mut tx, &user).await?.grants;
    let administrator_only = rules.iter().any(|r| r.needs == Needs::Administrator);
    let question = Question {
        action: &action,
        resource: &resource,
        account,
        administrator_only,
        facts: &facts,
    };
    let decision = authz::decide(&grants, question);
    let mut explanation = json!({
        "userId": user, "action": action, "resource": resource, "accountId": account,
        "administratorOnly": administrator_only,
    });
    let mut here = rules.iter().filter(|r| r.in_account() == account.is_some());
    let open = resource.ends_with(':') && here.any(|r| r.is_about_resources());
    let seen = action == SEES && account.is_some_and(|a| authz::sees(&grants, a));
    let (decided, reason, by) = match &decision {
        _ if rules.iter().any(|r| r.needs == Needs::Caller) => ("ALLOW", "EVERYBODY", None),
        _ if open && authz::depends(&grants, question) => ("CONDITIONAL", "RESOURCE", None),
        Decision::Allow { policy, statement } => ("ALLOW", "STATEMENT", Some((policy, statement))),
        Decision::Deny { policy, statement } => ("DENY", "STATEMENT", Some((policy, statement))),
        Decision::Default if seen => ("ALLOW", "ACCOUNT", None),
        Decision::Default => ("DENY", "DEFAULT", None),
    };
    explanation["decision"] = json!(decided);
    explanation["reason"] = json!(reason);
    explanation["policyId"] = json!(by.map(|(policy, _)| policy));
    explanation["statement"] = json!(by.map(|(_, index)| index));
    Ok(Answer::one("spotinst:setup:access:explanation", explanation))
}
