//! Bytes that nobody should send: none panics, each is judged as early as it is seen, and whatever
//! is accepted has one spelling.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/drawn.rs"]
mod drawn;
#[path = "support/reference.rs"]
mod reference;
#[path = "support/stream.rs"]
#[allow(dead_code, reason = "streams are written here, and read otherwise")]
mod stream;
#[path = "support/values.rs"]
mod values;

use drawn::frames;
use multibeam_wire::{
    COMPACT_HEADER_BYTES_MAX, Decoder, Direction, Frame, FrameType, Header, Incompatible, Malformed,
    Misbehaved, Rejection, Seq, Step, limits::PAYLOAD_BYTES_MAX,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use stream::Stream;

const ZEROS: Header = Header { frame_type: FrameType::Bye, seq: Seq(0), ack_seq: Seq(0), window: 0, len: 0 };

fn decoder(direction: Direction, is_compact: bool) -> Decoder {
    let mut decoder = Decoder::new(direction);
    decoder.established();
    if is_compact {
        decoder.agree_compact();
    }
    decoder
}

/// Reads frames until something else comes; checks what every step promises.
fn read_all<'a>(mut decoder: Decoder, bytes: &'a [u8], mut each: impl FnMut(&Frame<'a>, &Header, &'a [u8])) {
    let (mut rest, mut last) = (bytes, ZEROS);
    loop {
        match decoder.step(rest) {
            Ok(Step::Partial(needed)) => {
                assert!(needed > rest.len(), "{needed} asked for where there are {}", rest.len());
                assert!(needed <= 16.max(COMPACT_HEADER_BYTES_MAX) + PAYLOAD_BYTES_MAX);
                return;
            }
            Ok(Step::Frame(frame, used)) => {
                assert!(used > usize::from(frame.header.len) && used <= rest.len());
                each(&frame, &last, &rest[..used]);
                decoder.advance(&frame.header);
                (rest, last) = (&rest[used..], frame.header);
            }
            Err(_) => return,
        }
    }
}

/// What was accepted has the header that its frame has, and encodes to something no longer that
/// says the same; to the same bytes unless there were fields that this version does not know.
fn assert_canonical(frame: &Frame<'_>, last: &Header, bytes: &[u8], direction: Direction) {
    let header = &frame.header;
    let (head, payload) = bytes.split_at(bytes.len() - usize::from(header.len));
    if head.len() == 16 && head[0] == b'M' {
        assert_eq!(head, header.to_bytes());
    } else {
        assert_eq!(head, reference::compact_header(header, last));
    }
    let mut again = Vec::new();
    let len = frame.payload.encode(header.seq, header.ack_seq, header.window, &mut again);
    assert!(len <= payload.len());
    let Ok(Step::Frame(twin, _)) = decoder(direction, false).step(&again) else { panic!("{frame:?}") };
    assert_eq!(twin.payload, frame.payload);
}

/// A change to a stream that was well-formed.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index),
    Cut(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        4 => any::<(Index, u8)>().prop_map(|(at, byte)| Damage::Set(at, byte)),
        2 => (any::<Index>(), vec(any::<u8>(), 1..5)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        2 => any::<Index>().prop_map(Damage::Remove),
        1 => any::<Index>().prop_map(Damage::Cut),
    ]
}

fn apply(damage: &Damage, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match damage {
        Damage::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
        Damage::Set(at, byte) => bytes[at.index(len)] = *byte,
        Damage::Insert(at, more) => {
            let at = at.index(len);
            bytes.splice(at..at, more.iter().copied());
        }
        Damage::Remove(at) => {
            bytes.remove(at.index(len));
        }
        Damage::Cut(at) => bytes.truncate(at.index(len)),
    }
}

fn directed_frames() -> impl Strategy<Value = (Direction, Vec<drawn::DrawnFrame>)> {
    prop_oneof![Just(Direction::ToNode), Just(Direction::ToClient)]
        .prop_flat_map(|direction| (Just(direction), frames(direction, 4)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in vec(any::<u8>(), 0..200), established: bool) {
        let framed = [&b"MB\x01"[..], &bytes].concat();
        for direction in [Direction::ToNode, Direction::ToClient] {
            for input in [&bytes, &framed] {
                for is_compact in [false, true] {
                    let decoder = if established { decoder(direction, is_compact) } else { Decoder::new(direction) };
                    read_all(decoder, input, |frame, last, bytes| assert_canonical(frame, last, bytes, direction));
                }
            }
        }
    }

    /// Damaged frames get further into a decoder than noise does.
    #[test]
    fn damaged_frames_are_judged_without_a_panic_and_have_one_spelling(
        (direction, sent) in directed_frames(),
        is_compact: bool,
        damages in vec(damage(), 0..4),
    ) {
        let mut bytes = Stream::write(direction, &sent, 0, |_| is_compact).bytes;
        for damage in &damages {
            apply(damage, &mut bytes);
        }
        read_all(decoder(direction, true), &bytes, |frame, last, bytes| {
            assert_canonical(frame, last, bytes, direction);
        });
    }
}

fn step(bytes: &[u8], is_compact: bool) -> Result<Step<Frame<'_>>, Rejection> {
    let mut decoder = Decoder::new(Direction::ToNode);
    if is_compact {
        decoder.agree_compact();
    }
    decoder.step(bytes)
}

#[test]
fn bad_bytes_are_named_as_early_as_they_are_seen() {
    let too_long = Malformed::TooLong { len: 65_535, len_max: 512 };
    for (bytes, rejection) in [
        (&b"G"[..], Malformed::Magic.into()),
        (b"MX", Malformed::Magic.into()),
        (b"MB\x02", Incompatible::Version(2).into()),
        (b"MB\x01\x0e", Malformed::UnknownType(14).into()),
        (b"MB\x01\x40", Malformed::UnknownType(64).into()),
        (b"MB\x01\x05\0\0\0\0\0\0\0\0\0\0\0\0", Misbehaved::WrongDirection("WELCOME").into()),
        (b"MB\x01\x04\0\0\0\0\0\0\0\0\0\0\xff\xff", too_long.into()),
        (b"MB\x01\x04\0\0\0\0\0\0\0\0\0\0\0\0", Malformed::Payload("HELLO").into()),
    ] {
        for is_compact in [false, true] {
            if bytes[0] == b'M' || !is_compact {
                assert_eq!(step(bytes, is_compact), Err(rejection), "{bytes:?}");
                if rejection != Malformed::Payload("HELLO").into() {
                    assert!(
                        matches!(step(&bytes[..bytes.len() - 1], false), Ok(Step::Partial(_))),
                        "{bytes:?}"
                    );
                }
            }
        }
    }
    for len in 0..16 {
        assert_eq!(step(&b"MB\x01\x04\0\0\0\0\0\0\0\0\0\0\0\0"[..len], false), Ok(Step::Partial(16)));
    }
}

#[test]
fn bad_compact_headers_are_named_as_early_as_they_are_seen() {
    let header = Rejection::from(Malformed::CompactHeader);
    let too_long = |len, len_max| Malformed::TooLong { len, len_max }.into();
    for (what, bytes, rejection) in [
        ("the reserved bit", &b"\x80"[..], header),
        ("a type without this form", b"\x04", header),
        ("BYE", b"\x1d", header),
        ("an unknown type", b"\x0e", Malformed::UnknownType(14).into()),
        ("another side's type", b"\x07", Misbehaved::WrongDirection("SUBSCRIBED").into()),
        ("a seq that is implied", b"\x10\x00", header),
        ("an ack that is implied", b"\x20\x00", header),
        ("a window that is implied", b"\x40\x00", header),
        ("a long spelling", b"\x10\x81\x00", header),
        ("a seq of 33 bits", b"\x10\x80\x80\x80\x80\x10", header),
        ("an ack of 33 bits", b"\x20\x80\x80\x80\x80\x10", header),
        ("a window of 17 bits", b"\x40\x80\x80\x04", header),
        ("a number without end", b"\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", header),
        ("a length of 17 bits", b"\x00\x80\x80\x04", too_long(65_536, PAYLOAD_BYTES_MAX)),
        ("a length before WELCOME", b"\x00\x81\x04", too_long(513, 512)),
    ] {
        assert_eq!(step(bytes, true), Err(rejection), "{what}");
        if bytes.len() > 1 {
            let len = bytes.len();
            assert_eq!(step(&bytes[..len - 1], true), Ok(Step::Partial(len)), "{what}");
        }
    }
    assert_eq!(step(b"", true), Ok(Step::Partial(2)));
    assert_eq!(step(b"M", true), Ok(Step::Partial(16)));
    assert_eq!(step(b"\x01", false), Err(Malformed::Magic.into()));
}

/// One payload a line that its type must not have: the type's number, direction, payload.
#[test]
fn each_type_refuses_payloads_that_break_its_rules() {
    use Direction::{ToClient, ToNode};
    for (what, frame_type, direction, payload) in [
        ("a publish without a number", FrameType::Data, ToNode, &b"\x00"[..]),
        ("a topic that is no UTF-8", FrameType::Data, ToNode, b"\x00\x01\x01\xff\x00"),
        ("a retry without its generation", FrameType::Data, ToNode, b"\x01\x01\x01a"),
        ("a body cut short", FrameType::Data, ToNode, b"\x00\x01\x01a\x02x"),
        (
            "a body said to be endless",
            FrameType::Data,
            ToNode,
            b"\x00\x01\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ),
        ("a topic of 256 bytes", FrameType::Data, ToNode, &[&b"\x00\x01\x80\x02"[..], &[b'a'; 300]].concat()),
        ("a time to live cut short", FrameType::Data, ToNode, b"\x02\x01\x01a"),
        ("a time to live of 33 bits", FrameType::Data, ToNode, b"\x02\x01\x01a\x80\x80\x80\x80\x10\x01x"),
        ("keys that are none", FrameType::Data, ToNode, b"\x04\x01\x01*\x00\x00"),
        ("fewer keys than said", FrameType::Data, ToNode, b"\x04\x01\x01*\x03\x01a\x00"),
        ("a key that is no UTF-8", FrameType::Data, ToNode, b"\x04\x01\x01*\x01\x01\xff\x00"),
        ("65 keys", FrameType::Data, ToNode, &[&b"\x04\x01\x01*\x41"[..], &[0; 65], &[0]].concat()),
        (
            "a key of 129 bytes",
            FrameType::Data,
            ToNode,
            &[&b"\x04\x01\x01*\x01\x81\x01"[..], &[b'a'; 129], &[0]].concat(),
        ),
        (
            "a key with a number beyond the last",
            FrameType::Data,
            ToNode,
            b"\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01*\x02\x01a\x01b\x00",
        ),
        ("a delivery at distance 0", FrameType::Data, ToClient, b"\x01\x00\x01\x05\x00\x00"),
        ("a delivery from before the first", FrameType::Data, ToClient, b"\x01\x00\x01\x05\x06\x00"),
        ("a channel of 33 bits", FrameType::Data, ToClient, b"\x80\x80\x80\x80\x10\x00\x01\x05\x01\x00"),
        ("a number in a long spelling", FrameType::Data, ToClient, b"\x81\x00\x00\x01\x05\x01\x00"),
        ("a delivery without its topic", FrameType::Data, ToClient, b"\x01\x02\x01\x05\x01"),
        ("a delivery of no UTF-8", FrameType::Data, ToClient, b"\x01\x02\x01\x05\x01\x01\xff\x00"),
        (
            "a delivery of a topic of 256 bytes",
            FrameType::Data,
            ToClient,
            &[&b"\x01\x02\x01\x05\x01\x80\x02"[..], &[b'a'; 256], &[0]].concat(),
        ),
        ("a receipt for nothing", FrameType::Ack, ToClient, b"\x01\x01\x00\x00\x01\x01\x01"),
        ("fewer receipts than said", FrameType::Ack, ToClient, b"\x02\x01\x01\x00\x01\x01\x01"),
        ("257 receipts", FrameType::Ack, ToClient, &[&b"\x81\x02"[..], &[1; 257 * 6]].concat()),
        ("a producer cut short", FrameType::Hello, ToNode, b"\x00\x0a\x01\x02\x03"),
        (
            "an agent of 65 bytes",
            FrameType::Hello,
            ToNode,
            &[&[0, 10][..], &[0; 16], &[65], &[b'a'; 65]].concat(),
        ),
        ("flags without end", FrameType::Hello, ToNode, &[&[0, 10][..], &[0; 16], &[0, 0x80]].concat()),
        (
            "a system cursor cut short",
            FrameType::Hello,
            ToNode,
            &[&[0, 10][..], &[0; 16], &[0, 1, 7]].concat(),
        ),
        ("a unit of 8 B", FrameType::Welcome, ToClient, b"\x00\x03\x01\x01\x01\x01"),
        ("a unit of 64 KiB", FrameType::Welcome, ToClient, b"\x00\x10\x01\x01\x01\x01"),
        ("a start of no kind", FrameType::Subscribe, ToNode, b"\x01\x01a\x05"),
        ("a cursor cut short", FrameType::Subscribe, ToNode, b"\x01\x01a\x02\x01"),
        ("cursors not counted", FrameType::Subscribe, ToNode, b"\x01\x01*\x04"),
        ("fewer cursors than said", FrameType::Subscribe, ToNode, b"\x01\x01*\x04\x02\x00\x01\x05"),
        (
            "a partition of 33 bits",
            FrameType::Subscribe,
            ToNode,
            b"\x01\x01*\x04\x01\x80\x80\x80\x80\x10\x01\x05",
        ),
        (
            "two cursors of a partition",
            FrameType::Subscribe,
            ToNode,
            b"\x01\x01*\x04\x02\x07\x01\x05\x07\x01\x06",
        ),
        ("cursors backwards", FrameType::Subscribe, ToNode, b"\x01\x01*\x04\x02\x07\x01\x05\x06\x01\x05"),
        (
            "257 cursors",
            FrameType::Subscribe,
            ToNode,
            &[&b"\x01\x01*\x04"[..], &rising(257, b"", b"\x01\x05")].concat(),
        ),
        ("no parts", FrameType::Subscribed, ToClient, b"\x01\x00"),
        ("a head cut short", FrameType::Subscribed, ToClient, b"\x01\x01\x05\x00\x00\x01\x01\x01"),
        (
            "a part without its count",
            FrameType::Subscribed,
            ToClient,
            b"\x01\x01\x05\x00\x00\x01\x01\x01\x01",
        ),
        (
            "fewer parts than said",
            FrameType::Subscribed,
            ToClient,
            b"\x01\x02\x05\x00\x00\x01\x01\x01\x01\x00",
        ),
        (
            "two parts of a partition",
            FrameType::Subscribed,
            ToClient,
            b"\x01\x02\x05\x00\x00\x01\x01\x01\x01\x00\x06\x00\x00\x01\x01\x01\x01\x00",
        ),
        (
            "parts backwards",
            FrameType::Subscribed,
            ToClient,
            b"\x01\x02\x05\x02\x00\x01\x01\x01\x01\x00\x06\x01\x00\x01\x01\x01\x01\x00",
        ),
        (
            "a part's channel of 33 bits",
            FrameType::Subscribed,
            ToClient,
            b"\x01\x01\x80\x80\x80\x80\x10\x00\x00\x01\x01\x01\x01\x00",
        ),
        (
            "257 parts",
            FrameType::Subscribed,
            ToClient,
            &[&b"\x01"[..], &rising(257, b"\x05", b"\x00\x01\x01\x01\x01\x00")].concat(),
        ),
        ("no subscription", FrameType::Unsubscribe, ToNode, b""),
        ("an empty gap", FrameType::Gap, ToClient, b"\x01\x01\x05\x01\x05\x01"),
        ("a gap backwards", FrameType::Gap, ToClient, b"\x01\x02\x01\x01\x05\x01"),
        ("a gap of no reason", FrameType::Gap, ToClient, b"\x01\x01\x05\x01\x06\x00"),
        ("a gap of an unknown reason", FrameType::Gap, ToClient, b"\x01\x01\x05\x01\x06\x06"),
        ("an outcome of no kind", FrameType::Error, ToClient, b"\x01\x01\x02\x00"),
        ("a code of 17 bits", FrameType::Error, ToClient, b"\x01\x80\x80\x04\x00\x00"),
        ("nine addresses", FrameType::GoAway, ToClient, b"\x01\x00\x00\x09\0\0\0\0\0\0\0\0\0"),
        (
            "an address of 129 bytes",
            FrameType::GoAway,
            ToClient,
            &[&b"\x01\x00\x00\x01\x81\x01"[..], &[b'a'; 129]].concat(),
        ),
        ("a slot of 33 bits", FrameType::Reject, ToClient, b"\x01\x80\x80\x80\x80\x10\x00"),
        ("a detail of 201 bytes", FrameType::Bye, ToNode, &[&b"\x00\xc9\x01"[..], &[b'a'; 201]].concat()),
    ] {
        let header =
            Header { frame_type, seq: Seq(1), ack_seq: Seq(0), window: 1, len: payload.len() as u16 };
        let fixed = [&header.to_bytes()[..], payload].concat();
        let expected = Err(Malformed::Payload(frame_type.label()).into());
        assert_eq!(decoder(direction, false).step(&fixed), expected, "{what}");
        if frame_type.has_compact_form() {
            let compact = [&reference::compact_header(&header, &ZEROS)[..], payload].concat();
            assert_eq!(decoder(direction, true).step(&compact), expected, "{what}");
        }
    }
}

/// A list and its count: items of partitions 0, 1, 2 and so on.
fn rising(count: u16, before_partition: &[u8], behind_partition: &[u8]) -> Vec<u8> {
    let varint = |n: u16| if n < 128 { vec![n as u8] } else { vec![n as u8 | 128, (n >> 7) as u8] };
    let item = |partition| [before_partition, &varint(partition), behind_partition].concat();
    varint(count).into_iter().chain((0..count).flat_map(item)).collect()
}

/// Lists as long as they may be, so that the refusals above are those of the one item more.
#[test]
fn lists_may_be_as_long_as_the_limits_say() {
    use Direction::{ToClient, ToNode};
    for (frame_type, direction, payload) in [
        (FrameType::Data, ToNode, [&b"\x04\x01\x01*\x40"[..], &[0; 64], &[0]].concat()),
        (FrameType::Subscribe, ToNode, [&b"\x01\x01*\x04"[..], &rising(256, b"", b"\x01\x05")].concat()),
        (FrameType::Subscribe, ToNode, b"\x01\x01*\x04\x00".to_vec()),
        (
            FrameType::Subscribed,
            ToClient,
            [&b"\x01"[..], &rising(256, b"\x05", b"\x00\x01\x01\x01\x01\x00")].concat(),
        ),
    ] {
        let len = payload.len() as u16;
        let header = Header { frame_type, seq: Seq(1), ack_seq: Seq(0), window: 1, len };
        let bytes = [&header.to_bytes()[..], &payload].concat();
        let Ok(Step::Frame(frame, _)) = decoder(direction, false).step(&bytes) else { panic!("{bytes:?}") };
        let mut again = Vec::new();
        frame.payload.encode(Seq(1), Seq(0), 1, &mut again);
        assert_eq!(again, bytes);
    }
}

/// Bits that this version does not name are those of a later one.
#[test]
fn unknown_flags_are_ignored() {
    use Direction::{ToClient, ToNode};
    let hello = &[&[0, 10][..], &[0; 16], &[0]].concat()[..];
    for (frame_type, direction, known, unknown) in [
        (FrameType::Data, ToNode, &b"\x00\x01\x01a\x00"[..], &b"\xf8\x01\x01\x01a\x00"[..]),
        (FrameType::Data, ToNode, b"\x01\x01\x01a\x07\x00", b"\xf9\x01\x01\x01a\x07\x00"),
        (
            FrameType::Data,
            ToNode,
            b"\x07\x01\x01*\x07\x08\x01\x01a\x00",
            b"\xff\x01\x01\x01*\x07\x08\x01\x01a\x00",
        ),
        (FrameType::Data, ToClient, b"\x01\x00\x01\x05\x01\x00", b"\x01\xfc\x01\x01\x05\x01\x00"),
        (FrameType::Data, ToClient, b"\x01\x03\x01\x05\x01\x01a\x00", b"\x01\xff\x01\x01\x05\x01\x01a\x00"),
        (FrameType::Hello, ToNode, hello, &[hello, b"\xfe\x01"].concat()),
        (
            FrameType::Hello,
            ToNode,
            &[hello, b"\x01\x07\x08"].concat(),
            &[hello, b"\xff\x01\x07\x08"].concat(),
        ),
        (
            FrameType::Subscribed,
            ToClient,
            b"\x01\x01\x05\x00\x00\x01\x01\x01\x01\x00",
            b"\x01\x01\x05\x00\x02\x01\x01\x01\x01\x00",
        ),
        (
            FrameType::Subscribed,
            ToClient,
            b"\x01\x02\x05\x00\x01\x01\x01\x01\x01\x00\x06\x01\x00\x01\x01\x01\x01\x00",
            b"\x01\x02\x05\x00\xff\x01\x01\x01\x01\x01\x00\x06\x01\xfe\x01\x01\x01\x01\x01\x00",
        ),
    ] {
        let [known, unknown] = [known, unknown].map(|payload| {
            let header =
                Header { frame_type, seq: Seq(1), ack_seq: Seq(0), window: 1, len: payload.len() as u16 };
            [&header.to_bytes()[..], payload].concat()
        });
        let payload_of = |bytes| match decoder(direction, false).step(bytes) {
            Ok(Step::Frame(frame, _)) => frame.payload,
            other => panic!("{other:?}"),
        };
        assert_eq!(payload_of(&known), payload_of(&unknown));
    }
}

/// A payload of 512 bytes is the longest before WELCOME towards a node, and none is too long towards
/// a client.
#[test]
fn payloads_are_short_until_the_handshake_is_over() {
    let mut hello = b"MB\x01\x04\0\0\0\0\0\0\0\0\0\0\x02\x00".to_vec();
    hello.resize(16 + 512, 0);
    let early = Decoder::new(Direction::ToNode);
    assert!(matches!(early.step(&hello), Ok(Step::Frame(_, 528))));
    hello[15] = 1;
    assert_eq!(early.step(&hello), Err(Malformed::TooLong { len: 513, len_max: 512 }.into()));
    assert_eq!(decoder(Direction::ToNode, false).step(&hello), Ok(Step::Partial(529)));
    let longest = b"MB\x01\x00\0\0\0\0\0\0\0\0\0\0\xff\xff";
    assert_eq!(decoder(Direction::ToNode, false).step(longest), Ok(Step::Partial(16 + 65_535)));
    assert_eq!(Decoder::new(Direction::ToClient).step(longest), Ok(Step::Partial(16 + 65_535)));
}
