//! Clients that mean harm, each with the end that a node must give it.
//!
//! ```text
//!  cargo run --release -p multibeam --example hostile
//! ```
//!
//! A node runs with its default settings, but for a shorter time to acknowledge. Each attack
//! must get its numbered close within five seconds; the reader that never reads can't be told
//! and is looked up in the node's metrics. A neighbour publishes and follows all the while
//! and must not notice: no gap, no lost connection, no message missing.

#[path = "harness/node_process.rs"]
#[expect(dead_code, reason = "shared with other programs, each of which uses a part")]
mod node_process;
#[path = "harness/wire_client.rs"]
mod wire_client;

use multibeam_client::{Client, Config, Event, Start, TcpConnector};
use multibeam_wire::{Bye, CloseCode, Direction, FrameType, HEADER_BYTES, Header, Inbound, Payload, Seq};
use node_process::NodeProcess;
use std::io;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

const ROLE: &str = "MULTIBEAM_EXAMPLE_ROLE";

/// Every attack runs so often at once.
const TIMES: u64 = 10;

/// Within this the close has to come.
const BOUND: Duration = Duration::from_secs(5);

const CONFIG: &str = "[limits]\nack_timeout_ms = 2000\n";

/// The never-reader's own bound: time to acknowledge, time to take its BYE, and the second
/// that the node's buffers and the kernel's take to fill.
const NEVER_READER_BOUND: Duration = Duration::from_secs(2 + 1 + 2);

/// What is published at the never-reader: more than the kernel's buffers hold.
const FLOOD_BODY_BYTES: usize = 60_000;

/// Longest time between a publish and its delivery that the neighbour accepts.
const NEIGHBOUR_PATIENCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    if std::env::var(ROLE).as_deref() == Ok("node") {
        return multibeam::commands::run();
    }
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.env(ROLE, "node");
    let node = NodeProcess::start(command, CONFIG);
    let (stop, stopped) = oneshot::channel();
    let server = node.clients();
    // On a thread of its own, so that nothing the attackers do slows it down in here.
    let neighbour = std::thread::spawn(move || runtime().block_on(neighbour(server, stopped)));
    let mut good = runtime().block_on(attack(&node));
    let _ = stop.send(());
    match neighbour.join().expect("the neighbour has ended") {
        Ok(report) => println!("neighbour: {report}"),
        Err(harm) => {
            println!("neighbour: HARMED: {harm}");
            good = false;
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[expect(clippy::disallowed_methods, reason = "a measurement, outside any node")]
fn now() -> Instant {
    Instant::now()
}

/// What an attacker sends at once, and how it must end.
struct Attack {
    name: &'static str,
    bytes: fn(u64) -> Vec<u8>,
    end: CloseCode,
}

const ATTACKS: &[Attack] = &[
    Attack { name: "random bytes", bytes: random_bytes, end: CloseCode::BadMagic },
    Attack {
        name: "another protocol",
        bytes: |_| b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        end: CloseCode::BadMagic,
    },
    Attack { name: "future version", bytes: |_| edited(2, 2), end: CloseCode::BadVersion },
    Attack { name: "unknown frame type", bytes: |_| edited(3, 200), end: CloseCode::UnknownType },
    Attack { name: "silence before HELLO", bytes: |_| Vec::new(), end: CloseCode::HelloTimeout },
    Attack { name: "truncated HELLO, then silence", bytes: truncated, end: CloseCode::HelloTimeout },
    Attack { name: "oversized frame", bytes: |_| oversized(FrameType::Hello), end: CloseCode::FrameTooLong },
    Attack { name: "a frame before HELLO", bytes: |_| subscribe(), end: CloseCode::HelloExpected },
    Attack {
        name: "a frame that nodes send",
        bytes: |_| oversized(FrameType::Welcome),
        end: CloseCode::WrongDirection,
    },
    Attack { name: "HELLO twice", bytes: |_| [hello(), hello()].concat(), end: CloseCode::HelloTwice },
    Attack {
        name: "random bytes after HELLO",
        bytes: |seed| [hello(), random_bytes(seed)].concat(),
        end: CloseCode::BadMagic,
    },
    Attack {
        name: "a sequence number skipped",
        bytes: |_| [hello(), skipped()].concat(),
        end: CloseCode::SeqBroken,
    },
    Attack {
        name: "ack of what was never sent",
        bytes: |_| [hello(), early_ack()].concat(),
        end: CloseCode::AckInvalid,
    },
];

fn hello() -> Vec<u8> {
    let mut out = Vec::new();
    wire_client::hello(64, 7, &mut out);
    out
}

fn subscribe() -> Vec<u8> {
    let mut out = Vec::new();
    wire_client::subscribe("alarm.hostile", 64, &mut out);
    out
}

/// A HELLO with another byte somewhere.
fn edited(at: usize, byte: u8) -> Vec<u8> {
    let mut out = hello();
    out[at] = byte;
    out
}

fn truncated(seed: u64) -> Vec<u8> {
    let mut out = hello();
    out.truncate(1 + seed as usize % (out.len() - 1));
    out
}

/// A header that announces more than comes.
fn oversized(frame_type: FrameType) -> Vec<u8> {
    Header { frame_type, seq: Seq(0), ack_seq: Seq(0), window: 0, len: u16::MAX }.to_bytes().to_vec()
}

fn skipped() -> Vec<u8> {
    let mut out = subscribe();
    out[4..8].copy_from_slice(&9u32.to_be_bytes());
    out
}

fn early_ack() -> Vec<u8> {
    let mut out = Vec::new();
    Payload::ACK.encode(Seq(0), Seq(77), 64, &mut out);
    out
}

/// Never the start of a frame.
fn random_bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(HEADER_BYTES + seed as usize * 1000)
    .collect();
    bytes[0] = if bytes[0] == b'M' { b'N' } else { bytes[0] };
    bytes
}

/// Runs all attacks and prints a table. False: a node did not answer one as it must.
async fn attack(node: &NodeProcess) -> bool {
    let server = node.clients();
    let descriptors = node.descriptors();
    println!("{:<32} {:<20} {:>8}  result", "attack", "must end with", "slowest");
    let mut running = Vec::new();
    for attack in ATTACKS {
        let tries = (0..TIMES).map(|seed| tokio::spawn(ending(server, (attack.bytes)(seed), attack.end)));
        running.push((attack, tries.collect::<Vec<_>>()));
    }
    let never_reader = never_reader(node);
    let mut good = true;
    for (attack, tries) in running {
        let mut result = Ok(Duration::ZERO);
        for one in tries {
            let end = one.await.unwrap_or_else(|error| Err(error.to_string()));
            result = result.and_then(|slowest: Duration| end.map(|took| slowest.max(took)));
        }
        good &= print_row(attack.name, attack.end, result);
    }
    good &= print_row("a reader that never reads", CloseCode::AckTimeout, never_reader.await);
    // Every attacker is gone, so its descriptor must be as well.
    let deadline = now() + BOUND;
    while node.descriptors() > descriptors + 1 && now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let left = node.descriptors();
    println!("node descriptors: {descriptors} before, {left} after (one may be the neighbour's)");
    good && left <= descriptors + 1
}

fn print_row(name: &str, end: CloseCode, result: Result<Duration, String>) -> bool {
    let (took, word) = match &result {
        Ok(took) => (format!("{:.3} s", took.as_secs_f64()), "ok"),
        Err(error) => (String::new(), error.as_str()),
    };
    println!("{name:<32} {:<20} {took:>8}  {word}", format!("{} {}", end as u16, end.label()));
    result.is_ok()
}

/// Sends `bytes`, then reads until the end. Err: it is not the BYE that it must be.
async fn ending(server: SocketAddr, bytes: Vec<u8>, end: CloseCode) -> Result<Duration, String> {
    let start = now();
    let said = tokio::time::timeout(2 * BOUND, until_bye(server, &bytes)).await;
    let said = said.map_err(|_| "no end".to_owned())?.map_err(|error| error.to_string())?;
    let took = start.elapsed();
    if said != end as u16 {
        Err(format!("BYE {said}"))
    } else if took > BOUND {
        Err(format!("only after {:.1} s", took.as_secs_f64()))
    } else {
        Ok(took)
    }
}

async fn until_bye(server: SocketAddr, bytes: &[u8]) -> io::Result<u16> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(bytes).await?;
    let mut inbound = Inbound::new(Direction::ToClient);
    let mut buffer = vec![0; 4096];
    let mut said = None;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return said.ok_or_else(|| io::Error::other("the connection ended without BYE")),
            count => inbound.push(&buffer[..count]),
        }
        while let Some(frame) = inbound.next_frame().map_err(io::Error::other)? {
            if let Payload::Bye(Bye { code, .. }) = frame.payload {
                said = Some(code);
            }
        }
    }
}

/// Follows a topic with a large window, reads nothing, sends heartbeats, while megabytes are
/// published at it.
async fn never_reader(node: &NodeProcess) -> Result<Duration, String> {
    let text = |error: io::Error| error.to_string();
    let closed = || node.metric("multibeam_closed_by_reason_total", CloseCode::AckTimeout.label());
    let before = closed();
    let mut stream = TcpStream::connect(node.clients()).await.map_err(text)?;
    let mut out = Vec::new();
    wire_client::hello(u16::MAX, 8, &mut out);
    wire_client::subscribe("flood.hostile", u16::MAX, &mut out);
    stream.write_all(&out).await.map_err(text)?;
    // Its answer is waiting, unread; then it is followed for certain.
    stream.readable().await.map_err(text)?;
    tokio::time::sleep(Duration::from_millis(200)).await;

    let start = now();
    let publisher = Client::connect(Config::new(node.clients().to_string(), 3), TcpConnector);
    let flood = tokio::spawn(async move {
        while publisher.publish("flood.hostile", vec![b'x'; FLOOD_BODY_BYTES]).await.is_ok() {}
    });
    let mut heartbeat = Vec::new();
    Payload::Heartbeat.encode(Seq(1), Seq(0), u16::MAX, &mut heartbeat);
    let result = loop {
        if closed() > before {
            break Ok(start.elapsed());
        }
        if start.elapsed() > NEVER_READER_BOUND {
            break Err(format!("not closed after {:.1} s", start.elapsed().as_secs_f64()));
        }
        // An error is the end that is looked for.
        let _ = stream.write_all(&heartbeat).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    flood.abort();
    result
}

/// Publishes and follows until it is stopped. Err: it noticed something.
async fn neighbour(server: SocketAddr, mut stopped: oneshot::Receiver<()>) -> Result<String, String> {
    let client = Client::connect(Config::new(server.to_string(), 5), TcpConnector);
    let mut events = client.subscribe("neighbour.news", Start::New).map_err(|error| error.to_string())?;
    let Some(Event::Subscribed { .. }) = events.next().await else {
        return Err("the subscription was refused".to_owned());
    };
    let (mut number, mut slowest) = (0u64, Duration::ZERO);
    while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
        number += 1;
        let start = now();
        let publish = client.publish("neighbour.news", number.to_string());
        let round = async {
            publish.await.map_err(|error| error.to_string())?;
            match events.next().await {
                Some(Event::Message(message)) if *message.body == *number.to_string().as_bytes() => Ok(()),
                other => Err(format!("instead of message {number}: {other:?}")),
            }
        };
        match tokio::time::timeout(NEIGHBOUR_PATIENCE, round).await {
            Ok(result) => result?,
            Err(_) => return Err(format!("message {number} took more than {NEIGHBOUR_PATIENCE:?}")),
        }
        slowest = slowest.max(start.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stats = client.stats();
    if stats.connects != 1 || stats.disconnects > 0 || stats.gaps_told + stats.silent_gaps > 0 {
        return Err(format!("{stats:?}"));
    }
    Ok(format!("noticed nothing: {number} messages in order, slowest {:.1} ms", slowest.as_secs_f64() * 1e3))
}
