//! The audit log. `actorType` and `limit` (the newest so many) are ours.

use std::collections::HashMap;

use axum::extract::{Query, State};

use super::Outcome;
use crate::App;
use crate::reply::Answer;
use crate::store::audit::{self, Filter};
use crate::validate::{Problems, invalid};

/// Events of one reply: of more, all of it would be in memory at once.
const MOST: i64 = 100_000;

pub(super) async fn list(State(app): State<App>, Query(query): Query<HashMap<String, String>>) -> Outcome {
    let mut problems = Problems::default();
    let mut date = |field: &str| {
        let path = format!("query.{field}");
        match query.get(field).map(|v| v.parse::<i64>()) {
            Some(Ok(at)) => at,
            Some(Err(_)) => {
                problems.add(&path, "must be a number of milliseconds");
                0
            }
            None => {
                problems.add(&path, "is required");
                0
            }
        }
    };
    let (from, to) = (date("fromDate"), date("toDate"));
    let successes_only = match query.get("responseStatus").map_or("success", String::as_str) {
        "success" => true,
        "all" => false,
        _ => {
            problems.add("query.responseStatus", "must be one of [success, all]");
            false
        }
    };
    let actor_type = query.get("actorType").map(|v| v.to_lowercase());
    if actor_type
        .as_ref()
        .is_some_and(|t| !audit::ACTOR_TYPES.contains(&t.as_str()))
    {
        problems.add(
            "query.actorType",
            "must be one of [UI, Programmatic, System, Anonymous]",
        );
    }
    let limit = query.get("limit").map(|v| v.parse::<i64>());
    if limit
        .as_ref()
        .is_some_and(|l| !l.as_ref().is_ok_and(|l| (1..=MOST).contains(l)))
    {
        problems.add("query.limit", "must be a number between 1 and 100000");
    }
    problems.check()?;
    let limit = limit.and_then(Result::ok);
    let account = query.get("accountId").filter(|a| !a.is_empty()).cloned();
    let filter = Filter {
        from,
        to,
        account,
        successes_only,
        actor_type,
        newest: limit.unwrap_or(MOST + 1),
    };
    let mut tx = app.store.read().await?;
    let rows = audit::list(&mut tx, &app.organization.name, &filter).await?;
    if limit.is_none() && rows.len() > usize::try_from(MOST).unwrap_or_default() {
        let what = "is needed, or a shorter time: there are more than 100000 events";
        return Err(invalid("query.limit", what));
    }
    Ok(Answer::Items("spotinst:audit", rows))
}
