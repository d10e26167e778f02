//! Flags and environment; no logic.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Turns `ProgrammaticUser` manifests into API-only users of a cloud-administration platform.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the custom resource definitions
    Crds(CrdsArgs),
}

/// Flags of `crds`.
#[derive(Debug, clap::Args)]
pub struct CrdsArgs {
    /// Write one file a kind into this folder instead of all of them to standard output
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}
