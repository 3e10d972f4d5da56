//! `multibeam pub`.

mod pace;
mod report;
mod source;

use super::stop::{Stop, Stopper};
use super::{ClientArgs, Failure, config, connected, follow, run_client, values};
use clap::{ArgGroup, Args};
use multibeam_client::{Client, Publish, PublishError, Published, Publishing, State, TcpConnector};
use multibeam_wire::fill_template;
use multibeam_wire::limits::{KEY_BYTES_MAX, KEYS_MAX};
use report::{Report, Style};
use source::{Line, Source};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

/// Publishes under way. The client takes fewer at a time if they are long; twice as many would only wait
/// longer there.
const OUTSTANDING_MAX: usize = 2048;

/// A message waits so long for the node, over reconnects: as long as somebody at a terminal may.
const DEADLINE: Duration = Duration::from_secs(10);

/// After an interruption, what was sent has so long to be answered.
const GRACE: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "Examples:
  multibeam pub alarm.fire 'third floor'
  multibeam pub alarm.test x --count 100000 --rate 5000
  multibeam pub 'user.*.msg' 'party at eight' --keys 42,43 --ttl 2h
  tail -f web1.log | multibeam pub log.web1 -
  multibeam pub chat.7.text --file old.txt --json --quiet

Ends with 0 only if everything is stored.";

#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLES,
    override_usage = "multibeam pub [OPTIONS] <TOPIC> <BODY|-|--stdin|--file FILE>",
    group = ArgGroup::new("messages").required(true)
)]
pub(super) struct PublishArgs {
    /// Where it goes, such as alarm.fire; with --keys a template, such as 'user.*.msg'.
    topic: String,
    /// The message; `-` is short for --stdin.
    #[arg(group = "messages")]
    body: Option<String>,
    /// Publishes each line of the standard input.
    #[arg(long, group = "messages")]
    stdin: bool,
    /// Publishes each line of a file.
    #[arg(long, value_name = "FILE", group = "messages")]
    file: Option<PathBuf>,
    /// Publishes BODY so many times.
    #[arg(long, value_name = "N", conflicts_with_all = ["stdin", "file"], value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Publishes at most so many messages a second.
    #[arg(long, value_name = "R", value_parser = values::rate)]
    rate: Option<f64>,
    /// Publishes to the topic of each of these keys, put in place of the `*`.
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    keys: Vec<String>,
    /// The message is worth nothing after this time, such as 500ms, 30s or 2h.
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    ttl: Option<Duration>,
    /// Prints no result of a message; with --json one object at the end.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Where all messages go.
#[derive(Debug)]
struct Target {
    /// A topic, or a template.
    topic: String,
    /// What stands for the template's `*`; none for a topic.
    keys: Vec<String>,
    ttl: Option<Duration>,
}

impl Target {
    /// Judges topic and keys together.
    fn new(args: &PublishArgs) -> Result<Self, Failure> {
        let PublishArgs { topic, keys, ttl, .. } = args;
        if keys.is_empty() {
            let advice = if topic.contains('*') { "; --keys says what to put in place of a '*'" } else { "" };
            values::topic(topic)
                .map_err(|error| Failure::Usage(format!("invalid topic {topic:?}: {error}{advice}")))?;
        }
        if keys.len() > KEYS_MAX {
            return Err(Failure::Usage(format!(
                "--keys has at most {KEYS_MAX} keys, these are {}",
                keys.len()
            )));
        }
        let mut filled = String::new();
        for key in keys {
            if key.len() > KEY_BYTES_MAX {
                return Err(Failure::Usage(format!("a key has at most {KEY_BYTES_MAX} bytes: {key:?}")));
            }
            fill_template(topic, key, &mut filled)
                .map_err(|error| Failure::Usage(format!("topic {topic:?} with the key {key:?}: {error}")))?;
        }
        Ok(Self { topic: topic.clone(), keys: keys.clone(), ttl: *ttl })
    }

    fn publish(&self, body: Vec<u8>) -> Publish {
        let publish = if self.keys.is_empty() {
            Publish::to(self.topic.as_str(), body)
        } else {
            Publish::to_each(self.topic.as_str(), self.keys.iter().map(String::as_str), body)
        };
        match self.ttl {
            Some(ttl) => publish.ttl(ttl),
            None => publish,
        }
    }

    /// Each topic, with its key if there are some, in the order of receipts.
    fn topics(&self) -> impl Iterator<Item = (String, Option<&str>)> {
        let plain = self.keys.is_empty().then(|| (self.topic.clone(), None));
        let filled = |key: &String| {
            let mut topic = String::new();
            // Judged when this was made.
            let _ = fill_template(&self.topic, key, &mut topic);
            topic
        };
        plain.into_iter().chain(self.keys.iter().map(move |key| (filled(key), Some(key.as_str()))))
    }
}

pub(super) fn publish(args: &PublishArgs) -> Result<(), Failure> {
    let target = Target::new(args)?;
    run_client(async {
        let stopper = Stopper::new(args.client.timeout)?;
        let source = source(args)?.paced(args.rate);
        let style = Style { json: args.client.json, quiet: args.quiet };
        let report = Report::new(&target, style, source.len());
        let mut config = config(&args.client);
        config.publish_deadline = Some(DEADLINE);
        let client = Client::connect(config, TcpConnector);
        let sender =
            Sender { client, target: &target, report, under_way: VecDeque::new(), newest: None, number: 0 };
        sender.run(source, stopper).await
    })
}

fn source(args: &PublishArgs) -> Result<Source, Failure> {
    match (&args.body, &args.file) {
        (_, Some(file)) => Source::file(file),
        (Some(body), None) if body != "-" => Ok(Source::repeated(body, args.count.unwrap_or(1))),
        (Some(_) | None, None) if args.count.is_some() => Err(Failure::Usage(
            "--count goes with one BODY, not with the lines of the standard input".to_owned(),
        )),
        (Some(_) | None, None) => Ok(Source::stdin()),
    }
}

/// Publishes what a source has, as fast as the node takes it.
struct Sender<'a> {
    client: Client,
    target: &'a Target,
    report: Report<'a>,
    /// Those that have not ended, oldest first; all have a place in the client.
    under_way: VecDeque<(u64, UnderWay)>,
    /// One that waits for a place: nothing is read before it has one.
    newest: Option<(u64, Publishing)>,
    /// Messages so far.
    number: u64,
}

/// A message that has not ended, or whose end waits until those before it have.
enum UnderWay {
    Publish(Publishing),
    TooLong,
}

/// How a message ended.
enum End {
    Publish(Result<Published, PublishError>),
    TooLong,
}

/// What happens next.
enum Next {
    Stop(Stop),
    Ended(u64, End),
    Accepted,
    Line(Option<std::io::Result<Line>>),
}

impl Sender<'_> {
    async fn run(mut self, mut source: Source, mut stopper: Stopper) -> Result<(), Failure> {
        tokio::select! {
            biased;
            stop = stopper.stopped() => return Err(Failure::Failed(format!("{stop} before the node had answered"))),
            connected = connected(&self.client) => connected?,
        }
        let losses = self.client.clone();
        let mut losses = pin!(follow::tell_losses(&losses));
        let mut unread = None;
        let mut exhausted = false;
        let stop = loop {
            if exhausted && self.under_way.is_empty() && self.newest.is_none() {
                break None;
            }
            let next = tokio::select! {
                biased;
                never = &mut losses => match never {},
                next = self.next(&mut source, exhausted, &mut stopper) => next,
            };
            match next {
                Next::Stop(stop) => break Some(stop),
                Next::Ended(number, end) => {
                    if let (End::Publish(Err(error)), false) = (&end, exhausted) {
                        unread = self.cut_off(error);
                        exhausted = unread.is_some();
                    }
                    self.ended(number, end);
                }
                Next::Accepted => self.accept(),
                Next::Line(Some(Ok(Line::Body(body)))) => {
                    self.number += 1;
                    let publishing = self.client.publish_with(self.target.publish(body));
                    self.newest = Some((self.number, publishing));
                }
                Next::Line(Some(Ok(Line::TooLong))) => {
                    self.number += 1;
                    self.under_way.push_back((self.number, UnderWay::TooLong));
                }
                Next::Line(Some(Err(error))) => {
                    unread = Some(format!("can't read on: {error}"));
                    exhausted = true;
                }
                Next::Line(None) => exhausted = true,
            }
        };
        if stop.is_some() {
            self.give_up(&source, &mut stopper).await;
        } else {
            self.report.unsent(source.len().unwrap_or(0));
            self.client.close().await;
        }
        self.report.end(stop, unread)
    }

    fn accept(&mut self) {
        let newest = self.newest.take();
        self.under_way.extend(newest.map(|(number, publishing)| (number, UnderWay::Publish(publishing))));
    }

    fn ended(&mut self, number: u64, end: End) {
        match end {
            End::Publish(result) => self.report.ended(number, result),
            End::TooLong => self.report.refused(number, source::too_long()),
        }
    }

    /// Why no more is read, if it is because nobody takes it: one message has waited for a connection in
    /// vain, and the others would do so one after the other.
    fn cut_off(&self, error: &PublishError) -> Option<String> {
        let status = self.client.status();
        let waited = matches!(error, PublishError::TimedOut | PublishError::Unknown);
        let cut_off = waited && status.state != State::Connected;
        cut_off.then(|| status.last_error.map_or_else(|| error.to_string(), |error| error.to_string()))
    }

    async fn next(&mut self, source: &mut Source, exhausted: bool, stopper: &mut Stopper) -> Next {
        let Self { under_way, newest, .. } = self;
        let has_room = newest.is_none() && under_way.len() < OUTSTANDING_MAX;
        tokio::select! {
            biased;
            stop = stopper.stopped() => Next::Stop(stop),
            (number, end) = oldest(under_way) => Next::Ended(number, end),
            () = accepted(newest) => Next::Accepted,
            line = source.next(), if has_room && !exhausted => Next::Line(line),
        }
    }

    /// Waits a little for what was sent, and counts the rest.
    async fn give_up(&mut self, source: &Source, stopper: &mut Stopper) {
        // It may have found its place just now, and then it is sent.
        self.accept();
        self.report.unsent(source.len().unwrap_or(0));
        let grace = tokio::time::sleep(GRACE);
        let mut grace = pin!(grace);
        while !self.under_way.is_empty() {
            tokio::select! {
                biased;
                (number, end) = oldest(&mut self.under_way) => self.ended(number, end),
                _ = stopper.stopped() => break,
                () = &mut grace => break,
            }
        }
        // Now each of them ends, as unknown if it was sent.
        self.client.close().await;
        while !self.under_way.is_empty() {
            let (number, end) = oldest(&mut self.under_way).await;
            self.ended(number, end);
        }
    }
}

/// The end of the oldest message under way; never, if there is none.
async fn oldest(under_way: &mut VecDeque<(u64, UnderWay)>) -> (u64, End) {
    std::future::poll_fn(|context| {
        let Some((number, message)) = under_way.front_mut() else { return Poll::Pending };
        let number = *number;
        let end = match message {
            UnderWay::Publish(publishing) => ready!(Pin::new(publishing).poll(context).map(End::Publish)),
            UnderWay::TooLong => End::TooLong,
        };
        under_way.pop_front();
        Poll::Ready((number, end))
    })
    .await
}

/// When the client has a place for it; never, if nothing waits for one.
async fn accepted(newest: &mut Option<(u64, Publishing)>) {
    match newest {
        Some((_, publishing)) => publishing.accepted().await,
        None => std::future::pending().await,
    }
}
