//! How messages and gaps look on a terminal and in JSON.

use multibeam_client::{GapReason, Offset, Position};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;

/// One line for a message, without its end.
pub(super) fn message(json: bool, topic: &str, position: Position, prev: Offset, body: &[u8]) -> String {
    if !json {
        return format!("{position} {}", printable(body));
    }
    let text = std::str::from_utf8(body).ok();
    let line = Message {
        topic,
        generation: position.generation.0,
        offset: position.offset.0,
        prev: prev.0,
        body: text,
        body_hex: text.is_none().then(|| hex(body)),
    };
    // Strings and numbers always have a form in JSON.
    serde_json::to_string(&line).unwrap_or_default()
}

/// In the order in which people read it.
#[derive(Serialize)]
struct Message<'a> {
    topic: &'a str,
    generation: u64,
    offset: u64,
    prev: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

/// One line for a gap, without its end.
pub(super) fn gap(json: bool, from: Position, to: Position, reason: GapReason) -> String {
    if json {
        let reason = reason.label();
        json!({ "gap": { "from": position(from), "to": position(to), "reason": reason } }).to_string()
    } else {
        format!("-- gap: nothing behind {from} up to {to} will come ({})", reason.label())
    }
}

fn position(position: Position) -> Value {
    json!({ "generation": position.generation.0, "offset": position.offset.0 })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Without what could steer a terminal or break the line.
fn printable(body: &[u8]) -> String {
    let visible = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(body).chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_body_fits_in_a_line() {
        for (body, key, value) in [
            (&b"hello"[..], "body", "hello"),
            (b"a\nb\"", "body", "a\nb\""),
            (b"\xff\x01", "body_hex", "ff01"),
            (b"", "body", ""),
        ] {
            let line = message(true, "a.b", Position::new(2, 7), Offset(3), body);
            assert!(!line.contains('\n'), "{line}");
            let line: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(line[key], value, "{line}");
            assert_eq!(
                (&line["generation"], &line["offset"], &line["prev"]),
                (&json!(2), &json!(7), &json!(3))
            );
        }
        let line = message(false, "a.b", Position::new(2, 7), Offset(3), b"x\n\x1b[2Jy");
        assert_eq!(line, "2:7 x\u{fffd}\u{fffd}[2Jy");
    }
}
