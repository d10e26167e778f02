//! Backup of the database of a running platform, and restore.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

use super::FILE;
use crate::Error;

/// Writes a copy of the database in `directory`, as of one moment, to the new file `to`, readable by this user only. A
/// platform that runs goes on.
pub(crate) async fn backup(directory: &Path, to: &Path) -> Result<(), Error> {
    let failed = |path: &Path, source| Error::Backup {
        path: path.to_owned(),
        source,
    };
    let file = directory.join(FILE);
    fs::metadata(&file).map_err(|e| failed(&file, e))?;
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .busy_timeout(Duration::from_secs(10));
    let copied = copy_anew(options, to).await.map_err(|e| failed(to, e))?;
    Ok(copied?)
}

/// Makes `directory` the folder of a platform that knows what the copy `from` knows. The folder holds no database before: what
/// is left of another one, its log above all, would be read as part of this one.
pub(crate) async fn restore(from: &Path, directory: &Path) -> Result<(), Error> {
    let failed = |path: &Path, why: &dyn std::fmt::Display| Error::Restore {
        path: path.to_owned(),
        why: why.to_string(),
    };
    fs::metadata(from).map_err(|e| failed(from, &e))?;
    if let Some(side) = side_file(from) {
        let why = "is there, so that this is no copy but the database of a platform: make a copy of that with `backup --data`, or move this file away if it belongs to something else";
        return Err(failed(&side, &why));
    }
    require_platform(from).await.map_err(|e| failed(from, &e))?;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(directory).map_err(|e| failed(directory, &e))?;
    let to = directory.join(FILE);
    let copied = copy_anew(unchanged(from), &to)
        .await
        .map_err(|e| failed(&to, &e))?;
    copied.map_err(|e| failed(&to, &e))
}

/// What `SQLite` keeps beside a database, if it is there.
fn side_file(database: &Path) -> Option<PathBuf> {
    let beside = ["-wal", "-shm", "-journal"].map(|end| with_end(database, end));
    beside.into_iter().find(|file| fs::symlink_metadata(file).is_ok())
}

fn with_end(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Fails unless a platform has made this database.
async fn require_platform(file: &Path) -> Result<(), String> {
    let said = |error: sqlx::Error| match error.to_string() {
        words
            if ["not a database", "no such table", "no rows"]
                .iter()
                .any(|w| words.contains(w)) =>
        {
            "is no copy of a platform's database".to_owned()
        }
        words => words,
    };
    let mut conn = SqliteConnection::connect_with(&unchanged(file))
        .await
        .map_err(said)?;
    let found = sqlx::query("SELECT id FROM organization").fetch_one(&mut conn);
    found.await.map(drop).map_err(said)?;
    conn.close().await.map_err(said)
}

/// A file that no process writes.
fn unchanged(file: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new().filename(file);
    options.read_only(true).immutable(true)
}

/// Copies into a new file, which appears when it is whole. A failure leaves nothing; a killed process leaves a file of another
/// name, which the next copy overwrites.
async fn copy_anew(
    options: SqliteConnectOptions,
    to: &Path,
) -> Result<Result<(), sqlx::Error>, std::io::Error> {
    let taken = fs::symlink_metadata(to).is_ok().then(|| to.to_owned());
    if let Some(file) = taken.or_else(|| side_file(to)) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        return Err(std::io::Error::other(format!(
            "{name} is there already: give another place, or move its files away together"
        )));
    }
    let part = with_end(to, ".part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The file has its mode before it has any content.
    let mut new = fs::OpenOptions::new();
    new.write(true).create_new(true).mode(0o600);
    new.open(&part)?;
    let copied = copy(options, &part).await;
    if copied.is_ok() {
        // Unlike a rename, a link overwrites nothing.
        fs::hard_link(&part, to)?;
    }
    fs::remove_file(&part)?;
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(copied)
}

async fn copy(options: SqliteConnectOptions, to: &Path) -> Result<(), sqlx::Error> {
    let mut conn = SqliteConnection::connect_with(&options).await?;
    sqlx::query("VACUUM INTO ?")
        .bind(to.to_string_lossy())
        .execute(&mut conn)
        .await?;
    conn.close().await?;
    // On the disk before the caller relies on it.
    fs::File::open(to)
        .and_then(|f| f.sync_all())
        .map_err(sqlx::Error::Io)
}
