//! `multibeam sub`.

use super::follow::{self, Followed, Stream};
use super::format::{self, Gap, Printed};
use super::stop::{Stop, Stopper};
use super::{ClientArgs, Failure, client, connected, run_client, values};
use clap::Args;
use multibeam_client::{Client, Event, FileCursorStore, Start};
use multibeam_wire::TopicFilter;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::pin::pin;

const EXAMPLES: &str = "Examples:
  multibeam sub alarm.fire
  multibeam sub 'alarm.>' 'chat.7.*' --json
  multibeam sub alarm.fire --from first --count 10
  multibeam sub alarm.fire --from 1:42
  multibeam sub 'alarm.*' --cursor-file alarms.cursor

What did not come is told where it would have been: '--- GAP in …', or {\"gap\":…} with --json.
An interruption (Ctrl-C) is a good end unless --count is not reached.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SubscribeArgs {
    /// What to follow: topics such as alarm.fire, filters such as 'alarm.*' or 'chat.7.>'.
    #[arg(required = true, value_name = "TOPIC|FILTER", value_parser = values::filter)]
    topics: Vec<String>,
    /// Ends after so many messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Where to begin: with the next message, the last one, the oldest one kept, or behind a position
    /// (GENERATION:OFFSET; of a filter CLASS/PARTITION=GENERATION:OFFSET,…).
    #[arg(long, value_name = "new|last|first|CURSOR", default_value = "new", value_parser = start)]
    from: Start,
    /// Goes on where the last run with this file stood, and keeps it up to date; --from counts as long as
    /// there is no such file.
    #[arg(long, value_name = "FILE", value_parser = cursor_file)]
    cursor_file: Option<CursorFile>,
    #[command(flatten)]
    client: ClientArgs,
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "new" => Ok(Start::New),
        "last" => Ok(Start::Last),
        "first" => Ok(Start::First),
        _ => text.parse().map(Start::After).map_err(|_| {
            "expected new, last, first, or a cursor such as 3:17 or 0/0=3:17,0/1=3:9".to_owned()
        }),
    }
}

pub(super) fn subscribe(args: &SubscribeArgs) -> Result<(), Failure> {
    check(args)?;
    run_client(async {
        let stopper = Stopper::new(args.client.timeout)?;
        let client = client(&args.client);
        // Before there is a connection, so that they go out together with HELLO.
        let mut followed = Vec::new();
        for topic in &args.topics {
            followed.push(follow(args, &client, topic).await?);
        }
        let mut reader = Reader { args, received: 0 };
        let read = reader.run(&client, &mut followed, stopper).await;
        // Also after a failure: what was printed is not to come again.
        for followed in followed {
            let saved = followed.close().await;
            if read.is_ok() {
                saved?;
            }
        }
        client.close().await;
        read
    })
}

/// What the arguments have to do with each other.
fn check(args: &SubscribeArgs) -> Result<(), Failure> {
    let usage = |sentence: &str| Err(Failure::Usage(sentence.to_owned()));
    if args.topics.len() > 1 && args.cursor_file.is_some() {
        return usage("--cursor-file goes with one topic or filter");
    }
    let Start::After(cursor) = &args.from else { return Ok(()) };
    match &args.topics[..] {
        [topic] if TopicFilter::is_meant(topic) && cursor.position().is_some() => usage(
            "--from: the cursor of a filter has a position for each partition, such as 0/0=3:17,0/1=3:9",
        ),
        [topic] if !TopicFilter::is_meant(topic) && cursor.position().is_none() => {
            usage("--from: the cursor of a topic is one position, such as 3:17")
        }
        [_] => Ok(()),
        _ => usage("--from with a cursor goes with one topic or filter"),
    }
}

async fn follow(args: &SubscribeArgs, client: &Client, topic: &str) -> Result<Followed, Failure> {
    let failed = |error: &dyn Display| Failure::Failed(format!("can't follow {topic}: {error}"));
    let start = args.from.clone();
    let stream = match &args.cursor_file {
        None => Stream::Plain(client.subscribe(topic, start).map_err(|error| failed(&error))?),
        Some(file) => {
            let store = FileCursorStore::open(&file.folder).map_err(|error| failed(&error))?;
            let stored = client.subscribe_stored(&file.name, topic, start, store).await;
            Stream::Stored(stored.map_err(|error| failed(&error))?)
        }
    };
    Ok(Followed { name: topic.to_owned(), stream })
}

/// Prints what comes.
struct Reader<'a> {
    args: &'a SubscribeArgs,
    received: u64,
}

impl Reader<'_> {
    async fn run(
        &mut self,
        client: &Client,
        followed: &mut [Followed],
        mut stopper: Stopper,
    ) -> Result<(), Failure> {
        tokio::select! {
            biased;
            stop = stopper.stopped() => return self.stopped(stop),
            connected = connected(client) => connected?,
        }
        let mut losses = pin!(follow::tell_losses(client));
        let mut turn = 0;
        loop {
            let (at, event) = tokio::select! {
                biased;
                stop = stopper.stopped() => return self.stopped(stop),
                never = &mut losses => match never {},
                next = follow::next(followed, &mut turn) => next,
            };
            let name = &followed[at].name;
            let goes_on = match event? {
                Some(event) => self.event(name, &event)?,
                None => return Err(Failure::Failed(format!("the subscription of {name} ended"))),
            };
            if !goes_on || self.args.count.is_some_and(|count| self.received >= count) {
                return Ok(());
            }
        }
    }

    /// False: nobody reads what we print.
    fn event(&mut self, name: &str, event: &Event) -> Result<bool, Failure> {
        let json = self.args.client.json;
        match event {
            Event::Subscribed { parts } if json => follow::print(&format::subscribed(true, name, parts)),
            Event::Subscribed { parts } => {
                eprintln!("{}", format::subscribed(false, name, parts));
                Ok(true)
            }
            Event::Message(message) => {
                self.received += 1;
                follow::print(&Printed::from(message).line(json))
            }
            Event::Gap { partition, from, to, reason } => {
                follow::print(&Gap::told(name, (*partition, *from, *to), *reason).line(json))
            }
            Event::Ended(refusal) => Err(Failure::Failed(format!("can't follow {name}: {refusal}"))),
            _ => Ok(true),
        }
    }

    fn stopped(&self, stop: Stop) -> Result<(), Failure> {
        let of = self.args.count.map(|count| format!(" of {count}")).unwrap_or_default();
        let sentence = format!("{stop} with {}{of} messages received", self.received);
        if stop == Stop::Interrupted && self.args.count.is_none() {
            eprintln!("{sentence}");
            return Ok(());
        }
        Err(Failure::Failed(sentence))
    }
}

/// The file that a store of cursors in `folder` has for `name`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CursorFile {
    folder: PathBuf,
    name: String,
}

fn cursor_file(text: &str) -> Result<CursorFile, String> {
    let path = Path::new(text);
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".cursor"));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name = name
        .filter(|name| (1..=100).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain));
    let name = name.ok_or("expected a file such as alarms.cursor: its name ends in .cursor and has letters, digits, '.', '_' and '-'")?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok(CursorFile { folder: folder.unwrap_or(Path::new(".")).to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use multibeam_client::Position;

    #[test]
    fn a_start_is_a_word_or_a_cursor() {
        for (text, expected) in [("new", Start::New), ("last", Start::Last), ("first", Start::First)] {
            assert_eq!(start(text), Ok(expected));
        }
        assert_eq!(start("3:17"), Ok(Position::new(3, 17).into()));
        assert!(matches!(start("0/1=3:17,0/2=1:1"), Ok(Start::After(cursor)) if cursor.parts().count() == 2));
        for bad in ["", "oldest", "3", "3:", ":17", "3:17:1", "-1:2", "0/1=3:17,0/1=3:18"] {
            assert!(start(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cursor_file_says_what_it_is() {
        for (text, folder, name) in
            [("a.cursor", ".", "a"), ("/var/lib/a-1.b.cursor", "/var/lib", "a-1.b"), ("x/y.cursor", "x", "y")]
        {
            assert_eq!(cursor_file(text), Ok(CursorFile { folder: folder.into(), name: name.into() }));
        }
        for bad in ["", "a", ".cursor", "x/", "a b.cursor", "x/.a.cursor", "a.cursor.new"] {
            assert!(cursor_file(bad).is_err(), "{bad}");
        }
    }
}
