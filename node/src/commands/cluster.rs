//! `multibeam cluster`: commands for whoever runs a cluster, beside those for one node and for clients.

mod init_ca;

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
    /// Makes a CA and certificates for the links between nodes, to try a cluster out.
    InitCa(init_ca::InitCaArgs),
}

pub(super) fn cluster(args: &ClusterArgs) -> Result<(), Failure> {
    match &args.command {
        ClusterCommand::InitCa(args) => init_ca::init_ca(args),
    }
}
