//! `multibeam pub`.

use super::{ClientArgs, client, connected, run_client, topic};
use clap::Args;
use multibeam_client::{Client, Publishing};
use serde_json::json;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::time::Duration;
use tokio::sync::mpsc;

/// Publishes that wait for their ack; the client itself sends no more at a time.
const IN_FLIGHT_MAX: usize = 256;

/// Lines read ahead of what was sent.
const LINES_AHEAD: usize = 64;

#[derive(Debug, Args)]
pub(super) struct PublishArgs {
    /// Where it goes, such as alarm.fire.
    #[arg(value_parser = topic)]
    topic: String,
    /// The message; `-` publishes each line of the standard input.
    body: String,
    /// Publishes BODY so many times.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn publish(args: PublishArgs) -> Result<(), String> {
    let acked = Cell::new(0);
    let on_timeout = |timeout: Duration| {
        format!(
            "timed out after {} s with {} messages stored; others may be stored as well",
            timeout.as_secs_f64(),
            acked.get()
        )
    };
    run_client(args.client.timeout, on_timeout, publish_all(&args, &acked))?;
    if args.client.json {
        let line = json!({ "topic": args.topic, "published": acked.get() });
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    Ok(())
}

async fn publish_all(args: &PublishArgs, acked: &Cell<u64>) -> Result<(), String> {
    let client = client(&args.client);
    connected(&client).await?;
    let mut sender = Sender { client: &client, topic: &args.topic, acked, on_their_way: VecDeque::new() };
    if args.body == "-" {
        let mut lines = lines();
        while let Some(line) = lines.recv().await {
            sender.send(line?).await?;
        }
    } else {
        for _ in 0..args.count {
            sender.send(args.body.as_bytes().to_vec()).await?;
        }
    }
    sender.settle(0).await?;
    client.close().await;
    Ok(())
}

struct Sender<'a> {
    client: &'a Client,
    topic: &'a str,
    acked: &'a Cell<u64>,
    on_their_way: VecDeque<Publishing>,
}

impl Sender<'_> {
    async fn send(&mut self, body: Vec<u8>) -> Result<(), String> {
        self.settle(IN_FLIGHT_MAX - 1).await?;
        let mut publishing = self.client.publish(self.topic, body);
        publishing.accepted().await;
        self.on_their_way.push_back(publishing);
        Ok(())
    }

    /// Waits until no more than `left` are unacknowledged.
    async fn settle(&mut self, left: usize) -> Result<(), String> {
        while self.on_their_way.len() > left {
            let Some(oldest) = self.on_their_way.pop_front() else { break };
            let number = self.acked.get() + 1;
            oldest.await.map_err(|error| format!("message {number} to {}: {error}", self.topic))?;
            self.acked.set(number);
        }
        Ok(())
    }
}

/// The lines of the standard input, read by a thread of its own: it can't be polled.
fn lines() -> mpsc::Receiver<Result<Vec<u8>, String>> {
    let (line_in, line_out) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            let line = line.map_err(|error| format!("can't read the standard input: {error}"));
            if line_in.blocking_send(line).is_err() {
                return;
            }
        }
    });
    line_out
}
