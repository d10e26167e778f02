//! A copy of the database of a platform that runs, and a platform's folder made of one.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
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
    let copied = copy_anew(&file, to).await.map_err(|e| failed(to, e))?;
    Ok(copied?)
}

/// Makes `directory` the folder of a platform that knows what the copy `from` knows. The folder holds no database before: what
/// is left of another one, its log above all, would be read as part of this one.
pub(in crate::server) async fn restore(from: &Path, directory: &Path) -> Result<(), Error> {
    let failed = |path: &Path, why: &dyn std::fmt::Display| Error::Restore {
        path: path.to_owned(),
        why: why.to_string(),
    };
    fs::metadata(from).map_err(|e| failed(from, &e))?;
    require_platform(from).await.map_err(|e| failed(from, &e))?;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(directory).map_err(|e| failed(directory, &e))?;
    for end in ["", "-wal", "-shm", "-journal"] {
        let file = directory.join(format!("{FILE}{end}"));
        if fs::symlink_metadata(&file).is_ok() {
            let why = "is there already: give another folder, or move its files away together";
            return Err(failed(&file, &why));
        }
    }
    let to = directory.join(FILE);
    let copied = copy_anew(from, &to).await.map_err(|e| failed(&to, &e))?;
    copied.map_err(|e| failed(&to, &e))
}

/// Fails unless a platform has made this database.
async fn require_platform(file: &Path) -> Result<(), String> {
    let none = |_| "is no copy of a platform's database".to_owned();
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut conn = SqliteConnection::connect_with(&options).await.map_err(none)?;
    let found = sqlx::query("SELECT id FROM organization").fetch_one(&mut conn);
    found.await.map(drop).map_err(none)?;
    conn.close().await.map_err(none)
}

/// Copies into a new file, of which nothing stays if it fails.
async fn copy_anew(file: &Path, to: &Path) -> Result<Result<(), sqlx::Error>, std::io::Error> {
    // The copy is written into it: whoever may read it is settled before there is anything to read.
    let mut new = fs::OpenOptions::new();
    new.write(true).create_new(true).mode(0o600);
    new.open(to)?;
    let copied = copy(file, to).await;
    if copied.is_err() {
        fs::remove_file(to)?;
    }
    Ok(copied)
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
