//! The audit log: successes and refusals, with the kind of the user. Rows are added, and deleted when they are old and in a file; the
//! database refuses the rest.

use serde_json::{Value, json};
use sqlx::FromRow;

use super::batch::Batch;
use super::{Connection, Store, now, written};

/// Longest text of a caller in bytes: rows stay for long, and requests without a credential cause them too.
const LONGEST: usize = 200;

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
    /// How many requests the row stands for; 0 is one.
    pub(crate) requests: i64,
    /// The address that the request came from, or the network.
    pub(crate) peer: Option<&'a str>,
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

#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) account: Option<String>,
    pub(crate) successes_only: bool,
    pub(crate) actor_type: Option<String>,
    pub(crate) newest: i64,
}

#[derive(FromRow)]
struct Row {
    id: i64,
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
    requests: i64,
    peer: Option<String>,
}

impl Row {
    fn shown(self, organization: &str) -> Value {
        json!({
            "user": self.actor_name, "namespace": organization, "actionType": self.action,
            "resourceType": self.resource_type, "resourceId": self.resource_id, "createdAt": written(self.at),
            "context": self.context, "source": self.source, "agent": self.agent, "responseStatus": self.status,
            "actorType": shown_type(&self.actor_type), "actorId": self.actor_id,
            "tokenLastDigits": self.token_last_digits, "accountId": self.account_id, "result": self.result,
            "requestId": self.request_id, "requests": self.requests, "peer": self.peer,
        })
    }
}

/// Adds a row to the batch of its change.
pub(crate) fn add(batch: &mut Batch, event: &Event<'_>) {
    let context = json!({"method": cut(event.method), "url": cut(event.url)}).to_string();
    batch.statement(
        "INSERT INTO audit (at, actor_id, actor_name, actor_type, token_last_digits, source, agent, action,
         resource_type, resource_id, account_id, result, status, context, request_id, requests, peer)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
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
    .bind(event.request_id)
    .bind(event.requests.max(1))
    .bind(event.peer);
}

pub(crate) fn cut(text: &str) -> &str {
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
    Ok(rows.into_iter().map(|row| row.shown(organization)).collect())
}

/// The oldest rows before a time: id, and line of the export.
pub(crate) async fn oldest(
    conn: &mut Connection,
    organization: &str,
    before: i64,
    most: i64,
) -> Result<Vec<(i64, String)>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as("SELECT * FROM audit ORDER BY id LIMIT $1")
        .bind(most)
        .fetch_all(conn)
        .await?;
    let old = rows.into_iter().take_while(|row| row.at < before);
    Ok(old
        .map(|row| {
            let id = row.id;
            let mut line = row.shown(organization);
            line["id"] = json!(id);
            (id, line.to_string())
        })
        .collect())
}

/// Notes that all rows up to an id are in a file that is on the disk.
pub(crate) async fn mark_exported(store: &Store, through: i64, file: &str) -> Result<(), sqlx::Error> {
    let mut batch = Batch::default();
    batch
        .statement("INSERT INTO audit_export (through, file, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(through)
        .bind(file)
        .bind(now());
    store.record(batch).await
}

/// Deletes some of the rows up to an id that [`mark_exported`] noted; `false` if there are no more.
pub(crate) async fn delete_exported(store: &Store, through: i64, most: i64) -> Result<bool, sqlx::Error> {
    let mut tx = store.write().await?;
    let done = sqlx::query(
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id <= $1 ORDER BY id LIMIT $2)",
    )
    .bind(through)
    .bind(most)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(done.rows_affected() > 0)
}

/// The word that the API shows.
pub(crate) fn shown_type(actor_type: &str) -> &'static str {
    match actor_type {
        "ui" => "UI",
        "programmatic" => "Programmatic",
        "system" => "System",
        _ => "Anonymous",
    }
}

pub(crate) const ACTOR_TYPES: [&str; 4] = ["ui", "programmatic", "system", "anonymous"];
