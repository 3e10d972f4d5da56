//! The command `multibeam`: a node, and two small clients to try it with.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    multibeam::commands::run()
}
