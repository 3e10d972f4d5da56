//! Model checks of the ring sources under loom.
//!
//! The sources of `multibeam-rings` are included as they are; only the `sync` module next to
//! this file takes the place of theirs. There is no `--cfg loom`: nothing else in the workspace
//! is built differently, and `cargo test -p multibeam-loom-tests` is all it takes.
//!
//! [`models`] holds the models. `tests/models.rs` runs them on the code as it is,
//! `tests/mutants.rs` on code with one ordering weakened at a time.
//!
//! Models do not spin: two threads that wait for each other by yielding never end under a
//! scheduler that may be unfair. They prepare the ring before they spawn, try a bounded number
//! of times, and sleep on a condition variable where they must wait, so that a lost wake-up
//! shows as a deadlock.

#[path = "../../crates/rings/src/counter.rs"]
pub mod counter;
#[path = "../../crates/rings/src/doorbell.rs"]
pub mod doorbell;
#[path = "../../crates/rings/src/mailbox.rs"]
pub mod mailbox;
pub mod models;
#[path = "../../crates/rings/src/mpsc.rs"]
pub mod mpsc;
#[path = "../../crates/rings/src/slots.rs"]
mod slots;
#[path = "../../crates/rings/src/spsc.rs"]
pub mod spsc;
pub mod sync;
