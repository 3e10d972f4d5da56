//! `multibeam cluster remove`: gives up a node that is gone for good.

use super::super::Failure;
use super::super::admin_client::{AdminArgs, Question, ask};
use clap::Args;
use serde_json::json;
use std::io::Write;

const EXAMPLES: &str = "Examples:
  multibeam cluster remove 10.0.0.3:7401
  multibeam cluster remove 1d2bb0ec65c1e6a4 --admin 127.0.0.1:7490";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RemoveArgs {
    /// The node: its id of 16 digits, or the address of its links, as 'cluster status' prints them.
    node: String,
    #[command(flatten)]
    admin: AdminArgs,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    let answer = ask(args.admin, &Question::Change("/cluster/remove", json!({ "node": args.node })))?;
    let text = if args.json { answer } else { format!("gave up node {}\n", args.node) };
    // Who closed our output does not want to read this.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}
