//! The `programmatic-users` binary.

use std::process::ExitCode;

use clap::Parser as _;
use programmatic_users::cli::{Cli, Command};
use programmatic_users::crds;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Crds(args) => run_crds(args.dir.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run_crds(dir: Option<&std::path::Path>) -> Result<(), String> {
    match dir {
        Some(dir) => crds::write(dir).map_err(|e| e.to_string()),
        None => crds::stream().map(|text| print!("{text}")).map_err(|e| e.to_string()),
    }
}
