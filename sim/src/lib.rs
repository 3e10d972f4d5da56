//! A whole node and its clients in one deterministic simulation.
//!
//! [`run::run_seed`] builds a world from a [`plan::Plan`]: a network of simulated hosts, one
//! of which runs `multibeam::run` (the same function as the binary) on
//! [`platform::SimPlatform`], and others that run the real client or raw hostile ones. Faults
//! happen as the plan says; everything that clients see goes into a [`history`], which
//! [`oracles`] judge. The same seed gives the same bytes: see [`trace`] and [`entropy`].

#[cfg(not(any(tokio_unstable, doc, doctest)))]
compile_error!(
    "build with `--cfg tokio_unstable` (.cargo/config.toml sets it; a RUSTFLAGS variable replaces that): the \
     simulated hosts' runtimes are seeded only with it"
);

pub mod cluster;
pub mod commands;
pub mod entropy;
pub mod frames;
pub mod history;
pub mod hostile;
pub mod lines;
pub mod oracles;
pub mod peers;
pub mod plan;
pub mod platform;
pub mod random;
pub mod report;
pub mod run;
pub mod trace;
mod wires;
pub mod workload;
pub mod world;
