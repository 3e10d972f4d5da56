//! `multibeam history`.

use super::follow::{self, Followed, Stream};
use super::format::{Gap, Printed};
use super::stop::Stopper;
use super::{ClientArgs, Failure, client, connected, run_client, values};
use clap::Args;
use multibeam_client::{Client, Event, Offset, Part, PartitionId, Position, Start, State};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A node that has more sends it sooner than this after what came before.
const QUIET: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "Examples:
  multibeam history alarm.fire
  multibeam history 'alarm.>' --last 20
  multibeam history chat.7.text --json > chat.json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct HistoryArgs {
    /// A topic such as alarm.fire, or a filter such as 'alarm.*' or 'chat.7.>'.
    #[arg(value_name = "TOPIC|FILTER", value_parser = values::filter)]
    topic: String,
    /// Prints only the newest N messages of what is kept.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    last: Option<u64>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn history(args: &HistoryArgs) -> Result<(), Failure> {
    run_client(async {
        let mut stopper = Stopper::new(args.client.timeout)?;
        let client = client(&args.client);
        let subscription = client
            .subscribe(&args.topic, Start::First)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        let mut followed = [Followed { name: args.topic.clone(), stream: Stream::Plain(subscription) }];
        let read = async {
            connected(&client).await?;
            read(args, &client, &mut followed).await
        };
        let result = tokio::select! {
            biased;
            stop = stopper.stopped() => Err(Failure::Failed(format!("{stop} before the history had ended"))),
            result = read => result,
            never = follow::tell_losses(&client) => match never {},
        };
        drop(followed);
        client.close().await;
        result
    })
}

async fn read(args: &HistoryArgs, client: &Client, followed: &mut [Followed]) -> Result<(), Failure> {
    let mut history = History::new(&args.topic, args.client.json);
    let mut page = Page::new(args.last);
    let mut turn = 0;
    while !history.is_complete() {
        let next = tokio::time::timeout(QUIET, follow::next(followed, &mut turn));
        let event = match next.await {
            Ok((_, event)) => event?,
            Err(_) if client.state() == State::Connected => {
                page.end()?;
                return Err(Failure::Failed(history.unfinished()));
            }
            // The client goes on where it stood.
            Err(_) => continue,
        };
        match event {
            Some(Event::Subscribed { parts }) => history.begin(&parts),
            Some(Event::Message(message)) => {
                for line in history.message(&Printed::from(&message)) {
                    page.put(line)?;
                }
            }
            Some(Event::Gap { partition, from, to, reason }) => {
                if history.gap(partition, to) {
                    let line = Gap::told(&args.topic, (partition, from, to), reason).line(args.client.json);
                    page.put(Line::Gap(line))?;
                }
            }
            Some(Event::Ended(refusal)) => {
                return Err(Failure::Failed(format!("can't read {}: {refusal}", args.topic)));
            }
            Some(_) => {}
            None => return Err(Failure::Failed(format!("the history of {} broke off", args.topic))),
        }
    }
    page.end()?;
    if history.messages == 0 {
        eprintln!("nothing is kept of {}", args.topic);
    }
    Ok(())
}

/// A line of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Message(String),
    Gap(String),
}

/// How far the replay of each partition has come.
#[derive(Debug)]
struct History<'a> {
    name: &'a str,
    json: bool,
    /// `None` before the node has told.
    parts: Option<BTreeMap<PartitionId, Replay>>,
    messages: u64,
}

#[derive(Debug)]
struct Replay {
    at: Position,
    /// The last message when it began: what is newer is no history.
    head: Position,
    /// Nothing of it has come yet.
    is_fresh: bool,
    /// The node has announced a gap, which has not come yet.
    owes_gap: bool,
}

impl Replay {
    fn is_complete(&self) -> bool {
        !self.owes_gap && self.at >= self.head
    }
}

impl<'a> History<'a> {
    const fn new(name: &'a str, json: bool) -> Self {
        Self { name, json, parts: None, messages: 0 }
    }

    fn begin(&mut self, parts: &[Part]) {
        let replay =
            |part: &Part| Replay { at: part.from, head: part.head, is_fresh: true, owes_gap: part.gap };
        self.parts = Some(parts.iter().map(|part| (part.partition, replay(part))).collect());
    }

    fn is_complete(&self) -> bool {
        self.parts.as_ref().is_some_and(|parts| parts.values().all(Replay::is_complete))
    }

    /// What to say if nothing comes any more.
    fn unfinished(&self) -> String {
        let mut open = self.parts.iter().flatten().filter(|(_, replay)| !replay.is_complete());
        let upto =
            open.next().map_or_else(String::new, |(_, replay)| format!(", which goes up to {}", replay.head));
        format!("nothing came for {} s of the history of {}{upto}", QUIET.as_secs(), self.name)
    }

    /// The lines of a message, none if it is newer than the history.
    fn message(&mut self, message: &Printed<'_>) -> Vec<Line> {
        let Some(replay) = self.parts.as_mut().and_then(|parts| parts.get_mut(&message.partition)) else {
            return Vec::new();
        };
        let position = message.position;
        if replay.is_complete() || position > replay.head {
            replay.at = replay.at.max(position);
            return Vec::new();
        }
        let mut lines = Vec::new();
        // It had a message before it that is not kept, unless that was told already.
        if replay.is_fresh && message.prev > Offset(0) {
            let from = Position { offset: Offset(0), ..position };
            let to = Position { offset: message.prev, ..position };
            let gap = Gap { name: self.name, partition: message.partition, from, to, reason: "evicted" };
            lines.push(Line::Gap(gap.line(self.json)));
        }
        lines.push(Line::Message(message.line(self.json)));
        replay.at = position;
        replay.owes_gap = false;
        replay.is_fresh = false;
        self.messages += 1;
        lines
    }

    /// False: it is newer than the history.
    fn gap(&mut self, partition: PartitionId, to: Position) -> bool {
        let Some(replay) = self.parts.as_mut().and_then(|parts| parts.get_mut(&partition)) else {
            return false;
        };
        let within = !replay.is_complete();
        replay.owes_gap = false;
        replay.at = replay.at.max(to);
        replay.is_fresh = false;
        within
    }
}

/// The output: all lines at once, or the last of them at the end.
#[derive(Debug)]
struct Page {
    last: Option<u64>,
    held: VecDeque<Line>,
    messages_held: u64,
    deaf: bool,
}

impl Page {
    const fn new(last: Option<u64>) -> Self {
        Self { last, held: VecDeque::new(), messages_held: 0, deaf: false }
    }

    fn put(&mut self, line: Line) -> Result<(), Failure> {
        let Some(last) = self.last else { return self.print(&line) };
        self.messages_held += u64::from(matches!(line, Line::Message(_)));
        self.held.push_back(line);
        while self.messages_held > last {
            let oldest = self.held.pop_front();
            self.messages_held -= u64::from(matches!(oldest, Some(Line::Message(_))));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        while let Some(line) = self.held.pop_front() {
            self.print(&line)?;
        }
        Ok(())
    }

    fn print(&mut self, line: &Line) -> Result<(), Failure> {
        let (Line::Message(text) | Line::Gap(text)) = line;
        if !self.deaf {
            self.deaf = !follow::print(text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = PartitionId(7);

    fn history(from: u64, head: u64, gap: bool) -> History<'static> {
        let mut history = History::new("a.*", false);
        assert!(!history.is_complete());
        let (from, head) = (Position::new(1, from), Position::new(1, head));
        history.begin(&[Part { partition: PARTITION, from, head, replay_count: 0, gap }]);
        history
    }

    /// The lines of a message at `offset`, shortened to their first word.
    fn lines(history: &mut History<'_>, offset: u64, prev: u64) -> Vec<&'static str> {
        let (position, prev) = (Position::new(1, offset), Offset(prev));
        let printed =
            Printed { topic: "a.b", partition: PARTITION, position, prev, skipped: false, body: b"x" };
        let word = |line| match line {
            Line::Message(_) => "message",
            Line::Gap(_) => "gap",
        };
        history.message(&printed).into_iter().map(word).collect()
    }

    #[test]
    fn it_ends_with_the_message_that_was_the_last() {
        let mut history = history(0, 3, false);
        assert_eq!(lines(&mut history, 1, 0), ["message"]);
        assert!(!history.is_complete());
        assert_eq!(lines(&mut history, 3, 1), ["message"]);
        assert!(history.is_complete());
    }

    #[test]
    fn an_empty_one_ends_at_once() {
        assert!(history(0, 0, false).is_complete());
        assert!(history(9, 9, false).is_complete());
    }

    #[test]
    fn newer_messages_end_it_and_are_no_part_of_it() {
        let mut history = history(0, 3, false);
        assert_eq!(lines(&mut history, 1, 0), ["message"]);
        assert!(lines(&mut history, 4, 1).is_empty());
        assert!(history.is_complete());
        assert_eq!(history.messages, 1);
    }

    #[test]
    fn a_message_before_the_first_is_missing_once() {
        let mut fresh = history(4, 6, false);
        assert_eq!(lines(&mut fresh, 5, 4), ["gap", "message"]);
        assert_eq!(lines(&mut fresh, 6, 5), ["message"]);
        let mut told = history(0, 6, true);
        assert!(told.gap(PARTITION, Position::new(1, 4)));
        assert_eq!(lines(&mut told, 5, 4), ["message"]);
    }

    #[test]
    fn an_announced_gap_is_waited_for() {
        let mut history = history(5, 5, true);
        assert!(!history.is_complete());
        assert!(history.unfinished().contains("a.*, which goes up to 1:5"));
        assert!(history.gap(PARTITION, Position::new(1, 5)));
        assert!(history.is_complete());
        // A later one is none of its business.
        assert!(!history.gap(PARTITION, Position::new(1, 8)));
    }

    #[test]
    fn the_last_lines_keep_the_gaps_between_them() {
        let mut page = Page::new(Some(2));
        let line =
            |text: &str| if text == "gap" { Line::Gap(text.into()) } else { Line::Message(text.into()) };
        for text in ["gap", "1", "2", "gap", "3"] {
            page.put(line(text)).unwrap();
        }
        assert_eq!(page.held, ["2", "gap", "3"].map(line));
    }
}
