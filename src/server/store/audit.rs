//! The audit log: who did or tried what, by which kind of user. Rows can only be added; the database refuses the rest.

use serde_json::{Value, json};
use sqlx::FromRow;

use super::batch::Batch;
use super::{Connection, now, written};

/// Bytes of a text that callers choose the length of: rows are for good, and one may be had without a credential.
const LONGEST: usize = 200;

/// A row to be added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Event<'a> {
    pub(crate) actor_id: Option<&'a str>,
    pub(crate) actor_name: &'a str,
    /// `ui`, `programmatic`, `system` or `anonymous`.
    pub(crate) actor_type: &'a str,
    pub(crate) token_last_digits: Option<&'a str>,
    /// `UI`, `API` or `SYSTEM`.
    pub(crate) source: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) action: &'a str,
    pub(crate) resource_type: &'a str,
    pub(crate) resource_id: Option<&'a str>,
    pub(crate) account_id: Option<&'a str>,
    pub(crate) result: &'a str,
    pub(crate) status: u16,
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) request_id: &'a str,
}

impl<'a> Event<'a> {
    /// Of what the program did by itself.
    pub(crate) fn of_system(action: &'a str, resource_type: &'a str, resource_id: &'a str) -> Self {
        Self {
            actor_name: "system",
            actor_type: "system",
            source: "SYSTEM",
            agent: "programmatic-users",
            action,
            resource_type,
            resource_id: Some(resource_id),
            result: "success",
            status: 200,
            ..Self::default()
        }
    }
}

/// Which rows to show.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) account: Option<String>,
    pub(crate) successes_only: bool,
    pub(crate) actor_type: Option<String>,
    /// How many at most.
    pub(crate) newest: i64,
}

#[derive(FromRow)]
struct Row {
    at: i64,
    actor_id: Option<String>,
    actor_name: String,
    actor_type: String,
    token_last_digits: Option<String>,
    source: String,
    agent: String,
    action: String,
    resource_type: String,
    resource_id: Option<String>,
    account_id: Option<String>,
    result: String,
    status: i64,
    context: String,
    request_id: String,
}

/// Adds a row, together with what it tells of.
pub(crate) fn add(batch: &mut Batch, event: &Event<'_>) {
    let context = json!({"method": cut(event.method), "url": cut(event.url)}).to_string();
    batch.statement(
        "INSERT INTO audit (at, actor_id, actor_name, actor_type, token_last_digits, source, agent, action,
         resource_type, resource_id, account_id, result, status, context, request_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(now())
    .bind(event.actor_id)
    .bind(event.actor_name)
    .bind(event.actor_type)
    .bind(event.token_last_digits)
    .bind(event.source)
    .bind(cut(event.agent))
    .bind(event.action)
    .bind(event.resource_type)
    .bind(event.resource_id.map(cut))
    .bind(event.account_id.map(cut))
    .bind(event.result)
    .bind(i64::from(event.status))
    .bind(context.as_str())
    .bind(event.request_id);
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// The newest rows of a filter, the oldest of them first.
pub(crate) async fn list(
    conn: &mut Connection,
    organization: &str,
    filter: &Filter,
) -> Result<Vec<Value>, sqlx::Error> {
    let below = if filter.successes_only { 400 } else { i64::MAX };
    let mut rows: Vec<Row> = sqlx::query_as(
        "SELECT * FROM audit WHERE at BETWEEN $1 AND $2 AND ($3 IS NULL OR account_id = $3)
         AND ($4 IS NULL OR actor_type = $4) AND status < $5 ORDER BY id DESC LIMIT $6",
    )
    .bind(filter.from)
    .bind(filter.to)
    .bind(&filter.account)
    .bind(&filter.actor_type)
    .bind(below)
    .bind(filter.newest)
    .fetch_all(conn)
    .await?;
    rows.reverse();
    let shown = |r: Row| {
        json!({
            "user": r.actor_name, "namespace": organization, "actionType": r.action,
            "resourceType": r.resource_type, "resourceId": r.resource_id, "createdAt": written(r.at),
            "context": r.context, "source": r.source, "agent": r.agent, "responseStatus": r.status,
            "actorType": shown_type(&r.actor_type), "actorId": r.actor_id,
            "tokenLastDigits": r.token_last_digits, "accountId": r.account_id, "result": r.result,
            "requestId": r.request_id,
        })
    };
    Ok(rows.into_iter().map(shown).collect())
}

/// The word that people read.
pub(crate) fn shown_type(actor_type: &str) -> &'static str {
    match actor_type {
        "ui" => "UI",
        "programmatic" => "Programmatic",
        "system" => "System",
        _ => "Anonymous",
    }
}

/// The kinds of actors.
pub(crate) const ACTOR_TYPES: [&str; 4] = ["ui", "programmatic", "system", "anonymous"];
