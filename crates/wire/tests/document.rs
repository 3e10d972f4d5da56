//! The tables of `docs/PROTOCOL.md` say what the code says, and its examples are real frames.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/drawn.rs"]
#[allow(dead_code, reason = "this test only asks which types travel in a direction")]
mod drawn;
#[path = "support/notation.rs"]
mod notation;
#[path = "support/rendering.rs"]
mod rendering;
#[path = "support/values.rs"]
#[allow(dead_code, reason = "nothing is drawn here")]
mod values;

use multibeam_wire::link::LinkFrameType;
use multibeam_wire::{
    CloseClass, CloseCode, Cursors, Direction, ErrorCode, Features, FrameType, GapReason, GoAwayReason,
    HEADER_BYTES, MAGIC, Payload, Position, Seq, Start, Subscribe, SubscriptionId, flow, limits,
};
use notation::{Reader, hex, parse_hex};
use std::collections::BTreeSet;

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/PROTOCOL.md");
    std::fs::read_to_string(path).unwrap()
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// These columns of the section's first table that begins with them.
fn table(columns: &[&str], section: &str) -> Vec<Vec<String>> {
    let document = document();
    let head = format!("\n## {section}\n");
    let section = document.split(&head).nth(1).unwrap_or_else(|| panic!("no section {section:?}"));
    let section = section.split("\n## ").next().unwrap();
    let has_columns = |line: &str| {
        line.starts_with('|')
            && cells(line).iter().map(String::as_str).take(columns.len()).eq(columns.iter().copied())
    };
    let mut lines = section.lines().skip_while(|line| !has_columns(line));
    assert!(lines.next().is_some(), "no table with the columns {columns:?} in {head:?}");
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| cells(line)[..columns.len()].to_vec())
        .collect()
}

fn yes_or_no(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

#[test]
fn frame_types() {
    let from = |frame_type| {
        let travels = |direction| drawn::types(direction).contains(&frame_type);
        match (travels(Direction::ToNode), travels(Direction::ToClient)) {
            (true, true) => "both",
            (true, false) => "client",
            (false, true) => "node",
            (false, false) => "nobody",
        }
    };
    let row = |t: &FrameType| {
        let (sequenced, compact) = (yes_or_no(t.sequenced()), yes_or_no(t.has_compact_form()));
        vec![(*t as u8).to_string(), t.label().to_owned(), sequenced, compact, from(*t).to_owned()]
    };
    let expected: Vec<_> = FrameType::ALL.iter().map(row).collect();
    assert_eq!(table(&["type", "name", "sequenced", "compact", "from"], "Frame types"), expected);
}

#[test]
fn link_frame_types() {
    let row =
        |t: &LinkFrameType| vec![(*t as u8).to_string(), t.label().to_owned(), yes_or_no(t.sequenced())];
    let expected: Vec<_> = LinkFrameType::ALL.iter().map(row).collect();
    assert_eq!(table(&["type", "name", "sequenced"], "Links between nodes"), expected);
}

#[test]
fn features() {
    let row = |(feature, name): &(Features, &str)| vec![feature.0.to_string(), (*name).to_owned()];
    let expected: Vec<_> = Features::ALL.iter().map(row).collect();
    assert_eq!(table(&["bit value", "name"], "Features"), expected);
}

#[test]
fn error_codes() {
    let row = |code: &ErrorCode| {
        vec![(*code as u16).to_string(), code.label().to_owned(), code.sentence().to_owned()]
    };
    let expected: Vec<_> = ErrorCode::ALL.iter().map(row).collect();
    assert_eq!(table(&["code", "name", ""], "Error codes"), expected);
}

#[test]
fn close_codes() {
    let whose = |class| match class {
        CloseClass::Normal => "nobody",
        CloseClass::Malformed => "malformed",
        CloseClass::Incompatible => "incompatible",
        CloseClass::Misbehaved => "misbehaved",
        CloseClass::Overloaded => "overloaded",
        CloseClass::Ours => "ours",
    };
    let row = |code: &CloseCode| {
        let (label, sentence) = (code.label().to_owned(), code.sentence().to_owned());
        vec![(*code as u16).to_string(), label, whose(code.class()).to_owned(), sentence]
    };
    let expected: Vec<_> = CloseCode::ALL.iter().map(row).collect();
    assert_eq!(table(&["code", "name", "whose act", ""], "Close codes"), expected);
}

#[test]
fn gap_reasons() {
    let row = |reason: &GapReason| vec![reason.number().to_string(), reason.label().to_owned()];
    let expected: Vec<_> = GapReason::ALL.iter().map(row).collect();
    assert_eq!(table(&["reason", "name"], "Deliveries and gaps"), expected);
}

#[test]
fn starts() {
    let row = |(start, name): (Start<'_>, &str)| {
        let mut bytes = Vec::new();
        let subscribe = Subscribe { subscription: SubscriptionId(1), topic: "", start };
        Payload::Subscribe(subscribe).encode(Seq(0), Seq(0), 0, &mut bytes);
        // Behind the subscription and the length of the topic.
        vec![bytes[HEADER_BYTES + 2].to_string(), name.to_owned()]
    };
    let expected = [
        (Start::New, "new"),
        (Start::Last, "last"),
        (Start::After(Position::default()), "behind a position"),
        (Start::First, "first"),
        (Start::AfterEach(Cursors::new(&[])), "behind a position in each partition"),
    ];
    assert_eq!(table(&["start", "name"], "Deliveries and gaps"), expected.map(row));
}

/// The numbers that the text says, other than in tables.
#[test]
fn numbers_in_the_text() {
    let (window, keys) = (limits::DEDUP_WINDOW, limits::KEYS_MAX);
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let document = words(&document());
    for text in [
        format!("SUBSCRIBED for subscription {} after WELCOME", SubscriptionId::SYSTEM.0),
        format!("remembers the last {window} numbers of a producer"),
        format!("no more than {window} numbers without an answer at a time"),
        format!("{window} publishes, or {} of {keys} keys", window / keys),
        format!("is 1 to {} segments", limits::TOPIC_SEGMENTS_MAX),
    ] {
        assert!(document.contains(&text), "the document does not say {text:?}");
    }
}

#[test]
fn go_away_reasons() {
    let row = |reason: &GoAwayReason| vec![(*reason as u16).to_string(), reason.label().to_owned()];
    let expected: Vec<_> = GoAwayReason::ALL.iter().map(row).collect();
    assert_eq!(table(&["GOAWAY reason", "name"], "When to come again"), expected);
}

#[test]
fn limits() {
    let expected = [
        ("payload of a frame", limits::PAYLOAD_BYTES_MAX),
        ("body of a message", limits::BODY_BYTES_MAX),
        ("topic name, filter or template", limits::TOPIC_BYTES_MAX),
        ("key", limits::KEY_BYTES_MAX),
        ("keys in a publish (count)", limits::KEYS_MAX),
        ("cursors in a SUBSCRIBE, parts in a SUBSCRIBED (count)", limits::PARTS_MAX),
        ("payload of HELLO", limits::HELLO_BYTES_MAX),
        ("agent", limits::AGENT_BYTES_MAX),
        ("detail", limits::DETAIL_BYTES_MAX),
        ("address", limits::ADDRESS_BYTES_MAX),
        ("addresses in a GOAWAY (count)", limits::ADDRESSES_MAX),
        ("receipts in an ACK (count)", limits::RECEIPT_RANGES_MAX),
        ("payload before LINK_WELCOME, on a link", limits::LINK_HELLO_BYTES_MAX),
        ("part of a message on a link", limits::LINK_PART_BYTES_MAX),
    ];
    let expected = expected.map(|(what, limit)| vec![what.to_owned(), limit.to_string()]);
    assert_eq!(table(&["what", "at most"], "Payloads"), expected);
}

/// The offsets of the fixed header, and the length that they add up to.
#[test]
fn header() {
    let offsets: Vec<_> = table(&["offset"], "Header").into_iter().map(|mut row| row.remove(0)).collect();
    assert_eq!(offsets, ["0", "2", "3", "4", "8", "12", "14"]);
    assert!(document().contains(&format!("begins with exactly {HEADER_BYTES} bytes")));
    assert!(document().contains(&format!("`{MAGIC:#X}`").replace("0X", "0x")));
}

/// A fenced block of frames.
struct Example {
    /// Line of the document where it begins.
    at: usize,
    stream: String,
    lines: Vec<String>,
}

fn examples() -> Vec<Example> {
    let document = document();
    let mut examples: Vec<Example> = Vec::new();
    let mut is_inside = false;
    for (index, line) in document.lines().enumerate() {
        if let Some(stream) = line.strip_prefix("```frames ") {
            examples.push(Example { at: index + 1, stream: stream.to_owned(), lines: Vec::new() });
            is_inside = true;
        } else if line.starts_with("```") {
            is_inside = false;
        } else if is_inside {
            examples.last_mut().unwrap().lines.push(line.to_owned());
        }
    }
    examples
}

/// Reads a block: bytes until a line that begins with `=`, which says what the next frame is.
/// Returns the names of the frames.
fn check(example: &Example) -> Vec<&'static str> {
    let mut reader = Reader::new(&example.stream);
    let (mut bytes, mut labels, mut last_seq) = (Vec::new(), Vec::new(), None);
    for (index, line) in example.lines.iter().enumerate() {
        let at = format!("line {} of PROTOCOL.md", example.at + 1 + index);
        let Some(expected) = line.strip_prefix('=') else {
            bytes.extend(parse_hex(line.split('#').next().unwrap()));
            continue;
        };
        let (found, used) = reader.next(&bytes).unwrap_or_else(|rejection| panic!("{at}: {rejection}"));
        assert_eq!(found.line, expected.trim(), "{at}");
        assert_eq!(hex(&found.again), hex(&bytes[..used]), "{at}: this is how it would be encoded");
        bytes.drain(..used);
        labels.push(found.label);
        if let Some(header) = found.header {
            let last = last_seq
                .replace(header.seq)
                .unwrap_or(Seq(header.seq.0 - u32::from(header.frame_type.sequenced())));
            flow::in_order(last, &header).unwrap_or_else(|broken| panic!("{at}: {broken}"));
        }
    }
    assert!(bytes.is_empty(), "the block at line {} says nothing about {}", example.at, hex(&bytes));
    labels
}

#[test]
fn examples_are_real_frames() {
    let examples = examples();
    let labels: BTreeSet<_> = examples.iter().flat_map(check).collect();
    let expected: Vec<_> = FrameType::ALL.iter().map(|frame_type| frame_type.label()).collect();
    for label in expected.iter().chain(&["LINK_HELLO", "LINK_WELCOME"]) {
        assert!(labels.contains(label), "no example of a {label}");
    }
    let said: Vec<_> = examples.iter().flat_map(|example| &example.lines).collect();
    let of_many = ["key=", "system_after=", "cursor=", "topic=\"alarm.*\""];
    for field in of_many.iter().chain(&["ttl_ms=", "retry_of=", "receipt=", "skipped=yes", "gap=yes"]) {
        assert!(said.iter().any(|line| line.contains(field)), "no example with {field}");
    }
    assert!(examples.iter().any(|example| example.stream.ends_with(" compact")), "no compact example");
}

#[test]
#[should_panic(expected = "this is how it would be encoded")]
fn an_example_with_another_spelling_is_found() {
    // A HEARTBEAT with a byte of payload that nobody knows.
    let lines =
        vec!["4D42 01 01 00000000 00000000 0000 0001 FF".into(), "= HEARTBEAT seq 0 ack 0 window 0".into()];
    check(&Example { at: 0, stream: "to-node".into(), lines });
}

#[test]
#[should_panic(expected = "says nothing about")]
fn an_example_with_bytes_left_is_found() {
    check(&Example { at: 0, stream: "to-node compact".into(), lines: vec!["01 00 # HEARTBEAT".into()] });
}
