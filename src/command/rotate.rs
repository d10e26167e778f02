//! `rotate`: a new token, and the old one stays valid for the overlap.

use super::Outcome;
use super::cluster::ClusterArgs;
use super::follow::{WaitArgs, Wish, replace};
use super::output::OutputArgs;

/// Flags of `rotate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The user, in the namespace of -n or of the context
    #[arg(value_name = "NAME")]
    name: String,
    /// Whether to wait.
    #[command(flatten)]
    wait: WaitArgs,
    /// The cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Form of the result.
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: Args) -> Outcome {
    let cluster = args.cluster.connect().await?;
    replace(&cluster, &args.name, Wish::Rotate, args.wait, args.output).await
}
