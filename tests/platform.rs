//! The embedded platform, over real HTTP and a real SQLite; `postgres.rs` has the same tests over PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};

use programmatic_users::server::Database;

#[path = "platform/support.rs"]
mod support;

#[path = "platform/access.rs"]
mod access;
#[path = "platform/alike.rs"]
mod alike;
#[path = "platform/audit.rs"]
mod audit;
#[path = "platform/authz.rs"]
mod authz;
#[path = "platform/browser.rs"]
mod browser;
#[path = "platform/conditions.rs"]
mod conditions;
#[path = "platform/conformance.rs"]
mod conformance;
#[path = "platform/console.rs"]
mod console;
#[path = "platform/docs.rs"]
mod docs;
#[path = "platform/edge.rs"]
mod edge;
#[path = "platform/envelope.rs"]
mod envelope;
#[path = "platform/files.rs"]
mod files;
#[path = "platform/fuzz.rs"]
mod fuzz;
#[path = "conformance/go_sdk.rs"]
mod go_sdk;
#[path = "platform/late.rs"]
mod late;
#[path = "platform/lifecycle.rs"]
mod lifecycle;
#[path = "platform/mappings.rs"]
mod mappings;
#[path = "platform/metrics.rs"]
mod metrics;
#[path = "platform/organization.rs"]
mod organization;
#[path = "platform/recovery.rs"]
mod recovery;
#[path = "conformance/sdk.rs"]
mod sdk;
#[path = "platform/shapes.rs"]
mod shapes;
#[path = "platform/tables.rs"]
mod tables;
#[path = "platform/tls.rs"]
mod tls;
#[path = "platform/users.rs"]
mod users;
#[path = "conformance/venv.rs"]
mod venv;
#[path = "support/wait.rs"]
#[allow(dead_code, reason = "other tests wait for what must not happen")]
mod wait;
#[path = "platform/walkthroughs.rs"]
mod walkthroughs;

/// The database of a platform whose folder is this one.
fn database(folder: &Path) -> Database {
    Database::Directory(folder.to_owned())
}

/// The same, to look into.
fn database_url(folder: &Path) -> String {
    format!("sqlite://{}/platform.db", folder.display())
}

/// Where everything is that was written to the disk.
fn written(folder: &Path) -> PathBuf {
    folder.to_owned()
}
