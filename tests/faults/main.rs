//! The fault matrix: at every write of the protocol, everything that can go wrong there, on a real API server and the
//! real embedded platform, with controllers that are really killed.
//!
//! `cargo test --test faults` runs a part of it, `FAULTS=all` the whole, and `FAULT='create/W4-*'` what fits a pattern.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

#[path = "../support/mod.rs"]
mod support;

mod column;
mod flags;
mod flow;
mod history;
mod oracle;
mod plan;
mod point;
mod report;
mod run;
mod state;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{FutureExt as _, StreamExt as _};

use column::Column;
use flow::Flow;
use plan::Plan;
use report::Outcome;
use run::Stage;
use support::{Cluster, audit, canary};

/// Plans at one time: most of each is waiting.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_at_whatever_write_ends_as_if_nothing_had() {
    let mut plans = plan::selected();
    let cluster = Cluster::shared().await;
    if !cluster.has_node() {
        println!(
            "there is no node: nothing runs that could be restarted, and {} is left out",
            Flow::Restart.name()
        );
        plans.retain(|(_, plan)| plan.flow != Flow::Restart);
    }
    assert!(!plans.is_empty(), "FAULT fits no plan");
    let start = audit::length(cluster);
    let (total, done) = (plans.len(), Arc::new(AtomicUsize::new(0)));
    let outcomes: Vec<Outcome> = futures::stream::iter(plans)
        .map(|(index, plan)| {
            let done = done.clone();
            async move {
                let outcome = one(index, plan).await;
                let done = done.fetch_add(1, Ordering::SeqCst) + 1;
                println!("{done:>4}/{total} {}", outcome.line());
                outcome
            }
        })
        .buffer_unordered(at_once())
        .collect()
        .await;
    let mut faults = report::unequal(&outcomes);
    let log = audit::text_from(cluster, start);
    let tokens: BTreeSet<&String> = outcomes.iter().flat_map(|o| &o.tokens).collect();
    if canary::lookalikes(&log).any(|text| tokens.contains(&support::proxy::digest(text.as_bytes()))) {
        faults.push("S10: a token is in the audit log".to_owned());
    }
    faults.extend(outcomes.iter().filter_map(Outcome::story));
    println!("{}", report::table(&outcomes));
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

fn at_once() -> usize {
    let number = std::env::var("FAULTS_AT_ONCE").ok().and_then(|v| v.parse().ok());
    number.unwrap_or(AT_ONCE)
}

/// Runs one plan; whatever happens becomes its outcome.
async fn one(index: usize, plan: Plan) -> Outcome {
    let mut outcome = Outcome::new(plan);
    let run = async {
        match Stage::new(index, plan).await {
            Ok(mut stage) => judge(&mut stage, &mut outcome).await,
            Err(error) => outcome.wrong.push(format!("the stage cannot be set: {error}")),
        }
    };
    if let Err(panic) = AssertUnwindSafe(run).catch_unwind().await {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()));
        outcome.wrong.push(text.unwrap_or_default());
    }
    outcome
}

async fn judge(stage: &mut Stage, outcome: &mut Outcome) {
    let played = match stage.play().await {
        Ok(()) => stage.settle().await,
        Err(error) => Err(error),
    };
    outcome.wrong.extend(played.err());
    outcome.tokens = stage.tokens();
    outcome.wrong.extend(stage.violations().await);
    if stage.plan.column == Column::None {
        outcome.writes = stage.writes();
    }
    if !outcome.wrong.is_empty() {
        outcome.trace = stage.tell();
    }
}
