//! The database: `SQLite` in write-ahead mode, one writer, several readers.
//!
//! A commit is on the disk before it returns (`synchronous = FULL`), so what an answer says has happened. Functions
//! take a connection, so that a handler decides what belongs into one transaction: the change and its audit row.

pub(super) mod access;
pub(super) mod accounts;
pub(super) mod audit;
pub(super) mod credentials;
pub(super) mod elastigroups;
pub(super) mod sign_in;
pub(super) mod users;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, Sqlite, SqliteConnection};

use super::{Error, secret};

const READERS: u32 = 4;
pub(super) const FILE: &str = "platform.db";

/// A transaction; without `commit` it never happened.
pub(super) type Transaction = sqlx::Transaction<'static, Sqlite>;

/// The open database.
#[derive(Debug, Clone)]
pub(super) struct Store {
    readers: SqlitePool,
    writer: SqlitePool,
}

impl Store {
    /// Opens or creates the database in that directory, readable by this user only, and brings it up to date.
    pub(super) async fn open(directory: &Path) -> Result<Self, Error> {
        let failed = |source| Error::DataDirectory {
            path: directory.to_owned(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        let file = directory.join(FILE);
        // SQLite gives its side files the mode of this one.
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&file)
            .map_err(failed)?;
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!("src/server/migrations").run(&writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.pragma("query_only", "ON"))
            .await?;
        Ok(Self { readers, writer })
    }

    /// A consistent view of what is committed.
    pub(super) async fn read(&self) -> Result<Transaction, sqlx::Error> {
        self.readers.begin().await
    }

    /// The only transaction that writes; others wait. It holds the lock from its first statement on.
    pub(super) async fn write(&self) -> Result<Transaction, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// Waits for what runs and closes the file.
    pub(super) async fn close(&self) {
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
    crate::platform::format_time(Timestamp::from_millisecond(at).unwrap_or_default())
}

/// An id that nothing has yet: 32 random bits collide now and then among some ten thousand objects.
pub(super) async fn unused_id(
    conn: &mut SqliteConnection,
    prefix: &str,
    exists: &'static str,
) -> Result<String, super::reply::ApiError> {
    loop {
        let id = format!("{prefix}-{}", secret::random_hex::<4>()?);
        let taken: bool = sqlx::query_scalar(exists).bind(&id).fetch_one(&mut *conn).await?;
        if !taken {
            return Ok(id);
        }
    }
}

/// Writes a copy of the database in `directory`, as of one moment, to the new file `to`, readable by this user only. A
/// platform that runs goes on.
pub(super) async fn backup(directory: &Path, to: &Path) -> Result<(), Error> {
    let failed = |path: &Path, source| Error::Backup {
        path: path.to_owned(),
        source,
    };
    let file = directory.join(FILE);
    fs::metadata(&file).map_err(|e| failed(&file, e))?;
    // The copy is written into it: whoever may read it is settled before there is anything to read.
    let mut new = fs::OpenOptions::new();
    new.write(true).create_new(true).mode(0o600);
    new.open(to).map_err(|e| failed(to, e))?;
    let copied = copy(&file, to).await;
    if copied.is_err() {
        fs::remove_file(to).map_err(|e| failed(to, e))?;
    }
    Ok(copied?)
}

async fn copy(file: &Path, to: &Path) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(Duration::from_secs(10));
    let mut conn = SqliteConnection::connect_with(&options).await?;
    sqlx::query("VACUUM INTO ?")
        .bind(to.to_string_lossy())
        .execute(&mut conn)
        .await?;
    conn.close().await?;
    // Onto the disk, before anybody relies on it.
    fs::File::open(to)
        .and_then(|f| f.sync_all())
        .map_err(sqlx::Error::Io)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Store;

    #[tokio::test]
    async fn commits_are_durable_readers_cannot_write_and_the_audit_log_only_grows() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        let mut tx = store.write().await.unwrap();
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
        let event = super::audit::Event {
            actor_type: "system",
            source: "SYSTEM",
            ..Default::default()
        };
        super::audit::record(&mut tx, &event).await.unwrap();
        for statement in ["DELETE FROM audit", "UPDATE audit SET actor_id = 'x'"] {
            assert!(sqlx::query(statement).execute(&mut *tx).await.is_err());
        }
        // A programmatic user cannot have a password, whatever the code does.
        let user = "INSERT INTO user (id, type, name, created_at) VALUES ('pu-1', 'programmatic', 'x', 0)";
        sqlx::query(user).execute(&mut *tx).await.unwrap();
        let password = "INSERT INTO console_password (user_id, hash) VALUES ('pu-1', 'x')";
        assert!(sqlx::query(password).execute(&mut *tx).await.is_err());
        tx.commit().await.unwrap();
        let mut tx = store.read().await.unwrap();
        assert!(sqlx::query("DELETE FROM user").execute(&mut *tx).await.is_err());
    }
}
