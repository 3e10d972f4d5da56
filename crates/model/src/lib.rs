//! A kernel in memory, for tests: what the event loop sees of the world, made of plain data.
//!
//! [`sockets`] models the sockets of one shard and [`post`] the mail between the threads of
//! a node. Both are harsher than Linux wherever it leaves a choice, never kinder: an edge
//! comes only after `Again`, counts are short at will, threads stop between any two calls.
//! Who decides is a [`Chooser`]: seeded random numbers in the simulator, the fuzzer's bytes
//! in [`script`]. [`invariants`] checks a loop that goes to sleep against what is true here.
//! [`conformance`] is the contract of a kernel, run over this one, the simulator's and epoll; [`lease`] what a
//! client may hear from a node without one.

#![forbid(unsafe_code)]

mod chooser;
pub mod conformance;
pub mod invariants;
mod kernel;
pub mod lease;
pub mod post;
pub mod script;
pub mod sockets;

pub use chooser::{Benign, Chooser, Fault, Seeded};
pub use kernel::{ModelIo, ModelKernel};

/// What a world around the model must be able to name of the core.
pub mod core {
    pub use multibeam_proto::planted;
    pub use multibeam_proto::{Class, ClassSet, Overflow, Pattern, Retention, Route};
    pub use multibeam_proto::{Command, Stat, StatKind, Time};
    pub use multibeam_proto::{NodeId, PartitionId, view};
}

/// The built-in classes of topics, where each topic keeps `messages`.
///
/// # Panics
/// With 0 or too many messages.
#[must_use]
pub fn classes_keeping(messages: u32) -> std::sync::Arc<multibeam_proto::ClassSet> {
    let classes = multibeam_proto::built_in().into_iter().map(|mut class| {
        class.retain.messages = messages;
        class
    });
    match multibeam_proto::ClassSet::new(classes.collect()) {
        Ok(classes) => std::sync::Arc::new(classes),
        Err(error) => panic!("{error}"),
    }
}
