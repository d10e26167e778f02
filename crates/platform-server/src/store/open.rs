//! Opens the database, and brings it up to date.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, ConnectOptions as _, Connection as _, Executor as _};
use url::Url;

use super::queue::Queue;
use super::{BeginWrite, Store};
use crate::{Database, Error};

const READERS: u32 = 4;
const COUNTERS: u32 = 2;
/// The file of an `SQLite` database in its directory.
pub(crate) const FILE: &str = "platform.db";

/// Each connection's own settings. `FULL` is what makes a commit last. The log is brought into the file by 32 MiB: much
/// of what is written is written over again.
const SQLITE: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 8192;";

static SQLITE_TABLES: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_TABLES: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a platform may hold the lock of the writer: one that stops in the middle of a change, or whose machine fails,
/// loses its transaction.
const BOUNDS: &str = "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '10s';
    SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = '10s'";

impl Store {
    /// Opens the database and brings it up to date.
    pub(crate) async fn open(database: &Database) -> Result<Self, Error> {
        Self::open_with(database, Tables::BringUpToDate).await
    }

    /// Opens a database on which a platform of this release has started, and leaves its tables as they are: another release
    /// may be running on it, and a wrong URL may name a foreign database.
    pub(crate) async fn open_known(database: &Database) -> Result<Self, Error> {
        if let Database::Directory(directory) = database {
            let file = directory.join(FILE);
            if !file.is_file() {
                return Err(Error::Recovery(format!("there is no {}", file.display())));
            }
        }
        Self::open_with(database, Tables::AreKnown).await
    }

    async fn open_with(database: &Database, tables: Tables) -> Result<Self, Error> {
        install_default_drivers();
        match database {
            Database::Directory(directory) => Self::sqlite(directory, tables).await,
            Database::Postgres(url) => Self::postgres(url.expose(), tables).await,
        }
    }

    /// Makes the directory and the file if they are not there, readable by this user only.
    async fn sqlite(directory: &Path, tables: Tables) -> Result<Self, Error> {
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
        let file = file.canonicalize().map_err(failed)?;
        let options =
            AnyConnectOptions::from_url(&SqliteConnectOptions::new().filename(file).to_url_lossy())?;
        let writer = AnyPoolOptions::new()
            .max_connections(1)
            // A file does not go away as a server does.
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(|conn, _| Box::pin(async move { conn.execute(SQLITE).await.map(drop) }))
            .connect_with(options.clone())
            .await?;
        tables
            .prepare(&mut *writer.acquire().await?, &SQLITE_TABLES)
            .await?;
        let readers = AnyPoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .after_connect(|conn, _| {
                Box::pin(async move {
                    conn.execute(SQLITE).await?;
                    conn.execute("PRAGMA query_only = ON").await.map(drop)
                })
            })
            .connect_with(options)
            .await?;
        // It holds the lock from its first statement on.
        let begin_write = BeginWrite {
            begin: "BEGIN IMMEDIATE",
            lock: None,
        };
        Ok(Self {
            readers,
            queue: Queue::start(writer.clone(), begin_write),
            writer,
            counters: None,
            begin_read: "BEGIN",
            begin_write,
        })
    }

    async fn postgres(url: &Url, tables: Tables) -> Result<Self, Error> {
        let options = AnyConnectOptions::from_url(url)?;
        if may_be_overheard(&PgConnectOptions::from_url(url)?) {
            tracing::warn!(
                "the connection to the database may be in clear text; its URL can ask for TLS: ?sslmode=verify-full&sslrootcert=FILE"
            );
        }
        let failed = |source| Error::Connect {
            host: url.host_str().unwrap_or("localhost").replace("%2F", "/"),
            source,
        };
        // By itself first: a pool would try for long, and not say why.
        let mut first = AnyConnection::connect_with(&options).await.map_err(failed)?;
        tables.prepare(&mut first, &POSTGRES_TABLES).await?;
        first.close().await?;
        // What we answered must have reached the disk, whatever the server's own setting is.
        let durable = "SELECT set_config('synchronous_commit', 'on', false)
            WHERE current_setting('synchronous_commit') = 'off'";
        let writer = AnyPoolOptions::new()
            .max_connections(1)
            .after_connect(move |conn, _| {
                Box::pin(async move {
                    conn.execute(durable).await?;
                    conn.execute(BOUNDS).await.map(drop)
                })
            })
            .connect_with(options.clone())
            .await?;
        let readers = AnyPoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.clone())
            .await?;
        let counters = AnyPoolOptions::new()
            .max_connections(COUNTERS)
            .connect_with(options)
            .await?;
        let begin_write = BeginWrite {
            begin: "BEGIN",
            lock: Some("LOCK TABLE organization IN EXCLUSIVE MODE"),
        };
        Ok(Self {
            readers,
            queue: Queue::start(writer.clone(), begin_write),
            writer,
            counters: Some(counters),
            begin_read: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            begin_write,
        })
    }
}

/// What is done about the tables of a database.
#[derive(Debug, Clone, Copy)]
enum Tables {
    BringUpToDate,
    /// Nothing; they have to be those of this release.
    AreKnown,
}

impl Tables {
    async fn prepare(self, conn: &mut AnyConnection, all: &Migrator) -> Result<(), Error> {
        if matches!(self, Self::BringUpToDate) {
            return Ok(all.run(conn).await?);
        }
        let found = sqlx::query_scalar::<_, i64>("SELECT version FROM _sqlx_migrations ORDER BY version");
        let refused = |why: &str| Err(Error::Recovery(why.to_owned()));
        match found.fetch_all(conn).await {
            Err(error) if is_without_table(&error) => refused("no platform has started on this database"),
            Err(error) => Err(error.into()),
            Ok(found) if all.iter().map(|m| m.version).ne(found.iter().copied()) => refused(
                "a platform of another release has started on this database: use the program of that release, or start the platform of this one first",
            ),
            Ok(_) => Ok(()),
        }
    }
}

/// In the words of either database.
fn is_without_table(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    error.is_some_and(|e| e.code().as_deref() == Some("42P01") || e.message().starts_with("no such table"))
}

/// Whether what is said to the database may pass a network in clear text: by default TLS is only tried.
fn may_be_overheard(options: &PgConnectOptions) -> bool {
    // An address of version 6 is in brackets.
    let host = options.get_host().trim_matches(['[', ']']);
    let is_here = options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let is_optional = matches!(
        options.get_ssl_mode(),
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer
    );
    !is_here && is_optional
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

    use super::{FILE, PgConnectOptions, may_be_overheard};
    use crate::Database;
    use crate::store::{Store, users};

    #[test]
    fn what_may_be_overheard_is_known() {
        for (url, may_be) in [
            ("postgres://u@db.example.com/d", true),
            ("postgres://u@db.example.com/d?sslmode=prefer", true),
            ("postgres://u@db.example.com/d?sslmode=require", false),
            (
                "postgres://u@10.0.0.1/d?sslmode=verify-full&sslrootcert=/ca.crt",
                false,
            ),
            ("postgres://u@[2001:db8::1]/d", true),
            ("postgres://u@localhost/d?host=db.example.com", true),
            ("postgres://u@localhost/d", false),
            ("postgres://u@127.0.0.1/d", false),
            ("postgres://u@[::1]/d", false),
            ("postgres://u@%2Frun%2Fpostgresql/d", false),
            ("postgres://u@db.example.com/d?host=/run/postgresql", false),
        ] {
            let options = PgConnectOptions::from_url(&url.parse().unwrap()).unwrap();
            assert_eq!(may_be_overheard(&options), may_be, "{url}");
        }
    }

    /// The database of an earlier release, with a user in it.
    #[tokio::test]
    async fn what_an_earlier_release_wrote_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let file = SqliteConnectOptions::new().filename(directory.path().join(FILE));
        let mut conn = file.create_if_missing(true).connect().await.unwrap();
        let mut earlier = sqlx::migrate!("migrations/sqlite");
        earlier.migrations = earlier.migrations.iter().take(3).cloned().collect();
        earlier.run(&mut conn).await.unwrap();
        let rows = "INSERT INTO user (id, type, name, created_at) VALUES ('pu-1', 'programmatic', 'ci', 0);
            INSERT INTO token (user_id, name, hash, last_digits, created_at)
            VALUES ('pu-1', 'ci', randomblob(32), 'abcd', 0);";
        conn.execute(rows).await.unwrap();
        conn.close().await.unwrap();

        let database = Database::Directory(directory.path().to_owned());
        let store = Store::open(&database).await.unwrap();
        let mut tx = store.read().await.unwrap();
        let user = users::details(&mut tx, "pu-1").await.unwrap().unwrap();
        assert_eq!((user.username.as_str(), user.tokens.len()), ("ci", 1));
        tx.rollback().await.unwrap();
        let mut tx = store.write().await.unwrap();
        assert!(users::delete(&mut tx, "pu-1").await.unwrap());
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM token")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert_eq!(left, 0, "its tokens go with it");
    }

    #[tokio::test]
    async fn commits_are_durable_and_readers_cannot_write() {
        let (store, _directory) = Store::scratch().await;
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
        tx.rollback().await.unwrap();
        let mut tx = store.read().await.unwrap();
        let write = sqlx::query("DELETE FROM platform_user").execute(&mut *tx).await;
        assert!(write.unwrap_err().to_string().contains("readonly"));
    }
}
