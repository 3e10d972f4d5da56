//! Model checks of the snapshot cell of `multibeam-rings` under loom.
//!
//! The source is included as it is; only the `sync` module next to this file takes the place of its
//! own. `crossbeam-epoch` is the real one too, and takes its atomics from loom if it is built with
//! `--cfg crossbeam_loom`, which is why this crate is none of the workspace: `just loom-snapshot`.
//!
//! [`models`] holds the models. `tests/models.rs` runs them on the code as it is, `tests/mutants.rs`
//! on code with one site weakened at a time.

#[cfg(not(crossbeam_loom))]
compile_error!("needs RUSTFLAGS=\"--cfg crossbeam_loom\": see the recipe `loom-snapshot`");

pub mod models;
#[path = "../../../crates/rings/src/snapshot.rs"]
pub mod snapshot;
pub mod sync;
