//! What a node of a cluster decides by itself: who is alive, who may lead, and what the leader of the
//! consensus proposes.
//!
//! ```text
//!  heartbeats ─► detector ─► gate (may it stand for election?)
//!       │            └─────► steward (leader of the consensus only) ─► batches, voters, promises
//!       ├─► grantor (voters): leases granted, refused, promised away
//!       └─► holder: until when this node may lead ─► isolation
//! ```
//!
//! [`Agent`] owns one of each. It is told what happened ([`Agent::linked`], [`Agent::heartbeat`], …, each with
//! the time), then asked what to do until [`Agent::poll`] says `None`, and told the time again no later than
//! [`Agent::next`]. It opens no link and stores nothing; consensus decides, it only proposes.

mod agent;
mod config;
mod detector;
mod gate;
mod grantor;
mod greeting;
mod holder;
mod isolation;
mod peers;
mod steward;
#[cfg(test)]
mod tests;

pub use agent::{Agent, LeaseWishes, Output, Own};
pub use config::{ClusterConfig, ClusterConfigError};
pub use detector::Contact;
pub use grantor::{GivenUp, Grantor, Promise, UnreadablePromises, Wish};
pub use greeting::{Greeting, RefusedPeer, greet};
pub use holder::LeaseHolder;
pub use isolation::Isolation;
pub use peers::{PeerState, PeerStatus, Peers};
pub use steward::{Act, ConsensusFacts, PROMOTE_LAG_MAX, Steward, StewardInput};

/// The clocks of two nodes run at rates that differ by no more than this part (R7): 11 to 10.
const RATE_NUMERATOR: u32 = 11;
const RATE_DENOMINATOR: u32 = 10;

/// How long a clock must show to be sure that another has shown `span`.
fn outlasts(span: std::time::Duration) -> std::time::Duration {
    span * RATE_NUMERATOR / RATE_DENOMINATOR
}
