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

/// Keys of one publish. Each takes a number of its producer, so that four such publishes fill the
/// deduplication window; with twice as many keys, two would.
pub const KEYS_MAX: usize = 64;

/// Bytes of one key: half of the longest topic name. Doubled, the longest keys of one publish would leave a
/// body only three quarters of its room.
pub const KEY_BYTES_MAX: usize = LISTED_TEXT_BYTES_MAX;

/// Partitions of one filter: each costs the session a subscription, and its cursor a position.
pub const PARTS_MAX: usize = 256;

/// Bytes of the name that a client gives itself in HELLO; it is only ever logged.
pub const AGENT_BYTES_MAX: usize = 64;

/// Bytes of the sentence in an ERROR or BYE. Enough for one line on a screen.
pub const DETAIL_BYTES_MAX: usize = 200;

/// Payload bytes accepted before HELLO was read: a peer that has not said it can't make a node
/// hold more than this. HELLO with every field at its longest fits three times.
pub const HELLO_BYTES_MAX: usize = 512;

/// Publish and subscribe requests of one session that wait for their answer. It equals the
/// deduplication window of a producer: whatever may have to be sent again can be recognised. A client
/// that publishes to many keys at once keeps the sum of its numbers to that, which are more.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 256;

/// Numbers that a partition remembers a producer. See [`REQUESTS_IN_FLIGHT_MAX`].
pub const DEDUP_WINDOW: usize = 256;

/// Ranges in the receipts of one ACK: each covers at least one number without an answer.
pub const RECEIPT_RANGES_MAX: usize = REQUESTS_IN_FLIGHT_MAX;

/// Addresses that a GOAWAY names. A client that finds none of them alive has its own list.
pub const ADDRESSES_MAX: usize = 8;

/// Bytes of one address: a host name of 63 labels would be longer, and nobody has one.
pub const ADDRESS_BYTES_MAX: usize = LISTED_TEXT_BYTES_MAX;

/// Bytes of a string in a list, whatever it lists.
pub(crate) const LISTED_TEXT_BYTES_MAX: usize = 128;

/// Payload bytes accepted on a link before its handshake is over; HELLO of a link with every
/// field at its longest fits.
pub const LINK_HELLO_BYTES_MAX: usize = 512;

/// Nodes that vote in the consensus of a cluster. More would make every decision slower and none safer.
pub const VOTERS_MAX: usize = 7;

/// Bytes of a part of a consensus message or a piece of state in one frame of a link; longer ones
/// are sent in parts.
pub const LINK_PART_BYTES_MAX: usize = 65_024;

/// Longest encoding of what precedes the body in a publish to one topic: flags, number, topic with its
/// length, generation, time to live, body length. The keys of a publish to many take from its body.
const PUBLISH_OVERHEAD_MAX: usize = 1 + 10 + 2 + TOPIC_BYTES_MAX + 10 + 5 + 3;

/// Longest encoding of keys: their count, each with its length.
const KEYS_BYTES_MAX: usize = 1 + KEYS_MAX * (2 + KEY_BYTES_MAX);

/// Longest encoding of what precedes the body in a delivery: channel, flags,
/// generation, offset, distance to the previous one, topic with its length, body length.
const DELIVERY_OVERHEAD_MAX: usize = 5 + 1 + 10 + 10 + 10 + 2 + TOPIC_BYTES_MAX + 3;

const _: () = assert!(PAYLOAD_BYTES_MAX == u16::MAX as usize);
const _: () = assert!(BODY_BYTES_MAX + PUBLISH_OVERHEAD_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX / 5 * 4 + PUBLISH_OVERHEAD_MAX + KEYS_BYTES_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX + DELIVERY_OVERHEAD_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(KEY_BYTES_MAX <= TOPIC_BYTES_MAX && 4 * KEYS_MAX <= DEDUP_WINDOW);
const _: () = assert!(REQUESTS_IN_FLIGHT_MAX <= DEDUP_WINDOW);

/// Longest receipt: number, count, partition, generation, offset, copies.
const RECEIPT_BYTES_MAX: usize = 5 + 5 + 5 + 10 + 10 + 5;
const _: () = assert!(3 + RECEIPT_RANGES_MAX * RECEIPT_BYTES_MAX <= PAYLOAD_BYTES_MAX);

/// Longest part of a SUBSCRIBED: channel, partition, flags, two positions, count.
const PART_BYTES_MAX: usize = 5 + 5 + 1 + 20 + 20 + 10;
const _: () = assert!(5 + 2 + PARTS_MAX * PART_BYTES_MAX <= PAYLOAD_BYTES_MAX);

/// Longest SUBSCRIBE: subscription, topic with its length, start, count, cursors of partition and position.
const SUBSCRIBE_MAX: usize = 5 + 2 + TOPIC_BYTES_MAX + 1 + 2 + PARTS_MAX * (5 + 20);
const _: () = assert!(SUBSCRIBE_MAX <= PAYLOAD_BYTES_MAX);

/// Longest HELLO: features, unit, producer, agent with its length, flags, cursor.
const HELLO_MAX: usize = 10 + 10 + 16 + 1 + AGENT_BYTES_MAX + 1 + 20;
const _: () = assert!(3 * HELLO_MAX <= HELLO_BYTES_MAX);

/// Longest GOAWAY: reason, two times, addresses.
const GOAWAY_MAX: usize = 3 + 5 + 5 + 1 + ADDRESSES_MAX * (2 + ADDRESS_BYTES_MAX);
const _: () = assert!(GOAWAY_MAX <= PAYLOAD_BYTES_MAX);

/// Longest BYE or REJECT: code, time, detail with its length. A node must be able to say why it
/// hangs up to a peer that has not said HELLO.
const FAREWELL_MAX: usize = 3 + 5 + 2 + DETAIL_BYTES_MAX;
const _: () = assert!(FAREWELL_MAX <= HELLO_BYTES_MAX && FAREWELL_MAX <= LINK_HELLO_BYTES_MAX);

/// Longest LINK_HELLO: features, cluster, store, node, incarnation, epoch, purpose, two addresses, weight.
const LINK_HELLO_MAX: usize = 10 + 16 + 8 + 10 + 10 + 10 + 1 + 2 * (2 + ADDRESS_BYTES_MAX) + 3;
const _: () = assert!(LINK_HELLO_MAX <= LINK_HELLO_BYTES_MAX);
const _: () = assert!(LINK_PART_BYTES_MAX + 5 * 10 <= PAYLOAD_BYTES_MAX);
