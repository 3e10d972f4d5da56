//! What became of the messages of `pub`: counted, and told as asked.

use super::Target;
use crate::commands::Failure;
use crate::commands::progress::Progress;
use crate::commands::stop::Stop;
use multibeam_client::{PartitionId, PublishError, Published, Receipt};
use serde::Serialize;
use std::io::Write;

/// Errors that are told one by one; the others are only counted.
const ERRORS_TOLD_MAX: u64 = 10;

/// How the results are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) json: bool,
    pub(super) quiet: bool,
}

/// How many messages ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    stored: u64,
    /// Certainly not stored.
    refused: u64,
    /// They may be stored or not.
    unknown: u64,
    /// Read or to be repeated, and not sent.
    unsent: u64,
}

impl Tally {
    const fn ended(&self) -> u64 {
        self.stored + self.refused + self.unknown + self.unsent
    }

    fn sentence(&self, target: &Target) -> String {
        let Self { stored, refused, unknown, unsent } = *self;
        let mut parts = vec![format!("{stored} of {} stored in {}", messages(self.ended()), target.topic)];
        for (count, what) in [(refused, "refused"), (unknown, "unknown, stored or not"), (unsent, "not sent")]
        {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        parts.join(", ")
    }
}

fn messages(count: u64) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}

/// Counts and tells.
#[derive(Debug)]
pub(super) struct Report<'a> {
    target: &'a Target,
    style: Style,
    progress: Progress,
    tally: Tally,
    last: Published,
    /// There is one message only: its error is the last word.
    single: bool,
    last_error: String,
    /// Nobody reads what we print: it is not printed any more.
    deaf: bool,
}

/// A result in JSON, in the order in which people read it.
#[derive(Serialize)]
struct Line<'a> {
    message: u64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    receipts: Vec<ReceiptLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Summary<'a> {
    topic: &'a str,
    #[serde(flatten)]
    tally: Tally,
}

#[derive(Serialize)]
struct ReceiptLine<'a> {
    topic: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    partition: String,
    generation: u64,
    offset: u64,
    copies: u32,
}

impl<'a> Report<'a> {
    /// For so many messages, if that is known.
    pub(super) fn new(target: &'a Target, style: Style, len: Option<u64>) -> Self {
        Self {
            target,
            style,
            progress: Progress::new(!style.quiet, len),
            tally: Tally::default(),
            last: Published::default(),
            single: len == Some(1),
            last_error: String::new(),
            deaf: false,
        }
    }

    /// The message `number`, from 1, has ended.
    pub(super) fn ended(&mut self, number: u64, result: Result<Published, PublishError>) {
        match result {
            Ok(published) => {
                self.tally.stored += 1;
                self.line(number, "stored", Some(&published), None);
                self.last = published;
            }
            Err(PublishError::Closed) => self.unsent(1),
            Err(error) if error.is_definite() => self.refused(number, error.to_string()),
            Err(error) => {
                self.tally.unknown += 1;
                self.failed(number, "unknown", error.to_string());
            }
        }
        self.progress.at(self.tally.ended());
    }

    /// The message `number` is certainly not stored.
    pub(super) fn refused(&mut self, number: u64, error: String) {
        self.tally.refused += 1;
        self.failed(number, "refused", error);
    }

    /// Messages that were not sent before the end.
    pub(super) const fn unsent(&mut self, count: u64) {
        self.tally.unsent += count;
    }

    fn failed(&mut self, number: u64, outcome: &'static str, error: String) {
        let told = self.tally.refused + self.tally.unknown;
        let has_line = self.style.json && !self.style.quiet;
        if !self.single && !has_line && told <= ERRORS_TOLD_MAX {
            self.progress.above(&format!("multibeam: message {number}: {error}"));
        }
        self.last_error.clone_from(&error);
        self.line(number, outcome, None, Some(error));
    }

    fn line(
        &mut self,
        message: u64,
        outcome: &'static str,
        stored: Option<&Published>,
        error: Option<String>,
    ) {
        if !self.style.json || self.style.quiet || self.deaf {
            return;
        }
        let receipts = stored.map(|published| self.receipts(published)).unwrap_or_default();
        let line = Line { message, outcome, receipts, error };
        // Strings and numbers always have a form in JSON.
        let line = serde_json::to_string(&line).unwrap_or_default();
        self.deaf = writeln!(std::io::stdout(), "{line}").is_err();
    }

    fn receipts(&self, published: &Published) -> Vec<ReceiptLine<'a>> {
        let topics = self.target.topics();
        let line = |(receipt, (topic, key)): (&Receipt, (String, Option<&'a str>))| ReceiptLine {
            topic,
            key,
            partition: PartitionId(receipt.partition).to_string(),
            generation: receipt.position.generation.0,
            offset: receipt.position.offset.0,
            copies: receipt.copies,
        };
        published.receipts.iter().zip(topics).map(line).collect()
    }

    /// The last word; an error unless everything there was is stored.
    pub(super) fn end(self, stop: Option<Stop>, unread: Option<String>) -> Result<(), Failure> {
        self.progress.end();
        if self.style.json && self.style.quiet {
            let summary = Summary { topic: &self.target.topic, tally: self.tally };
            let _ = writeln!(std::io::stdout(), "{}", serde_json::to_string(&summary).unwrap_or_default());
        }
        let all = self.tally.stored == self.tally.ended() && stop.is_none() && unread.is_none();
        if all {
            if !self.style.json && !self.style.quiet {
                let _ = std::io::stdout().write_all(self.success().as_bytes());
            }
            return Ok(());
        }
        if self.single && !self.last_error.is_empty() {
            return Err(Failure::Failed(format!("{}: {}", self.target.topic, self.last_error)));
        }
        let why =
            stop.map(|stop| stop.to_string()).or(unread).map(|why| format!("{why}: ")).unwrap_or_default();
        Err(Failure::Failed(format!("{why}{}", self.tally.sentence(self.target))))
    }

    fn success(&self) -> String {
        let Self { target, tally, last, .. } = self;
        let at = |receipt: &Receipt| receipt.position.to_string();
        match (tally.stored, last.receipts.last()) {
            (1, Some(_)) => {
                let topics = target.topics().zip(&last.receipts);
                topics
                    .map(|((topic, _), receipt)| format!("stored in {topic} at {}\n", at(receipt)))
                    .collect()
            }
            (count, Some(receipt)) if target.keys.is_empty() => {
                format!("{} stored in {}, the last at {}\n", messages(count), target.topic, at(receipt))
            }
            (count, _) => format!("{} stored in {}\n", messages(count), target.topic),
        }
    }
}
