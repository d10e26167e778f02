//! Takes old rows out of the audit log, after they were written to a file.
//!
//! A row is deleted only when the file with it is on the disk. A crash in between leaves it in both: the next run writes it to
//! a file again, with the same `id`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::App;
use super::store::{audit, now};

/// Rows of one file: they are in memory at once.
const FILE: i64 = 10_000;
/// Rows that one transaction deletes: others wait for it.
const DELETE: i64 = 1_000;

/// How long the audit log is kept, and where its old rows go.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// Rows older than this are exported, and then deleted; `None` keeps them.
    pub retention: Option<Duration>,
    /// Folder of the exported files. Without it `audit-export` in the data directory; with `PostgreSQL` nothing is deleted
    /// without it.
    pub export: Option<PathBuf>,
    /// How often old rows are looked for.
    pub every: Duration,
    /// For how long further refusals of a kind are counted, before one row has their number.
    pub refusals: Duration,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            retention: Some(Duration::from_hours(400 * 24)),
            export: None,
            every: Duration::from_hours(1),
            refusals: Duration::from_mins(1),
        }
    }
}

/// Why old rows stay.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the export to {} failed: {source}", path.display())]
    Export { path: PathBuf, source: std::io::Error },
    #[error("the database failed: {0}")]
    Store(#[from] sqlx::Error),
    #[error("the export was interrupted")]
    Interrupted,
}

/// Exports and deletes old rows, now and again and again.
pub(super) async fn run(app: &App, config: &AuditConfig) {
    let Some(retention) = config.retention else {
        return std::future::pending().await;
    };
    let Some(folder) = &config.export else {
        tracing::warn!(
            "the audit log is kept for ever: give --audit-export a folder for the rows that --audit-retention ends"
        );
        return std::future::pending().await;
    };
    let age = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    loop {
        if let Err(error) = sweep(app, folder, now().saturating_sub(age)).await {
            app.metrics.audit_not_exported();
            tracing::error!(%error, "old rows of the audit log stay");
        }
        tokio::time::sleep(config.every).await;
    }
}

/// Exports and deletes what is older than a time, file by file.
async fn sweep(app: &App, folder: &Path, before: i64) -> Result<(), Failure> {
    loop {
        let mut conn = app.store.acquire_reader().await?;
        let rows = audit::oldest(&mut conn, &app.organization.name, before, FILE).await?;
        drop(conn);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let (first, last, count) = (first.0, last.0, rows.len());
        let name = format!("audit-{first}-{last}.jsonl");
        let path = folder.join(&name);
        let target = path.clone();
        let written = tokio::task::spawn_blocking(move || write(&target, &rows)).await;
        let written = written.map_err(|_| Failure::Interrupted)?;
        written.map_err(|source| Failure::Export { path, source })?;
        audit::mark_exported(&app.store, last, &name).await?;
        while audit::delete_exported(&app.store, last, DELETE).await? {}
        app.metrics.audit_exported(count);
        tracing::info!(
            rows = count,
            file = name,
            "old rows of the audit log were exported and deleted"
        );
    }
}

/// Writes a file that is whole under its name, and on the disk when this returns.
fn write(path: &Path, rows: &[(i64, String)]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let part = path.with_extension("part");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)?;
    let mut text = String::new();
    for (_, line) in rows {
        text.push_str(line);
        text.push('\n');
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    fs::File::open(folder)?.sync_all()
}
