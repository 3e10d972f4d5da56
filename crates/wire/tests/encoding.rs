//! What a decoder refuses is not encoded either: the limits hold on both sides, and whoever builds a frame
//! can ask beforehand.

use multibeam_wire::limits::{
    ADDRESS_BYTES_MAX, ADDRESSES_MAX, AGENT_BYTES_MAX, BODY_BYTES_MAX, DETAIL_BYTES_MAX, HELLO_BYTES_MAX,
    KEY_BYTES_MAX, KEYS_MAX, PARTS_MAX, PAYLOAD_BYTES_MAX, RECEIPT_RANGES_MAX, TOPIC_BYTES_MAX,
};
use multibeam_wire::{
    Addresses, Bye, ChannelId, CloseCode, Cursor, Cursors, Delivery, ErrorCode, Features, Gap, GapReason,
    GoAway, Hello, Keys, Offset, Outcome, Part, Parts, Payload, Position, ProducerId, Publish, Receipt,
    Receipts, Refusal, Seq, Start, Subscribe, Subscribed, SubscriptionId,
};
use std::panic::catch_unwind;

fn payload_bytes(payload: &Payload<'_>) -> usize {
    payload.encode(Seq(0), Seq(0), 0, &mut Vec::new())
}

fn encodes(payload: Payload<'_>) -> bool {
    catch_unwind(|| payload_bytes(&payload)).is_ok()
}

const POSITION: Position = Position::new(1, 5);

fn to_many<'a>(number: u64, keys: &'a [&'a str], body: &'a [u8]) -> Publish<'a> {
    Publish { keys: Keys::new(keys), ..Publish::new(number, "user.*.msg", body) }
}

fn delivers(offset: u64, prev: u64, topic: Option<&str>, body: &[u8]) -> bool {
    let (position, prev) = (Position::new(1, offset), Offset(prev));
    encodes(Payload::Delivery(Delivery {
        channel: ChannelId(1),
        position,
        prev,
        skipped: false,
        topic,
        body,
    }))
}

fn subscribes_after_each(partitions: &[u32]) -> bool {
    let cursor = |partition: &u32| Cursor { partition: *partition, position: POSITION };
    let cursors: Vec<_> = partitions.iter().map(cursor).collect();
    let start = Start::AfterEach(Cursors::new(&cursors));
    encodes(Payload::Subscribe(Subscribe { subscription: SubscriptionId(1), topic: ">", start }))
}

fn begins(partitions: &[u32]) -> bool {
    let part = |partition: &u32| Part {
        channel: ChannelId(1),
        partition: *partition,
        from: POSITION,
        head: POSITION,
        count: 0,
        gap: false,
    };
    let parts: Vec<_> = partitions.iter().map(part).collect();
    encodes(Payload::Subscribed(Subscribed { subscription: SubscriptionId(1), parts: Parts::new(&parts) }))
}

#[test]
fn a_publish_has_as_many_keys_as_the_limits_say_and_no_longer_ones() {
    let (longest, longer) = ("x".repeat(KEY_BYTES_MAX), "x".repeat(KEY_BYTES_MAX + 1));
    let publishes = |keys: &[&str]| encodes(Payload::Publish(to_many(1, keys, b"")));
    assert!(publishes(&[longest.as_str(); KEYS_MAX]));
    assert!(!publishes(&["x"; KEYS_MAX + 1]));
    assert!(!publishes(&[&longer]));
}

#[test]
fn the_last_number_of_a_publish_fits_64_bits() {
    let publishes = |number, keys: &[&str]| encodes(Payload::Publish(to_many(number, keys, b"")));
    assert!(publishes(u64::MAX, &["x"]));
    assert!(publishes(u64::MAX - 1, &["x", "y"]));
    assert!(!publishes(u64::MAX, &["x", "y"]));
}

#[test]
fn a_publish_takes_a_number_for_each_of_its_messages() {
    let numbers = |keys: &[&str]| to_many(7, keys, b"").numbers();
    assert_eq!((numbers(&[]), numbers(&["x"]), numbers(&["x", "y", "x"])), (1, 1, 3));
}

#[test]
fn keys_take_from_the_room_of_the_body() {
    let key = "x".repeat(KEY_BYTES_MAX);
    let keys = [key.as_str(); KEYS_MAX];
    // The length of a body takes one byte when there is none, and three when it is long.
    let room = PAYLOAD_BYTES_MAX - to_many(1, &keys, b"").payload_bytes() - 2;
    assert!(room < BODY_BYTES_MAX);
    let body = vec![7; room + 1];
    let fitting = to_many(1, &keys, &body[..room]);
    assert_eq!(fitting.payload_bytes(), PAYLOAD_BYTES_MAX);
    assert_eq!(payload_bytes(&Payload::Publish(fitting)), PAYLOAD_BYTES_MAX);
    let longer = to_many(1, &keys, &body);
    assert_eq!(longer.payload_bytes(), PAYLOAD_BYTES_MAX + 1);
    assert!(!encodes(Payload::Publish(longer)));
}

#[test]
fn a_delivery_keeps_to_its_limits() {
    let (longest, longer) = ("x".repeat(TOPIC_BYTES_MAX), "x".repeat(TOPIC_BYTES_MAX + 1));
    let body = vec![7; BODY_BYTES_MAX + 1];
    assert!(delivers(5, 4, Some(&longest), &body[..BODY_BYTES_MAX]));
    assert!(!delivers(5, 4, Some(&longer), b""));
    assert!(!delivers(5, 4, None, &body));
    assert!(!delivers(5, 5, None, b"") && !delivers(5, 6, None, b""));
}

#[test]
fn cursors_name_each_partition_once_and_in_order() {
    assert!(subscribes_after_each(&[]) && subscribes_after_each(&[7]) && subscribes_after_each(&[6, 7]));
    assert!(!subscribes_after_each(&[7, 7]) && !subscribes_after_each(&[7, 6]));
    let many: Vec<u32> = (0..=PARTS_MAX as u32).collect();
    assert!(subscribes_after_each(&many[1..]) && !subscribes_after_each(&many));
}

#[test]
fn parts_are_one_a_partition_and_in_order() {
    assert!(begins(&[7]) && begins(&[6, 7]));
    assert!(!begins(&[]) && !begins(&[7, 7]) && !begins(&[7, 6]));
    let many: Vec<u32> = (0..=PARTS_MAX as u32).collect();
    assert!(begins(&many[1..]) && !begins(&many));
}

#[test]
fn a_gap_holds_something() {
    let gap =
        |to| Payload::Gap(Gap { channel: ChannelId(1), from: POSITION, to, reason: GapReason::Expired });
    assert!(encodes(gap(Position::new(1, 6))) && encodes(gap(Position::new(2, 0))));
    assert!(!encodes(gap(POSITION)) && !encodes(gap(Position::new(1, 4))));
}

#[test]
fn other_strings_and_lists_keep_to_their_limits() {
    let text = "x".repeat(DETAIL_BYTES_MAX + 1);
    let bye = |bytes| Payload::Bye(Bye { code: 0, detail: &text[..bytes] });
    assert!(encodes(bye(DETAIL_BYTES_MAX)) && !encodes(bye(DETAIL_BYTES_MAX + 1)));
    let hello = |bytes| {
        Payload::Hello(Hello {
            features: Features(u64::MAX),
            window_unit_log2: u64::MAX,
            producer: ProducerId(u128::MAX),
            agent: &text[..bytes],
            system_after: Some(Position::new(u64::MAX, u64::MAX)),
        })
    };
    assert!(3 * payload_bytes(&hello(AGENT_BYTES_MAX)) <= HELLO_BYTES_MAX);
    assert!(!encodes(hello(AGENT_BYTES_MAX + 1)));
    let moves = |addresses: &[&str]| {
        let addresses = Addresses::new(addresses);
        encodes(Payload::GoAway(GoAway { reason: 1, deadline_ms: 1, retry_after_ms: 1, addresses }))
    };
    assert!(moves(&[&text[..ADDRESS_BYTES_MAX]; ADDRESSES_MAX]));
    assert!(!moves(&[""; ADDRESSES_MAX + 1]) && !moves(&[&text[..ADDRESS_BYTES_MAX + 1]]));
    let receipt = Receipt { seq: Seq(1), count: 1, partition: 1, position: POSITION, copies: 1 };
    let acks = |receipts: &[Receipt]| encodes(Payload::Ack(Receipts::new(receipts)));
    assert!(acks(&[receipt; RECEIPT_RANGES_MAX]) && !acks(&[receipt; RECEIPT_RANGES_MAX + 1]));
    assert!(!acks(&[Receipt { count: 0, ..receipt }]));
}

/// A node must be able to say each of them to anybody.
#[test]
fn the_sentence_of_each_code_fits() {
    for code in CloseCode::ALL {
        assert!(payload_bytes(&Payload::bye(*code)) <= HELLO_BYTES_MAX);
    }
    for code in ErrorCode::ALL {
        let refusal = Refusal::new(Seq(1), *code, Outcome::Definite);
        assert!(payload_bytes(&Payload::Error(refusal)) <= HELLO_BYTES_MAX);
    }
}
