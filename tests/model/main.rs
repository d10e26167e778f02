//! A model of the whole around the shipped plan: processes that crash, answers that get lost, people who interfere.
//! Every order of everything that can happen is looked at, within the bounds of a configuration.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod act;
mod config;
mod decide;
mod model;
mod mutant;
mod recovery;
mod run;
mod step;
mod translate;
mod world;

use config::{Config, PLAIN};
use run::explore;

/// A few seconds each.
const SMALL: [Config; 3] = [
    PLAIN.faults(2).named("one process, 2 faults"),
    PLAIN.two().faults(1).attempts(3).named("two processes, 1 fault"),
    Config { foreign: true, ..PLAIN.two().faults(1).named("foreign Secret") },
];

#[test]
fn small() {
    for config in SMALL {
        explore(config).check();
    }
}
