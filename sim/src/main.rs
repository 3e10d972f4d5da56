//! `multibeam-sim`: see `multibeam-sim --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    multibeam_sim::commands::main()
}
