//! The database: one writer, several readers, durable before any answer.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

/// Connections to the database.
pub(super) struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Store {
    /// Opens, or makes, the database in `dir` and brings it up to date.
    pub(super) async fn open(dir: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(dir.join("platform.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An answered create survives a power cut: the token was shown, and never is again.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!("src/server/migrations").run(&writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self { writer, readers })
    }

    /// A transaction that writes; they take turns.
    pub(super) async fn write(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// A connection that only reads.
    pub(super) async fn read(&self) -> Result<sqlx::pool::PoolConnection<Sqlite>, sqlx::Error> {
        self.readers.acquire().await
    }

    /// Lets what is under way end.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// The platform's way of writing a stored time.
pub(super) fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map(crate::platform::format_time)
        .unwrap_or_default()
}

/// A connection of either kind.
pub(super) type Db = SqliteConnection;

/// One line of the audit log.
pub(super) struct AuditRow<'a> {
    pub(super) request_id: &'a str,
    pub(super) actor_type: &'a str,
    pub(super) actor_id: &'a str,
    pub(super) token_last_digits: &'a str,
    pub(super) source: &'a str,
    pub(super) action: &'a str,
    pub(super) resource_type: &'a str,
    pub(super) resource_id: &'a str,
    pub(super) account_id: Option<&'a str>,
    pub(super) status: u16,
}

/// Appends to the audit log.
pub(super) async fn audit(db: &mut Db, row: &AuditRow<'_>) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO audit (at, request_id, actor_type, actor_id, token_last_digits, source, action, resource_type, resource_id, account_id, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(now())
        .bind(row.request_id)
        .bind(row.actor_type)
        .bind(row.actor_id)
        .bind(row.token_last_digits)
        .bind(row.source)
        .bind(row.action)
        .bind(row.resource_type)
        .bind(row.resource_id)
        .bind(row.account_id)
        .bind(i64::from(row.status))
        .execute(db)
        .await
        .map(drop)
}
