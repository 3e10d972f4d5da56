//! The Multibeam protocol: bytes ⇄ frames.
//!
//! Owns the header, the payload of each frame type, limits, close codes, error codes and
//! the identifiers that appear on the wire. Node, client, simulator and fuzzer all speak
//! through it; [`link`] has the frames between nodes. It never does I/O, never looks at a clock,
//! and decoding never allocates: a decoded frame borrows from the input. Encoding allocates
//! nothing but what the caller's vector lacks.
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
mod compact;
mod decoder;
mod encoder;
mod error_code;
pub mod flow;
mod frame;
mod header;
mod ids;
pub mod limits;
pub mod link;
mod list;
mod rejection;
mod topic;

pub use close::{CloseClass, CloseCode};
pub use compact::COMPACT_HEADER_BYTES_MAX;
pub use decoder::{Decoder, Inbound, Step};
pub use encoder::Encoder;
pub use error_code::{ErrorCode, Outcome};
pub use frame::{
    Addresses, Bye, Cursor, Cursors, Delivery, Direction, Frame, Gap, GapReason, GoAway, GoAwayReason, Hello,
    Keys, Part, Parts, Payload, Publish, Receipt, Receipts, Refusal, Reject, Start, Subscribe, Subscribed,
    Welcome,
};
pub use header::{FrameType, HEADER_BYTES, Header, MAGIC, VERSION};
pub use ids::{
    ChannelId, Features, Generation, Offset, Position, ProducerId, Seq, SubscriptionId, WindowUnit,
};
pub use rejection::{Incompatible, Malformed, Misbehaved, Rejection};
pub use topic::{FilterError, TemplateError, TopicError, TopicFilter, TopicName, fill_template};
