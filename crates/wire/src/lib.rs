//! The Multibeam protocol: bytes ⇄ frames.
//!
//! Owns the header, the payload of each frame type, limits, close codes, error codes and
//! the identifiers that appear on the wire. Node, client, simulator and fuzzer all speak
//! through it. It never does I/O, never looks at a clock, and decoding never allocates:
//! a decoded frame borrows from the input.
//!
//! ```text
//!  0        2     3     4          8          12       14       16
//!  ┌────────┬─────┬─────┬──────────┬──────────┬────────┬────────┬─────────────
//!  │ magic  │ ver │type │   seq    │ ack_seq  │ window │  len   │ payload …
//!  └────────┴─────┴─────┴──────────┴──────────┴────────┴────────┴─────────────
//! ```
//!
//! `docs/PROTOCOL.md` is the description for somebody who writes a client.

#![forbid(unsafe_code)]

mod close;
mod codec;
mod decoder;
mod error_code;
mod frame;
mod header;
mod ids;
pub mod limits;
mod topic;

pub use close::{CloseClass, CloseCode};
pub use decoder::{DecodeError, Decoder, Inbound, Step};
pub use error_code::{ErrorCode, Outcome};
pub use frame::{
    Delivery, Direction, Frame, Gap, GapReason, Hello, Payload, Publish, Refusal, Start, Subscribe,
    Subscribed, Welcome,
};
pub use header::{FrameType, HEADER_BYTES, Header, MAGIC, RESERVED_TYPES, VERSION};
pub use ids::{Generation, Offset, Position, ProducerId, Seq, SubscriptionId, WindowUnit};
pub use topic::{TopicError, TopicName};
