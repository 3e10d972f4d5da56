//! How subscriptions, messages and gaps look on a terminal and in JSON.

use multibeam_client::{GapReason, Message, Offset, Part, PartitionId, Position};
use serde::Serialize;
use std::fmt::Write;

/// A message as it is printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Printed<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: PartitionId,
    pub(super) position: Position,
    pub(super) prev: Offset,
    pub(super) skipped: bool,
    pub(super) body: &'a [u8],
}

impl<'a> From<&'a Message> for Printed<'a> {
    fn from(message: &'a Message) -> Self {
        let Message { topic, partition, position, prev, skipped, body, .. } = message;
        Self {
            topic: topic.as_str(),
            partition: *partition,
            position: *position,
            prev: *prev,
            skipped: *skipped,
            body,
        }
    }
}

impl Printed<'_> {
    /// One line, without its end.
    pub(super) fn line(&self, json: bool) -> String {
        let Self { topic, position, body, .. } = *self;
        if !json {
            let skipped = if self.skipped { " (newest of several)" } else { "" };
            return format!("{topic} {position}{skipped} {}", printable(body));
        }
        let text = std::str::from_utf8(body).ok();
        one_line(&MessageLine {
            topic,
            partition: self.partition.to_string(),
            generation: position.generation.0,
            offset: position.offset.0,
            prev: self.prev.0,
            skipped: self.skipped,
            body: text,
            body_hex: text.is_none().then(|| hex(body)),
        })
    }
}

/// In the order in which people read it, as all of these.
#[derive(Serialize)]
struct MessageLine<'a> {
    topic: &'a str,
    partition: String,
    generation: u64,
    offset: u64,
    prev: u64,
    #[serde(skip_serializing_if = "is_false")]
    skipped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(word: &bool) -> bool {
    !*word
}

/// Messages that will not come, of a topic or filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap<'a> {
    /// What is followed.
    pub(super) name: &'a str,
    pub(super) partition: PartitionId,
    /// The last position before it.
    pub(super) from: Position,
    /// The last position inside it.
    pub(super) to: Position,
    pub(super) reason: &'a str,
}

impl<'a> Gap<'a> {
    pub(super) fn told(
        name: &'a str,
        (partition, from, to): (PartitionId, Position, Position),
        reason: GapReason,
    ) -> Self {
        Self { name, partition, from, to, reason: reason.label() }
    }

    /// One line, without its end.
    pub(super) fn line(&self, json: bool) -> String {
        let Self { name, partition, from, to, reason } = *self;
        if !json {
            return format!("--- GAP in {name}: nothing behind {from} up to {to} will come ({reason}) ---");
        }
        let (from, to, partition) = (from.into(), to.into(), partition.to_string());
        one_line(&GapLine { gap: GapFields { topic: name, partition, from, to, reason } })
    }
}

#[derive(Serialize)]
struct GapLine<'a> {
    gap: GapFields<'a>,
}

#[derive(Serialize)]
struct GapFields<'a> {
    topic: &'a str,
    partition: String,
    from: PositionFields,
    to: PositionFields,
    reason: &'a str,
}

#[derive(Serialize)]
struct PositionFields {
    generation: u64,
    offset: u64,
}

impl From<Position> for PositionFields {
    fn from(position: Position) -> Self {
        Self { generation: position.generation.0, offset: position.offset.0 }
    }
}

/// The beginning of a subscription, one line without its end.
pub(super) fn subscribed(json: bool, name: &str, parts: &[Part]) -> String {
    let count = parts.iter().map(|part| part.replay_count).sum();
    let gap = parts.iter().any(|part| part.gap);
    if json {
        let parts = parts.iter().map(|part| PartFields {
            partition: part.partition.to_string(),
            from: part.from.into(),
            to: part.head.into(),
            count: part.replay_count,
            gap: part.gap,
        });
        return one_line(&SubscribedLine {
            subscribed: SubscribedFields { topic: name, count, gap, parts: parts.collect() },
        });
    }
    let place = match parts {
        [part] if part.from == part.head => format!(", behind {}", part.from),
        [part] => format!(", behind {} up to {}", part.from, part.head),
        parts => format!(", in {} partitions", parts.len()),
    };
    let kept = match count {
        // The node does not know yet how many.
        0 if parts.iter().any(|part| part.head > part.from) => "; kept messages come first".to_owned(),
        0 => String::new(),
        1 => "; 1 kept message comes first".to_owned(),
        count => format!("; {count} kept messages come first"),
    };
    let gone = if gap { "; messages before them are gone" } else { "" };
    format!("subscribed to {name}{place}{kept}{gone}")
}

#[derive(Serialize)]
struct SubscribedLine<'a> {
    subscribed: SubscribedFields<'a>,
}

#[derive(Serialize)]
struct SubscribedFields<'a> {
    topic: &'a str,
    /// Messages that come first, as far as the node knew.
    count: u64,
    /// Messages behind the cursor are gone.
    gap: bool,
    parts: Vec<PartFields>,
}

#[derive(Serialize)]
struct PartFields {
    partition: String,
    from: PositionFields,
    to: PositionFields,
    count: u64,
    gap: bool,
}

/// Strings, numbers and lists of them always have a form in JSON.
fn one_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
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
    use serde_json::{Value, json};

    fn printed(body: &[u8]) -> Printed<'_> {
        let (partition, position) = (PartitionId(3 << 16 | 9), Position::new(2, 7));
        Printed { topic: "a.b", partition, position, prev: Offset(3), skipped: false, body }
    }

    #[test]
    fn any_body_fits_in_a_line() {
        for (body, key, value) in [
            (&b"hello"[..], "body", "hello"),
            (b"a\nb\"", "body", "a\nb\""),
            (b"\xff\x01", "body_hex", "ff01"),
            (b"", "body", ""),
        ] {
            let line = printed(body).line(true);
            assert!(!line.contains('\n'), "{line}");
            let mut expected =
                json!({ "topic": "a.b", "partition": "3/9", "generation": 2, "offset": 7, "prev": 3 });
            expected[key] = value.into();
            assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
        }
        let line = printed(b"x\n\x1b[2Jy").line(false);
        assert_eq!(line, "a.b 2:7 x\u{fffd}\u{fffd}[2Jy");
        assert_eq!(Printed { skipped: true, ..printed(b"x") }.line(false), "a.b 2:7 (newest of several) x");
    }

    #[test]
    fn a_subscription_says_what_comes_first() {
        let part = |offset: u64, count: u64, gap: bool| Part {
            partition: PartitionId(0),
            from: Position::new(1, 4),
            head: Position::new(1, offset),
            replay_count: count,
            gap,
        };
        for (parts, expected) in [
            (vec![part(4, 0, false)], "subscribed to x, behind 1:4"),
            (vec![part(9, 0, false)], "subscribed to x, behind 1:4 up to 1:9; kept messages come first"),
            (vec![part(5, 1, false)], "subscribed to x, behind 1:4 up to 1:5; 1 kept message comes first"),
            (
                vec![part(9, 3, true)],
                "subscribed to x, behind 1:4 up to 1:9; 3 kept messages come first; messages before them are gone",
            ),
            (
                vec![part(9, 3, false), part(4, 0, false)],
                "subscribed to x, in 2 partitions; 3 kept messages come first",
            ),
        ] {
            assert_eq!(subscribed(false, "x", &parts), expected);
        }
        let line: Value =
            serde_json::from_str(&subscribed(true, "x", &[part(9, 3, true), part(4, 0, false)])).unwrap();
        let subscribed = &line["subscribed"];
        assert_eq!((&subscribed["count"], &subscribed["gap"]), (&json!(3), &json!(true)));
        assert_eq!(
            (&subscribed["parts"][0]["count"], &subscribed["parts"][1]["gap"]),
            (&json!(3), &json!(false))
        );
        assert_eq!(subscribed["parts"][0]["to"], json!({ "generation": 1, "offset": 9 }));
    }
}
