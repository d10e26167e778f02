//! The embedded platform over PostgreSQL: the tests of `platform.rs`, and two platforms that share a database.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};

use programmatic_users::server::Database;

#[path = "support/postgres.rs"]
mod server;

#[path = "platform/support.rs"]
mod support;

#[path = "platform/access.rs"]
mod access;
#[path = "platform/alike.rs"]
mod alike;
#[path = "platform/audit.rs"]
mod audit;
#[path = "platform/conditions.rs"]
mod conditions;
#[path = "platform/conformance.rs"]
mod conformance;
#[path = "platform/console.rs"]
mod console;
#[path = "platform/edge.rs"]
mod edge;
#[path = "platform/envelope.rs"]
mod envelope;
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
#[path = "platform/replicas.rs"]
mod replicas;
#[path = "conformance/sdk.rs"]
mod sdk;
#[path = "platform/shapes.rs"]
mod shapes;
#[path = "platform/tables.rs"]
mod tables;
#[path = "platform/users.rs"]
mod users;
#[path = "conformance/venv.rs"]
mod venv;
#[path = "support/wait.rs"]
#[allow(dead_code, reason = "other tests wait for what must not happen")]
mod wait;

/// The database of a platform whose folder would be this one.
fn database(folder: &Path) -> Database {
    let name = folder.file_name().unwrap().to_str().unwrap();
    Database::Postgres(server::database(name).parse().unwrap())
}

/// The same, to look into.
fn database_url(folder: &Path) -> String {
    server::database(folder.file_name().unwrap().to_str().unwrap())
}

/// Where everything is that was written to the disk.
fn written(_: &Path) -> PathBuf {
    server::folder().to_owned()
}
