//! A copy of the database of a platform that runs.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

use super::FILE;
use crate::server::Error;

/// Writes a copy of the database in `directory`, as of one moment, to the new file `to`, readable by this user only. A
/// platform that runs goes on.
pub(in crate::server) async fn backup(directory: &Path, to: &Path) -> Result<(), Error> {
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
