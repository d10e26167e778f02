//! `completion`: what a shell needs to complete our commands and flags.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::outcome::Report;
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
    // For bash, clap_complete 4.6 takes the dash of our name for the end of a command's.
    let script =
        String::from_utf8_lossy(&script).replace("programmatic__subcmd__users", "programmatic__users");
    Report::new(script)
}
