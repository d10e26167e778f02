//! The commands of people, run as people run them: the real program, a real API server, a running platform.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod asked;
mod audit;
mod docs;
mod doctor;
mod get;
mod import;
mod plugin;
mod refused;
mod rotate;
mod unmanaged;
mod why;
