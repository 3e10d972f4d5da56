//! `multibeam cluster bootstrap`: one node begins the cluster, all others join it.

use super::super::Failure;
use super::super::admin_client::{AdminArgs, Question, ask};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;

const EXAMPLES: &str = "Examples:
  multibeam cluster bootstrap
  multibeam cluster bootstrap --admin 127.0.0.1:7490";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BootstrapArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Saying it again to the same node is harmless.
pub(super) fn bootstrap(args: &BootstrapArgs) -> Result<(), Failure> {
    let answer = ask(args.admin, &Question::Change("/cluster/bootstrap", json!({})))?;
    let text = if args.json {
        answer
    } else {
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let cluster = answer["cluster"].as_str().unwrap_or_default();
        format!("this node began cluster {cluster}; 'multibeam cluster status' tells who has joined\n")
    };
    // Who closed our output does not want to read this.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}
