//! Limits of the protocol. Each is part of the contract with clients.

/// Bytes of payload in a frame: what the 16-bit length field can say.
pub const PAYLOAD_BYTES_MAX: usize = 65_535;

/// Bytes of a message's body. Leaves room in a frame for the longest topic name and every
/// number before it; doubling it would need a wider length field.
pub const BODY_BYTES_MAX: usize = 65_024;

/// Bytes of a topic name: one length byte, and a bound on what a topic costs in a table.
pub const TOPIC_BYTES_MAX: usize = 255;

/// Segments of a topic name (`a.b.c` has three). Bounds the work of matching a filter.
pub const TOPIC_SEGMENTS_MAX: usize = 16;

/// Bytes of the name that a client gives itself in HELLO; it is only ever logged.
pub const AGENT_BYTES_MAX: usize = 64;

/// Bytes of the sentence in an ERROR or BYE. Enough for one line on a screen.
pub const DETAIL_BYTES_MAX: usize = 200;

/// Payload bytes accepted before WELCOME: a peer that has not said HELLO can't make a node
/// hold more than this. HELLO with every field at its longest fits three times.
pub const HELLO_BYTES_MAX: usize = 512;

/// Publish and subscribe requests of one session that wait for their answer. It equals the
/// deduplication window of a producer: whatever may have to be sent again can be recognised.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 256;

/// Numbers that a partition remembers a producer. See [`REQUESTS_IN_FLIGHT_MAX`].
pub const DEDUP_WINDOW: usize = 256;

/// Longest encoding of what precedes the body in a publish: flags, number, topic with its
/// length, generation, body length.
const PUBLISH_OVERHEAD_MAX: usize = 1 + 10 + 2 + TOPIC_BYTES_MAX + 10 + 3;

/// Longest encoding of what precedes the body in a delivery: subscription, flags,
/// generation, offset, distance to the previous one, body length.
const DELIVERY_OVERHEAD_MAX: usize = 5 + 1 + 10 + 10 + 10 + 3;

const _: () = assert!(BODY_BYTES_MAX + PUBLISH_OVERHEAD_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX + DELIVERY_OVERHEAD_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(REQUESTS_IN_FLIGHT_MAX <= DEDUP_WINDOW);
