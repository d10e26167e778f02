//! A hostile tenant's hour, and a hostile platform's hour: what others notice of them.
//!
//! `make test-hostile` runs both for MINUTES=60 together; `make test` runs a part. Each measures what others do while
//! nothing happens and while it happens, in one run, and prints a table.
//!
//! | file | what it does |
//! |---|---|
//! | `tenant` | what a tenant can do with the rights of the chart's requester |
//! | `platform` | what a platform can answer |
//! | `measure` | what others do meanwhile, and what the operator takes for it |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

#[path = "../support/mod.rs"]
mod support;

mod measure;
mod platform;
mod tenant;

use std::time::Duration;

use tokio::sync::Mutex;

/// The two take turns: each of them measures.
static TURN: Mutex<()> = Mutex::const_new(());

/// How long each of the two goes on.
fn span() -> Duration {
    match std::env::var("MINUTES") {
        Ok(text) if !text.is_empty() => Duration::from_secs(30 * minutes(&text)),
        _ => Duration::from_secs(24),
    }
}

fn minutes(text: &str) -> u64 {
    let minutes = text.parse().ok().filter(|n| *n > 0);
    minutes.unwrap_or_else(|| panic!("MINUTES={text} is no number above 0"))
}

/// Whether it is the whole, and not the part of `make test`.
fn is_whole() -> bool {
    span() >= Duration::from_mins(5)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_tenant_harms_no_other_namespace() {
    let _turn = TURN.lock().await;
    Box::pin(tenant::attack()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_platform_harms_no_other_organization() {
    let _turn = TURN.lock().await;
    Box::pin(platform::attack()).await;
}
