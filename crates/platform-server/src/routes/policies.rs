//! Policies and the catalogue of actions.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{Extension, Query};
use serde_json::{Value, json};

use super::{Admitted, Outcome};
use crate::auth::Reader;
use crate::authz::Condition;
use crate::catalog;
use crate::reply::{Answer, ApiError};
use crate::resource::Resource;
use crate::store::{Connection, access, now, users, written};
use crate::validate::{Object, Problems, invalid};

pub(super) async fn list(mut conn: Reader) -> Outcome {
    Answer::list(
        "spotinst:setup:organization:policy",
        &access::policies(&mut conn).await?,
    )
}

/// The policies of an account: its readers do not see what is granted in other accounts. A caller that grants policies lists
/// those of the organization.
pub(super) async fn of_account(Extension(call): Admitted, mut conn: Reader) -> Outcome {
    Answer::list(
        "spotinst:setup:access:policy",
        &access::policies_of(&mut conn, call.account()?).await?,
    )
}

/// Fields of a policy. Answers have more than can be set, which clients send back.
const POLICY: &[&str] = &[
    "id",
    "name",
    "description",
    "type",
    "policyContent",
    "createdAt",
    "updatedAt",
];
/// Regular expressions in one policy: each request that they decide pays for them.
const MOST_PATTERNS: usize = 100;
const STATEMENT: &[&str] = &["effect", "actions", "resources", "condition"];

/// The catalogue; each of its fields is also a filter, in upper or lower case.
pub(super) async fn actions(Query(query): Query<HashMap<String, String>>) -> Outcome {
    let mut found = catalog::actions();
    for field in ["name", "service", "resourcePattern", "scope", "category"] {
        if let Some(wanted) = query.get(field) {
            let is_wanted = |text: &str| text.eq_ignore_ascii_case(wanted);
            found.retain(|action| action[field].as_str().is_some_and(is_wanted));
        }
    }
    Ok(Answer::Items("spotinst:setup:policyAction", found))
}

fn read_policy(bytes: &Bytes, problems: &mut Problems) -> Result<Object, ApiError> {
    let body = Object::parse(bytes)?;
    body.only(&["policy"], problems);
    let policy = body.object("policy", problems);
    policy.only(POLICY, problems);
    Ok(policy)
}

/// Checks a policy document. What it says is what will be decided by, so nothing in it is passed over.
fn check_content(policy: &Object, problems: &mut Problems) -> Option<Value> {
    let content = policy.object("policyContent", problems);
    content.only(&["statements"], problems);
    let mut patterns = 0;
    let statements = content.objects("statements", problems);
    if statements.is_empty() {
        problems.add(&content.path("statements"), "must contain at least 1 items");
    }
    for statement in &statements {
        statement.only(STATEMENT, problems);
        match statement.required("effect", problems).as_str() {
            "ALLOW" | "DENY" | "" => {}
            _ => problems.add(&statement.path("effect"), "must be one of [ALLOW, DENY]"),
        }
        for field in ["actions", "resources"] {
            if statement.texts(field, problems).is_empty() {
                problems.add(&statement.path(field), "must contain at least 1 items");
            }
        }
        let actions = statement.value("actions").and_then(Value::as_array);
        for (index, action) in actions.into_iter().flatten().enumerate() {
            if let Some(action) = action.as_str()
                && !(action.is_empty() || action == "*" || action.contains(':'))
            {
                let path = statement.path(&format!("actions.{index}"));
                problems.add(&path, "must be like service:action");
            }
        }
        match statement.value("condition").map(Condition::parse) {
            Some(Ok(condition)) => patterns += condition.patterns(),
            Some(Err((place, words))) => {
                problems.add(&format!("{}{place}", statement.path("condition")), words);
            }
            None => {}
        }
    }
    if patterns > MOST_PATTERNS {
        problems.add(&content.path("statements"), "must contain at most 100 patterns");
    }
    policy.value("policyContent").cloned()
}

pub(super) async fn create(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    let mut problems = Problems::default();
    let policy = read_policy(&bytes, &mut problems)?;
    let name = policy.name("name", &mut problems);
    let description = policy.text("description", &mut problems);
    let policy_type = policy
        .text("type", &mut problems)
        .unwrap_or_else(|| "ACCOUNT".to_owned());
    if !matches!(policy_type.as_str(), "ACCOUNT" | "ORGANIZATION") {
        problems.add("policy.type", "must be one of [ACCOUNT, ORGANIZATION]");
    }
    let content = check_content(&policy, &mut problems);
    problems.check()?;
    let content = content.unwrap_or_default();
    let (call, mut tx) = call.begin().await?;
    let id = access::create_policy(
        &mut tx,
        None,
        &name,
        description.as_deref(),
        &policy_type,
        &content,
    )
    .await?;
    call.done(tx, &id).await?;
    let at = written(now());
    let item = json!({
        "id": id, "name": name, "description": description, "type": policy_type, "policyContent": content,
        "createdAt": at, "updatedAt": at,
    });
    Ok(Answer::one("spotinst:setup:access:policy", item))
}

/// The type of a policy. Fails unless it exists and is not a built-in one.
async fn require_custom(conn: &mut Connection, id: &str) -> Result<String, ApiError> {
    match access::policy_type(conn, id).await? {
        None => Err(Resource::Policy.missing(id)),
        Some(managed) if managed.starts_with("SPOT_MANAGED_") => Err(ApiError::Conflict(
            "POLICY_IS_MANAGED",
            format!("Policy {id} is built in"),
        )),
        Some(own) => Ok(own),
    }
}

pub(super) async fn update(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    let mut problems = Problems::default();
    let policy = read_policy(&bytes, &mut problems)?;
    let name = policy.has("name").then(|| policy.name("name", &mut problems));
    let description = policy.text("description", &mut problems);
    let content = if policy.has("policyContent") {
        check_content(&policy, &mut problems)
    } else {
        None
    };
    problems.check()?;
    let (call, mut tx) = call.begin().await?;
    let id = call.id();
    let stored = require_custom(&mut tx, id).await?;
    for (field, is) in [("type", stored.as_str()), ("id", id)] {
        if policy.value(field).is_some_and(|sent| sent != is) {
            return Err(invalid(&policy.path(field), "cannot be changed"));
        }
    }
    access::update_policy(
        &mut tx,
        id,
        name.as_deref(),
        description.as_deref(),
        content.as_ref(),
    )
    .await?;
    users::require_administrator(&mut tx).await?;
    call.done(tx, id).await
}

pub(super) async fn delete(Extension(call): Admitted) -> Outcome {
    let (call, mut tx) = call.begin().await?;
    let id = call.id();
    require_custom(&mut tx, id).await?;
    if access::policy_in_use(&mut tx, id).await? {
        let message = format!("Policy {id} is given to users or groups: take it from them first");
        return Err(ApiError::Conflict("POLICY_IN_USE", message));
    }
    access::delete_policy(&mut tx, id).await?;
    call.done(tx, id).await
}
