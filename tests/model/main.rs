//! A model of the whole around the shipped plan: processes that crash, answers that get lost, people who interfere.
//! Every order of everything that can happen is looked at, within the bounds of a configuration.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
// Each of many facts holds or does not.
#![allow(clippy::struct_excessive_bools)]

mod act;
mod answers;
mod config;
mod decide;
mod model;
mod mutant;
mod names;
mod properties;
mod recovery;
mod run;
mod step;
mod translate;
mod world;

use std::sync::{Mutex, PoisonError};

use config::{LARGE, MUTANTS, SMALL};
use run::explore;

/// Each exploration takes all cores.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn small_worlds() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for config in SMALL {
        explore(config).check();
    }
}

/// `make model`.
#[test]
fn large_worlds() {
    if std::env::var("MODEL").is_ok_and(|m| m == "large") {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unique = 0;
        for config in LARGE {
            let found = explore(config);
            found.check();
            unique += found.unique();
        }
        println!("{unique} unique states in all");
    }
}

#[test]
fn each_mutant_is_found() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut missed = Vec::new();
    for (mutant, config) in MUTANTS {
        let found = explore(config.mutated(mutant));
        match found.caught() {
            Some((properties, steps)) => {
                println!(
                    "| {mutant:?} | {} | {} | {steps} |",
                    properties.join(" ").replace("  ", " "),
                    found.unique()
                );
            }
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
