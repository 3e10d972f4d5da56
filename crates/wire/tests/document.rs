//! The tables of `docs/PROTOCOL.md` say what the code says.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use multibeam_wire::{CloseClass, CloseCode, ErrorCode, FrameType, GapReason, RESERVED_TYPES, limits};

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/PROTOCOL.md");
    std::fs::read_to_string(path).unwrap()
}

/// Rows of the table behind a heading, without its head.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let document = document();
    let section =
        document.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("| ---")).skip(1);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

#[test]
fn frame_types() {
    let expected: Vec<_> = FrameType::ALL
        .iter()
        .map(|t| {
            [
                (*t as u8).to_string(),
                t.label().to_owned(),
                if t.sequenced() { "yes" } else { "no" }.to_owned(),
            ]
        })
        .collect();
    let found: Vec<_> = rows("Frame types").into_iter().map(|row| row[..3].to_vec()).collect();
    assert_eq!(found, expected);
    for (number, name) in RESERVED_TYPES {
        assert!(document().contains(&format!("{number} ({name})")), "{name}");
    }
}

#[test]
fn error_codes() {
    let expected: Vec<_> =
        ErrorCode::ALL.iter().map(|code| vec![(*code as u16).to_string(), code.label().to_owned()]).collect();
    assert_eq!(rows("Error codes"), expected);
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
        vec![(*code as u16).to_string(), code.label().to_owned(), whose(code.class()).to_owned()]
    };
    let expected: Vec<_> = CloseCode::ALL.iter().map(row).collect();
    assert_eq!(rows("Close codes"), expected);
}

#[test]
fn gap_reasons() {
    let expected: Vec<_> = GapReason::ALL
        .iter()
        .map(|reason| vec![reason.number().to_string(), reason.label().to_owned()])
        .collect();
    let found: Vec<_> = rows("Deliveries and gaps").into_iter().map(|row| row[..2].to_vec()).collect();
    assert_eq!(found, expected);
}

#[test]
fn limits() {
    let document = document();
    for (what, bytes) in [
        ("payload of a frame", limits::PAYLOAD_BYTES_MAX),
        ("body of a message", limits::BODY_BYTES_MAX),
        ("topic name", limits::TOPIC_BYTES_MAX),
        ("payload before WELCOME, towards the node", limits::HELLO_BYTES_MAX),
        ("agent", limits::AGENT_BYTES_MAX),
        ("detail", limits::DETAIL_BYTES_MAX),
    ] {
        assert!(document.contains(&format!("\n| {what} | {bytes} |\n")), "{what}: {bytes}");
    }
}
