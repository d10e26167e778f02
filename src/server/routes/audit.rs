//! The audit log.

use serde_json::json;
use sqlx::Row as _;

use super::Call;
use crate::server::reply::{Failure, Output};
use crate::server::store::{Db, time};

pub(super) async fn list(call: &Call<'_>, db: &mut Db) -> Result<Output, Failure> {
    call.principal.may("setup:describeAllAuditEvents", "*", None)?;
    let date = |name: &str| -> Result<i64, Failure> {
        let field = format!("query.{name}");
        let text = call.query.get(name).ok_or_else(|| Failure::required(&field))?;
        let wrong = |_| {
            Failure::invalid(
                &field,
                format!("\"{name}\" must be a number of milliseconds since 1970"),
            )
        };
        text.parse().map_err(wrong)
    };
    let (from, to) = (date("fromDate")?, date("toDate")?);
    let rows = sqlx::query(
        "SELECT * FROM audit WHERE at BETWEEN ? AND ? AND (? IS NULL OR account_id = ?) \
         AND (? IS NULL OR actor_type = ?) AND (NOT ? OR status = 200) ORDER BY id",
    )
    .bind(from)
    .bind(to)
    .bind(call.query.get("accountId"))
    .bind(call.query.get("accountId"))
    .bind(call.query.get("actorType"))
    .bind(call.query.get("actorType"))
    .bind(call.query.get("responseStatus").is_some_and(|s| s == "success"))
    .fetch_all(db)
    .await?;
    let item = |row: sqlx::sqlite::SqliteRow| {
        json!({
            "user": row.get::<&str, _>("actor_id"), "actionType": row.get::<&str, _>("action"),
            "resourceType": row.get::<&str, _>("resource_type"), "resourceId": row.get::<&str, _>("resource_id"),
            "createdAt": time(row.get("at")), "source": row.get::<&str, _>("source"),
            "responseStatus": row.get::<i64, _>("status"), "actorType": row.get::<&str, _>("actor_type"),
            "actorId": row.get::<&str, _>("actor_id"), "tokenLastDigits": row.get::<&str, _>("token_last_digits"),
            "requestId": row.get::<&str, _>("request_id"), "accountId": row.get::<Option<&str>, _>("account_id"),
        })
    };
    Ok(Output::Items(
        "spotinst:audit",
        rows.into_iter().map(item).collect(),
    ))
}
