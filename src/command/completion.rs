//! `completion`: what a shell needs to complete our commands and flags.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Report;
use crate::cli::Cli;

/// Flags of `completion`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Report {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), Cli::NAME, &mut script);
    Report::new(String::from_utf8_lossy(&script).into_owned())
}
