//! The database: `SQLite` in write-ahead mode, or `PostgreSQL`; the same statements for both.
//!
//! A commit is on the disk before it returns, so what an answer says has happened. There is one writer at a time, in all
//! processes that share a database: what a change has checked still holds when it writes. Functions take a connection,
//! so that a handler decides what belongs into one transaction: the change and its audit row.

pub(super) mod access;
pub(super) mod accounts;
pub(super) mod audit;
pub(super) mod backup;
pub(super) mod batch;
pub(super) mod callers;
pub(super) mod credentials;
pub(super) mod elastigroups;
pub(super) mod facts;
mod open;
pub(super) mod queue;
pub(super) mod requests;
pub(super) mod sign_in;
pub(super) mod users;

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, AssertSqlSafe, Executor as _};

use super::secret;

pub(super) use open::FILE;
use queue::Queue;

pub(super) type Connection = sqlx::AnyConnection;

/// Ids in one statement: the values of a statement have a limit in both databases.
const IDS_TOGETHER: usize = 500;

/// A connection for one statement, see [`Store::look`].
pub(super) type ReadConnection = PoolConnection<Any>;

/// A transaction; without `commit` it never happened.
pub(super) type Transaction = sqlx::Transaction<'static, Any>;

#[derive(Debug, Clone)]
pub(super) struct Store {
    readers: AnyPool,
    writer: AnyPool,
    /// Where requests are counted, if other processes may share the database.
    counters: Option<AnyPool>,
    /// Whole transactions for the writer.
    queue: Queue,
    /// How a transaction begins that sees one moment.
    begin_read: &'static str,
    /// How a transaction begins that no other one writes beside.
    begin_write: BeginWrite,
}

/// How a transaction begins that no other one writes beside.
#[derive(Debug, Clone, Copy)]
struct BeginWrite {
    begin: &'static str,
    /// What takes the lock, if that is a statement of its own. It may fail, and then the transaction has to be ended.
    lock: Option<&'static str>,
}

impl BeginWrite {
    async fn on(self, writer: &AnyPool) -> Result<Transaction, sqlx::Error> {
        let mut tx = writer.begin_with(self.begin).await?;
        if let Some(lock) = self.lock {
            tx.execute(lock).await?;
        }
        Ok(tx)
    }
}

impl Store {
    /// What is committed, for one statement: a second one may see more.
    pub(super) async fn acquire_reader(&self) -> Result<ReadConnection, sqlx::Error> {
        self.readers.acquire().await
    }

    /// Whether other platforms may use the database.
    pub(super) fn is_shared(&self) -> bool {
        self.counters.is_some()
    }

    /// A consistent view of what is committed, for several.
    pub(super) async fn read(&self) -> Result<Transaction, sqlx::Error> {
        self.readers.begin_with(self.begin_read).await
    }

    /// The only transaction that writes; others wait, those of other processes too.
    pub(super) async fn write(&self) -> Result<Transaction, sqlx::Error> {
        self.begin_write.on(&self.writer).await
    }

    /// Waits for what runs and lets the database go.
    pub(super) async fn close(&self) {
        if let Some(counters) = &self.counters {
            counters.close().await;
        }
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// The clock of all stored times.
pub(super) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// A stored time as the wire writes it.
pub(super) fn written(at: i64) -> String {
    platform_api::format_time(Timestamp::from_millisecond(at).unwrap_or_default())
}

/// Whether a statement that counts by one id counts anything.
async fn exists(conn: &mut Connection, count: &'static str, id: &str) -> Result<bool, sqlx::Error> {
    let found: i64 = sqlx::query_scalar(count).bind(id).fetch_one(conn).await?;
    Ok(found > 0)
}

/// Which of these ids a table has.
pub(super) async fn stored(
    conn: &mut Connection,
    table: &'static str,
    ids: &[&str],
) -> Result<HashSet<String>, sqlx::Error> {
    let mut found = HashSet::new();
    for some in ids.chunks(IDS_TOGETHER) {
        let places: Vec<_> = (1..=some.len()).map(|place| format!("${place}")).collect();
        // Made of constants and numbers alone.
        let sql = format!("SELECT id FROM {table} WHERE id IN ({})", places.join(", "));
        let mut query = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql));
        for id in some {
            query = query.bind(*id);
        }
        found.extend(query.fetch_all(&mut *conn).await?);
    }
    Ok(found)
}

/// An id that nothing has yet: 32 random bits collide now and then among some ten thousand objects.
pub(super) async fn unused_id(
    conn: &mut Connection,
    prefix: &str,
    count: &'static str,
) -> Result<String, super::reply::ApiError> {
    loop {
        let id = format!("{prefix}-{}", secret::random_hex::<4>()?);
        if !exists(&mut *conn, count, &id).await? {
            return Ok(id);
        }
    }
}

#[cfg(test)]
impl Store {
    /// An empty one, in a folder that goes with what it is returned with.
    async fn scratch() -> (Self, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let database = super::Database::Directory(directory.path().to_owned());
        (Self::open(&database).await.unwrap(), directory)
    }
}

#[cfg(test)]
mod tests {
    use super::{IDS_TOGETHER, Store, accounts, stored};

    #[tokio::test]
    async fn ids_are_looked_up_together() {
        let (store, _directory) = Store::scratch().await;
        let mut tx = store.write().await.unwrap();
        accounts::create(&mut tx, Some("act-1"), "first").await.unwrap();
        accounts::create(&mut tx, Some("act-2"), "second").await.unwrap();
        let unknown: Vec<_> = (0..2 * IDS_TOGETHER).map(|n| format!("act-0-{n}")).collect();
        let mut ids: Vec<_> = unknown.iter().map(String::as_str).collect();
        assert!(stored(&mut tx, "account", &ids).await.unwrap().is_empty());
        ids.insert(0, "act-1");
        ids.push("act-2");
        let found = stored(&mut tx, "account", &ids).await.unwrap();
        assert_eq!(found, ["act-1", "act-2"].map(str::to_owned).into());
    }
}
