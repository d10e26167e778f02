//! The Helm chart: what it renders, what the API server then lets whom do, and the operator that it runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

#[path = "../support/mod.rs"]
mod support;

mod escapes;
mod helm;
mod install;
mod installs;
mod matrix;
mod monitoring;
mod objects;
mod organizations;
mod package;
mod rights;
mod supply;
