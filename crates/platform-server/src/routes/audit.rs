//! The audit log. `actorType` and `limit` (the newest so many) are ours.

use std::collections::HashMap;

use axum::extract::{Query, State};

use super::Outcome;
use crate::App;
use crate::reply::{Answer, ApiError};
use crate::store::audit::{self, Filter};
use crate::validate::{Problems, invalid};

/// Events of one reply: of more, all of it would be in memory at once.
const MOST: i64 = 100_000;

/// What the query asks for; the number of events is [`MOST`] and one more where it sets no limit.
fn read_filter(query: &HashMap<String, String>) -> Result<Filter, ApiError> {
    let mut problems = Problems::default();
    let mut date = |field: &str| {
        let what = match query.get(field).map(|v| v.parse()) {
            Some(Ok(at)) => return at,
            Some(Err(_)) => "must be a number of milliseconds",
            None => "is required",
        };
        problems.add(&format!("query.{field}"), what);
        0
    };
    let (from, to) = (date("fromDate"), date("toDate"));
    let status = query.get("responseStatus").map_or("success", String::as_str);
    if !matches!(status, "success" | "all") {
        problems.add("query.responseStatus", "must be one of [success, all]");
    }
    let actor_type = query.get("actorType").map(|v| v.to_lowercase());
    let is_type = |actor_type: &String| audit::ACTOR_TYPES.contains(&actor_type.as_str());
    if !actor_type.iter().all(is_type) {
        let what = "must be one of [UI, Programmatic, System, Anonymous]";
        problems.add("query.actorType", what);
    }
    let limit = query.get("limit").map(|v| v.parse().unwrap_or_default());
    if !limit.iter().all(|limit| (1..=MOST).contains(limit)) {
        problems.add("query.limit", "must be a number between 1 and 100000");
    }
    problems.check()?;
    Ok(Filter {
        from,
        to,
        account: query.get("accountId").filter(|a| !a.is_empty()).cloned(),
        successes_only: status == "success",
        actor_type,
        newest: limit.unwrap_or(MOST + 1),
    })
}

pub(super) async fn list(State(app): State<App>, Query(query): Query<HashMap<String, String>>) -> Outcome {
    let filter = read_filter(&query)?;
    let mut tx = app.store.read().await?;
    let rows = audit::list(&mut tx, &app.organization.name, &filter).await?;
    // So many there are without a limit alone.
    if rows.len() > usize::try_from(MOST).unwrap_or_default() {
        let what = "is needed, or a shorter time: there are more than 100000 events";
        return Err(invalid("query.limit", what));
    }
    Ok(Answer::Items("spotinst:audit", rows))
}
