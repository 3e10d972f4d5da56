//! `multibeam cluster`: commands for whoever runs a cluster, beside those for one node and for clients.

mod bootstrap;
mod init_ca;
mod remove;
mod status;

use super::Failure;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(arg_required_else_help = false)]
pub(super) struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Begins the cluster of the nodes that initial_voters names; said once, to one of them.
    Bootstrap(bootstrap::BootstrapArgs),
    /// Prints the cluster as one node knows it.
    Status(status::StatusArgs),
    /// Gives up a node that will not come back with its disk: its vote goes to another, or away.
    Remove(remove::RemoveArgs),
    /// Makes a CA and certificates for the links between nodes, to try a cluster out.
    InitCa(init_ca::InitCaArgs),
}

pub(super) fn cluster(args: &ClusterArgs) -> Result<(), Failure> {
    match &args.command {
        ClusterCommand::Bootstrap(args) => bootstrap::bootstrap(args),
        ClusterCommand::Status(args) => status::status(args),
        ClusterCommand::Remove(args) => remove::remove(args),
        ClusterCommand::InitCa(args) => init_ca::init_ca(args),
    }
}
