//! Why a user may or may not do something: the answer that the gate would give, and the statement that gives it.
//!
//! Ours; the real service has no such route that is published.

use std::collections::HashMap;

use axum::extract::{Query, State};
use serde_json::json;

use super::Outcome;
use crate::server::App;
use crate::server::authz::{self, Decision, Question};
use crate::server::reply::{Answer, ApiError};
use crate::server::rules::{Needs, RULES};
use crate::server::store::{access, users};
use crate::server::validate::Problems;

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
    let resource = query
        .get("resource")
        .cloned()
        .unwrap_or_else(|| format!("{}:", service.unwrap_or_default()));
    let account = query.get("accountId").filter(|a| !a.is_empty());
    let mut tx = app.store.read().await?;
    if !users::exists(&mut tx, &user).await? {
        let message = format!("User {user} does not exist");
        return Err(ApiError::Unknown(
            "USER_DOESNT_EXIST",
            message,
            "query.userId".to_owned(),
        ));
    }
    let account = account.map(String::as_str);
    let facts = access::facts(&mut tx, &user, account, &resource).await?;
    let administrator_only = RULES
        .iter()
        .any(|r| r.action == action && r.needs == Needs::Administrator);
    let question = Question {
        action: &action,
        resource: &resource,
        account,
        administrator_only,
        facts: &facts,
    };
    let decision = authz::decide(&access::effective(&mut tx, &user).await?, question);
    let (effect, by) = match &decision {
        Decision::Allow { policy, statement } => ("ALLOW", Some((policy, statement))),
        Decision::Deny { policy, statement } => ("DENY", Some((policy, statement))),
        Decision::Default => ("DENY", None),
    };
    let item = json!({
        "userId": user, "action": action, "resource": resource, "accountId": account,
        "administratorOnly": administrator_only, "decision": effect,
        "reason": if by.is_some() { "STATEMENT" } else { "DEFAULT" },
        "policyId": by.map(|(policy, _)| policy), "statement": by.map(|(_, index)| index),
    });
    Ok(Answer::one("spotinst:setup:access:explanation", item))
}
