//! Frames and rejections that are checked in byte by byte: whoever changes one of these lines has
//! changed the protocol.
//!
//! A line of `goldens/frames.txt` is `name | stream | bytes | frame`; `notation.rs` describes the
//! streams, `rendering.rs` the frames. A rejection's line has `! CLOSE_CODE sentence` in place of a
//! frame. `rules SENT WINDOW IN_FLIGHT` at the end of a stream's name: the frame is well-formed, and
//! a receiver that has sent so much, allowed a window of so many bytes and has so many of them in
//! flight judges it.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/notation.rs"]
#[allow(dead_code, reason = "the header of what was found is for the document")]
mod notation;
#[path = "support/rendering.rs"]
mod rendering;

use multibeam_wire::link::LinkFrameType;
use multibeam_wire::{
    CloseClass, CloseCode, FrameType, GapReason, Incompatible, Payload, Rejection, Seq, Step, WindowUnit,
    flow,
};
use notation::{Reader, hex, parse_hex};
use std::collections::BTreeSet;

const GOLDENS: &str = include_str!("goldens/frames.txt");

struct Golden<'a> {
    name: &'a str,
    stream: &'a str,
    bytes: Vec<u8>,
    expected: &'a str,
}

fn goldens() -> Vec<Golden<'static>> {
    let lines = GOLDENS.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let cells: Vec<_> = line.splitn(4, '|').map(str::trim).collect();
            let [name, stream, bytes, expected] = cells[..] else { panic!("not four cells: {line}") };
            Golden { name, stream, bytes: parse_hex(bytes), expected }
        })
        .collect()
}

/// What the bytes are: a frame and what it encodes to, or why not.
fn read(golden: &Golden<'_>) -> (String, Vec<u8>) {
    let (stream, rules) = match golden.stream.split_once(" rules ") {
        Some((stream, rules)) => (stream, Some(rules)),
        None => (golden.stream, None),
    };
    if let Some(rules) = rules {
        return (
            judged(stream, rules, &golden.bytes).map_or_else(refused, |()| "! nothing".to_owned()),
            Vec::new(),
        );
    }
    match Reader::new(stream).next(&golden.bytes) {
        Ok((found, used)) => {
            assert_eq!(used, golden.bytes.len(), "{}: bytes behind the frame", golden.name);
            (found.line, found.again)
        }
        Err(rejection) => (refused(rejection), Vec::new()),
    }
}

fn refused(rejection: Rejection) -> String {
    format!("! {} {rejection}", rejection.close_code().label())
}

/// Holds a well-formed frame against the rules that follow from what came before it.
fn judged(stream: &str, rules: &str, bytes: &[u8]) -> Result<(), Rejection> {
    let Reader::Client { decoder, .. } = Reader::new(stream) else { panic!("rules of a link") };
    let numbers: Vec<u32> = rules.split(' ').map(|word| word.parse().unwrap()).collect();
    let after: Vec<&str> = stream.split(' ').skip_while(|word| *word != "after").collect();
    let [sent, window, in_flight] = numbers[..] else { panic!("not three numbers: {rules}") };
    let (seq, acked) = (Seq(after[1].parse().unwrap()), Seq(after[2].parse().unwrap()));
    let Step::Frame(frame, _) = decoder.step(bytes)? else { panic!("incomplete") };
    flow::in_order(seq, &frame.header)?;
    flow::newly_acked(acked, frame.header.ack_seq, Seq(sent))?;
    if frame.header.frame_type == FrameType::Data {
        flow::within_window(window.into(), in_flight.into(), frame.header.len.into())?;
    }
    if let Payload::Hello(hello) = frame.payload
        && WindowUnit::from_number(hello.window_unit_log2).is_none()
    {
        return Err(Incompatible::WindowUnit(hello.window_unit_log2).into());
    }
    Ok(())
}

#[test]
fn the_bytes_are_these_frames_and_these_frames_are_the_bytes() {
    let mut wrong = Vec::new();
    for golden in goldens() {
        let (found, again) = read(&golden);
        let is_frame = !golden.expected.starts_with('!');
        let bytes = if is_frame && again != golden.bytes { again } else { golden.bytes.clone() };
        if found != golden.expected || bytes != golden.bytes {
            wrong.push(format!("{} | {} | {} | {found}", golden.name, golden.stream, hex(&bytes)));
        }
    }
    assert!(wrong.is_empty(), "these lines would be right:\n{}\n", wrong.join("\n"));
}

#[test]
fn each_name_occurs_once() {
    let names: Vec<_> = goldens().iter().map(|golden| golden.name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
}

/// Types of a stream's frames that occur, by form.
fn labels(stream: &str, is_compact: bool) -> BTreeSet<&'static str> {
    goldens()
        .iter()
        .filter(|golden| golden.stream.starts_with(stream) && !golden.expected.starts_with('!'))
        .filter(|golden| is_compact == (golden.bytes[0] != b'M'))
        .map(|golden| Reader::new(golden.stream).next(&golden.bytes).unwrap().0.label)
        .collect()
}

#[test]
fn every_type_occurs_in_each_of_its_forms() {
    let fixed: BTreeSet<_> = labels("to-", false);
    assert_eq!(fixed, FrameType::ALL.iter().map(|t| t.label()).collect());
    let compact: BTreeSet<_> = labels("to-", true);
    let has_compact = FrameType::ALL.iter().filter(|frame_type| frame_type.has_compact_form());
    assert_eq!(compact, has_compact.map(|t| t.label()).collect());
    for stream in ["to-node", "to-client"] {
        assert!(labels(stream, false).contains("DATA") && labels(stream, true).contains("DATA"));
    }
    assert_eq!(labels("link ", false), LinkFrameType::ALL.iter().map(|t| t.label()).collect());
}

/// Fields and values that a frame of their type may do without.
#[test]
fn every_optional_field_and_every_listed_value_occurs() {
    let lines: Vec<_> = goldens().iter().map(|golden| golden.expected).collect();
    let reasons = GapReason::ALL.iter().map(|reason| format!("GAP reason={}", reason.label()));
    let others = [
        "DATA retry_of=",
        "DATA ttl_ms=",
        "DATA key=",
        "DATA skipped=yes",
        "DATA prev=40 topic=",
        "HELLO system_after=",
        "SUBSCRIBE start=new",
        "SUBSCRIBE start=last",
        "SUBSCRIBE start=first",
        "SUBSCRIBE start=after ",
        "SUBSCRIBE start=after each cursor=",
        "SUBSCRIBED gap=yes",
        "ACK receipt=",
        "ERROR outcome=definite",
        "ERROR outcome=unknown",
        "GOAWAY try=",
    ];
    for wanted in reasons.chain(others.map(str::to_owned)) {
        let (label, field) = wanted.split_once(' ').unwrap();
        let has = |line: &&str| line.starts_with(&format!("{label} ")) && line.contains(field);
        assert!(lines.iter().any(has), "no golden with {wanted}");
    }
    // One item is not yet a list.
    for twice in ["key=", "cursor=", "channel=", "receipt=", "try="] {
        assert!(lines.iter().any(|line| line.matches(twice).count() > 1), "no golden with two of {twice}");
    }
}

#[test]
fn every_rejection_occurs() {
    let goldens = goldens();
    let refusals = goldens.iter().filter_map(|golden| golden.expected.strip_prefix("! "));
    let found: BTreeSet<_> = refusals.map(|refusal| refusal.split(' ').next().unwrap()).collect();
    // The codes that bytes and numbers alone can earn. The others are a matter of time, of what a
    // connection has or has not been through, or of how much a node can hold.
    let of_a_session = [
        CloseCode::HelloExpected,
        CloseCode::HelloTimeout,
        CloseCode::HelloTwice,
        CloseCode::HeartbeatTimeout,
        CloseCode::AckTimeout,
        CloseCode::StaleIncarnation,
        CloseCode::TooSlow,
        CloseCode::WrongCluster,
        CloseCode::FeatureMissing,
    ];
    let earned = CloseCode::ALL.iter().filter(|code| {
        let by_peer = match code.class() {
            CloseClass::Malformed | CloseClass::Incompatible | CloseClass::Misbehaved => true,
            CloseClass::Normal | CloseClass::Overloaded | CloseClass::Ours => false,
        };
        by_peer && !of_a_session.contains(code)
    });
    assert_eq!(found, earned.map(|code| code.label()).collect());
}
