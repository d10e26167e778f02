//! The commands for people: `audit`, `get`, `why`, `rotate`, `revoke`, `unmanaged`, `import`, `doctor`, `completion`.
//!
//! Each command has a file of its own, with its flags; `rotate` and `revoke` share one. It reads first, then decides, and
//! ends with a [`Report`], which is written to standard output in one go; progress and notes go to standard error. Objects
//! are read leniently (`view`), so that a command of one version is of use beside an operator of another. No command reads
//! a token but the one that it sends to the platform.

mod advice;
mod audit;
mod cluster;
mod completion;
mod doctor;
mod follow;
mod get;
mod import;
mod objects;
mod operator;
mod outcome;
mod output;
mod platform;
mod progress;
mod rotate;
mod unmanaged;
mod view;
mod why;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Subcommand;

use outcome::{Failure, say};

/// The commands of people; all but `audit --endpoint` and `completion` want a cluster.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show users with their tokens' age, their consumers and their problems, the problems first
    Get(get::Args),
    /// Explain why a user is not ready, and what to do
    Why(why::Args),
    /// Have a token replaced; the old one stays valid for the overlap
    Rotate(rotate::Args),
    /// Have a token replaced, and the old one die at once
    Revoke(rotate::RevokeArgs),
    /// Show who did what on the platform, by type of actor
    Audit(audit::Args),
    /// Show the platform's programmatic users that no object manages
    Unmanaged(unmanaged::Args),
    /// Write the manifest for a user that exists on the platform
    Import(import::Args),
    /// Check the cluster, the operator, the platform and your own rights
    Doctor(doctor::Args),
    /// Write the completion script of a shell
    Completion(completion::Args),
}

/// Exit code of what is not healthy.
const NOT_HEALTHY: u8 = 3;

/// Runs a command to its end.
pub async fn run(verb: Verb) -> ExitCode {
    let outcome = match verb {
        Verb::Get(args) => get::run(args).await,
        Verb::Why(args) => why::run(args).await,
        Verb::Rotate(args) => rotate::run(args).await,
        Verb::Revoke(args) => rotate::revoke(args).await,
        Verb::Audit(args) => audit::run(args).await,
        Verb::Unmanaged(args) => unmanaged::run(args).await,
        Verb::Import(args) => import::run(args).await,
        Verb::Doctor(args) => doctor::run(args).await,
        Verb::Completion(args) => Ok(completion::run(&args)),
    };
    match outcome {
        Ok(report) => match std::io::stdout().write_all(report.text.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                say(&format!("error: cannot write to standard output: {error}"));
                ExitCode::FAILURE
            }
            _ if report.healthy => ExitCode::SUCCESS,
            _ => ExitCode::from(NOT_HEALTHY),
        },
        Err(Failure::Failed(message)) => {
            say(&format!("error: {message}"));
            ExitCode::FAILURE
        }
        Err(Failure::Usage(message)) => {
            say(&format!("error: {message}"));
            ExitCode::from(2)
        }
    }
}
