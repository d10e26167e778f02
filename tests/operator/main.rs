//! The operator on a real API server, against the embedded platform: one file a subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod ceiling;
mod clocks;
mod consumers;
mod creation;
mod credentials;
mod drift;
mod failures;
mod gitops;
mod grants;
mod isolation;
mod large;
mod lifetime;
mod logs;
mod metrics;
mod organizations;
mod outages;
mod power;
mod probes;
mod refusals;
mod replicas;
mod replies;
mod restarts;
mod restore;
mod rotation;
#[path = "../conformance/sdk.rs"]
mod sdk;
mod secrecy;
mod secrets;
mod shares;
mod startup_scan;
mod steady_state;
mod storms;
mod upgrade;
#[path = "../conformance/venv.rs"]
mod venv;
mod withdrawals;
