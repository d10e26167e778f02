//! A real PostgreSQL for one test binary, with a database for each test.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// The server of this process. It goes with the process: its standard input is a pipe from here.
struct Server {
    folder: PathBuf,
    _process: Child,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("programmatic-users-postgres-{}", std::process::id()));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/postgres.sh");
    let mut process = Command::new(script)
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("it can be read");
    if line != "ready\n" {
        output.read_to_string(&mut line).expect("it can be read");
        panic!("PostgreSQL does not start: {line}");
    }
    Server {
        folder,
        _process: process,
    }
});

/// Where everything is that the server writes.
pub fn folder() -> &'static Path {
    &SERVER.folder
}

fn url(database: &str) -> String {
    let folder = folder().to_string_lossy().replace('/', "%2F");
    format!("postgres://postgres:postgres@{folder}/{database}")
}

/// The database of that name; made if it is not there.
///
/// # Panics
/// If the server does not do what it is asked.
#[must_use]
pub fn database(name: &str) -> String {
    let name = name.to_owned();
    // For callers inside and outside of a runtime.
    let making = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut conn = PgConnection::connect(&url("postgres")).await?;
            let found: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
                .bind(&name)
                .fetch_optional(&mut conn)
                .await?;
            if found.is_none() {
                conn.execute(AssertSqlSafe(format!("CREATE DATABASE \"{name}\"")))
                    .await?;
            }
            Ok::<_, sqlx::Error>(url(&name))
        })
    });
    making.join().expect("no panic").expect("a database")
}
