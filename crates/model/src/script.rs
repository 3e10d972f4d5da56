//! A node driven by a string of bytes: the fuzzer picks what the kernel returns, which
//! thread runs, what clients do and how time passes.
//!
//! A byte of 0 always chooses what a friendly world would, so a script that runs out ends
//! friendly, and a failing script can be shortened by cutting its tail and zeroing bytes.
//! Behind the last byte everybody is given time: then every friendly client must have got
//! what it was promised, and a stop must leave nothing behind.

mod bytes;
mod client;
mod truth;
mod world;

use multibeam_proto::Stats;

/// What a script went through.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The counts of all shards together.
    pub stats: Stats,
    /// Deliveries that clients got and checked.
    pub delivered: u64,
    /// Threads preempted between claim and publication.
    pub preempted: u64,
    /// Restarts of the node.
    pub restarts: u64,
    /// Kernel calls.
    pub calls: u64,
}

/// Bytes of a script that are looked at; more would only slow the fuzzer down.
pub const SCRIPT_BYTES_MAX: usize = 4096;

/// The `seed`th random script: the same on every machine.
#[must_use]
pub fn random(seed: u64) -> Vec<u8> {
    let mut numbers = crate::Seeded::new(seed);
    let len = 64 + numbers.number() % 4000;
    // Zeros are friendly: from a wild script to one in which things mostly go well.
    let zeros = [0, 48, 96, 160][(numbers.number() % 4) as usize];
    let mut byte = || if numbers.number() % 256 < zeros { 0 } else { (numbers.number() >> 32) as u8 };
    (0..len).map(|_| byte()).collect()
}

/// Runs one script.
///
/// # Errors
/// What went wrong, as one sentence.
///
/// # Panics
/// Where an assertion of the node fails: that is a find as well.
pub fn run(script: &[u8]) -> Result<Outcome, String> {
    world::World::new(&script[..script.len().min(SCRIPT_BYTES_MAX)]).run()
}
