//! What the operator costs and how far it goes, in one run, on a real API server and the embedded platform.
//!
//! `make test` runs it with a few users, so that it works when the figures are needed; `make bench` measures, in an
//! optimised build. What has to hold whatever the machine is asserted; times are printed.
//!
//! | file | what it measures |
//! |---|---|
//! | `bed` | nothing: the world that is measured, and its processes |
//! | `eyes` | nothing: when which user was seen Ready, or rotated |
//! | `ceiling` | what the API server takes from a plain client |
//! | `create` | users a second, and from apply to Ready |
//! | `preload` | nothing: puts users there that are Ready already |
//! | `rest` | restart, memory, and what goes on when nothing changes |
//! | `rotate` | rotation of all, and what consumers notice |
//! | `storm` | rotation of many under tight limits, and new users and a revocation meanwhile |
//! | `report` | nothing: the table, and the JSON |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a measurement that cannot go on ends"
)]

#[path = "../support/mod.rs"]
mod support;

mod bed;
mod ceiling;
mod create;
mod eyes;
mod preload;
mod report;
mod rest;
mod rotate;
mod storm;

use bed::Bed;
use report::Report;

/// How many of everything.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    /// Users in the end.
    users: usize,
    /// Of these, made by the operator; the others are put there.
    made: usize,
    /// Of those, one at a time on an idle system.
    idle: usize,
    /// Of those, arriving at half the rate at which the operator can make them.
    loaded: usize,
    /// Users that are rotated.
    rotated: usize,
    /// Users that are rotated at once under tight limits.
    storm: usize,
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |v| {
        v.parse().unwrap_or_else(|_| panic!("{name} is no number: {v}"))
    })
}

impl Numbers {
    fn from_environment() -> Self {
        let users = number("N", 40);
        assert!(users >= 10, "N={users}: give 10 or more");
        let made = match users {
            // Both ways of a user's coming into being are tried by every test.
            ..100 => users / 2,
            100..=10_000 => users,
            // After 10,000 the rate does not change.
            _ => 1000,
        };
        let made = number("MADE", made).clamp(10, users);
        Self {
            users,
            made,
            idle: (made / 10).clamp(2, 100),
            loaded: (made / 4).clamp(3, 300),
            rotated: number("ROTATED", users.min(10_000)).min(users),
            storm: users.min(200),
        }
    }

    /// Users that are there before the operator starts, for it to make as fast as it can.
    fn batch(&self) -> usize {
        self.made - self.idle - self.loaded
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_fast_how_large_and_how_quiet() {
    let numbers = Numbers::from_environment();
    let mut report = Report::new(numbers.users);
    let mut bed = Bed::start(numbers).await;

    bed.operator.resume().await.unwrap_or_else(|e| panic!("{e}"));
    let empty = bed.memory().await;
    let template = bed.template().await;
    create::one_at_a_time(&mut bed, &mut report).await;
    bed.operator.stop().await;

    let before = ceiling::measure(&bed, &template).await;
    let batch = create::all_at_once(&mut bed).await;
    create::half_as_fast(&mut bed, &batch, &mut report).await;
    bed.operator.stop().await;
    let after = ceiling::measure(&bed, &template).await;
    create::against_the_ceiling(&batch, &[before, after], &mut report);

    preload::fill(&mut bed, &template).await;
    rest::restart(&bed, empty, &mut report).await;
    rest::nothing_changes(&bed, &mut report).await;
    rotate::all(&mut bed, &mut report).await;
    storm::blow(&mut bed, &mut report).await;
    report.finish();
}
