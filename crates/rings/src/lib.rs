//! Queues between threads: everything in the workspace that touches an atomic.
//!
//! Each thread owns one [`mailbox::Endpoint`] of a mesh. It is made of an MPSC ring
//! ([`mpsc`]) that the thread alone empties, and a [`doorbell`] that wakes it when it
//! sleeps. [`spsc`] is the ring between exactly two threads. [`snapshot`] is a value that one thread
//! replaces and all others look at, [`counter`] a number. [`pool`] shares nothing: it is where a thread
//! keeps bytes.
//!
//! ```text
//!  thread a ──push──► outbox ──flush──► ┌──────────────┐
//!                                       │ ring of c    │ ──pop──► thread c
//!  thread b ──push──► outbox ──flush──► └──────────────┘
//!             └── doorbell of c, rung only if c sleeps ──► Wake::wake
//! ```
//!
//! No timer, no file descriptor and no async runtime: the caller says how to sleep
//! and how to wake, through [`Wake`].

pub mod counter;
pub mod doorbell;
pub mod mailbox;
pub mod mpsc;
pub mod pool;
mod slots;
pub mod snapshot;
pub mod spsc;
mod sync;

pub use counter::Counter;
pub use crossbeam_utils::CachePadded;
pub use doorbell::{Doorbell, Wake};
pub use mailbox::{Endpoint, mesh};
pub use mpsc::{Lane, Quota};
