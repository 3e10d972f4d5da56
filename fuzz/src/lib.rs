//! What the fuzz targets run, as plain functions of bytes, so that an ordinary test replays
//! the corpus that the fuzzer built.
//!
//! * [`event_loop`]: a whole node over the scripted kernel; see `multibeam_model::script`.
//! * [`session`]: one shard, its clients and its neighbour; see [`run_session`] for what it reached.
//! * [`client_frame`], [`peer_frame`], [`chunked_decoder`], [`compact`]: the codec.

#![forbid(unsafe_code)]

mod codec;
mod session;

pub use codec::{chunked_decoder, client_frame, compact, peer_frame};
pub use session::{Reached, run as run_session};

use multibeam_model::script;

/// Runs the bytes as a script.
///
/// # Panics
/// When the script breaks something.
pub fn event_loop(bytes: &[u8]) {
    if let Err(error) = script::run(bytes) {
        panic!("{error}");
    }
}

/// Runs the bytes as the life of a shard.
///
/// # Panics
/// When they break something.
pub fn session(bytes: &[u8]) {
    if let Err(error) = run_session(bytes) {
        panic!("{error}");
    }
}
