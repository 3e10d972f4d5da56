//! `multibeam sub`.

use super::{ClientArgs, client, connected, format, run_client, topic};
use clap::Args;
use multibeam_client::{Client, Event, Position, Start, State, Subscription};
use std::cell::Cell;
use std::io::{self, Write};
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct SubscribeArgs {
    /// What to follow, such as alarm.fire.
    #[arg(value_parser = topic)]
    topic: String,
    /// Ends after so many messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Where to begin: with the next message, the last one, or behind a position.
    #[arg(long, value_name = "new|last|GENERATION:OFFSET", default_value = "new", value_parser = start)]
    from: Start,
    #[command(flatten)]
    client: ClientArgs,
}

fn start(text: &str) -> Result<Start, String> {
    let position = || {
        let (generation, offset) = text.split_once(':')?;
        Some(Start::After(Position::new(generation.parse().ok()?, offset.parse().ok()?)))
    };
    match text {
        "new" => Ok(Start::New),
        "last" => Ok(Start::Last),
        _ => position().ok_or_else(|| "expected new, last, or a position such as 3:17".to_owned()),
    }
}

pub(super) fn subscribe(args: SubscribeArgs) -> Result<(), String> {
    let received = Cell::new(0);
    let on_timeout = |timeout: Duration| {
        let of = args.count.map(|count| format!(" of {count}")).unwrap_or_default();
        format!("timed out after {} s with {}{of} messages received", timeout.as_secs_f64(), received.get())
    };
    run_client(args.client.timeout, on_timeout, follow(&args, &received))
}

async fn follow(args: &SubscribeArgs, received: &Cell<u64>) -> Result<(), String> {
    let client = client(&args.client);
    // Before there is a connection, so that it goes out together with HELLO.
    let mut subscription = client.subscribe(&args.topic, args.from).map_err(|error| error.to_string())?;
    connected(&client).await?;
    let printed = tokio::select! {
        biased;
        printed = print(args, &mut subscription, received) => printed,
        never = tell_losses(&client) => match never {},
    };
    drop(subscription);
    client.close().await;
    printed
}

async fn print(
    args: &SubscribeArgs,
    subscription: &mut Subscription,
    received: &Cell<u64>,
) -> Result<(), String> {
    let json = args.client.json;
    while let Some(event) = subscription.next().await {
        let line = match event {
            Event::Subscribed { from, .. } => {
                eprintln!("subscribed to {}, behind {from}", args.topic);
                continue;
            }
            Event::Message { topic, position, prev, body } => {
                received.set(received.get() + 1);
                format::message(json, topic.as_str(), position, prev, &body)
            }
            Event::Gap { from, to, reason } => format::gap(json, from, to, reason),
            Event::Ended(refusal) => return Err(format!("can't follow {}: {refusal}", args.topic)),
            _ => continue,
        };
        match print_line(&line) {
            Ok(()) if args.count.is_some_and(|count| received.get() >= count) => return Ok(()),
            Ok(()) => {}
            // Whoever read this has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(format!("can't write to the standard output: {error}")),
        }
    }
    Err(format!("the subscription of {} ended", args.topic))
}

/// At once, also into a pipe.
fn print_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Says when the connection is lost; the client comes back by itself.
async fn tell_losses(client: &Client) -> std::convert::Infallible {
    let mut status = client.status();
    loop {
        let was = status.state;
        status = client.status_after(status.version).await;
        match (was, status.state) {
            (State::Connected, State::Waiting | State::Connecting) => {
                let why = status.last_error.as_ref().map(ToString::to_string).unwrap_or_default();
                eprintln!("multibeam: {why}; connecting again");
            }
            (State::Waiting | State::Connecting, State::Connected) => eprintln!("multibeam: connected again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_word_or_a_position() {
        assert_eq!(start("new"), Ok(Start::New));
        assert_eq!(start("last"), Ok(Start::Last));
        assert_eq!(start("3:17"), Ok(Start::After(Position::new(3, 17))));
        for bad in ["", "first", "3", "3:", ":17", "3:17:1", "-1:2"] {
            assert!(start(bad).is_err(), "{bad}");
        }
    }
}
