//! One publish to many subscribers, each a connection of its own.
//!
//! ```text
//!  cargo run --release -p multibeam --example load -- [--connections N] [--rounds R]
//! ```
//!
//! The parent starts a node and a few processes of subscribers, which speak the wire protocol
//! by hand: each from a source address of its own, since the ports of one address run out.
//! It publishes once a round and fails when anybody misses a message.

#[path = "harness/node_process.rs"]
#[expect(dead_code, reason = "shared with other programs, each of which uses a part")]
mod node_process;
#[path = "harness/wire_client.rs"]
mod wire_client;

use clap::Parser;
use multibeam_client::{Client, Config, TcpConnector};
use multibeam_wire::{Direction, Inbound, Payload, Seq};
use node_process::NodeProcess;
use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

/// Which part of the program a child process plays.
const ROLE: &str = "MULTIBEAM_EXAMPLE_ROLE";

const TOPIC: &str = "alarm.load";

/// Connections from one source address to one port: beyond 14,000 the kernel searches long
/// for a free one.
const CONNECTIONS_PER_PROCESS_MAX: usize = 12_000;

/// Connections that one process opens at a time; more would overflow the node's backlog.
const CONNECTING_MAX: usize = 256;

/// Units of 1 KiB.
const WINDOW: u16 = 64;

const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(Debug, Parser)]
struct Args {
    /// Subscribers.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Messages, one after the other.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Bytes of a message.
    #[arg(long, default_value_t = 128)]
    body_bytes: usize,
    /// Seconds that connecting, and each round, may take.
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

fn main() -> ExitCode {
    match std::env::var(ROLE).as_deref() {
        Ok("node") => multibeam::commands::run(),
        Ok("subscribers") => subscribers(),
        _ => parent(&Args::parse()),
    }
}

fn child(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.env(ROLE, role);
    command
}

#[expect(clippy::disallowed_methods, reason = "a measurement, outside any node")]
fn now() -> Instant {
    Instant::now()
}

/// A process of subscribers, and what it says.
struct Subscribers {
    process: Child,
    connections: usize,
    says: mpsc::Receiver<(Instant, String)>,
}

impl Subscribers {
    fn start(index: usize, server: SocketAddr, connections: usize) -> Self {
        let source = Ipv4Addr::new(127, 0, 0, u8::try_from(index + 2).expect("few processes"));
        let args = [source.to_string(), server.to_string(), connections.to_string()];
        let mut process =
            child("subscribers").args(args).stdout(Stdio::piped()).spawn().expect("subscribers start");
        let out = BufReader::new(process.stdout.take().expect("a pipe"));
        let (line_in, says) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = line_in.send((now(), line));
            }
        });
        Self { process, connections, says }
    }

    /// Waits until all have come so far; otherwise says how many.
    fn wait(&self, word: &str, deadline: Instant) -> Result<Instant, usize> {
        let mut count = 0;
        while count < self.connections {
            let left = deadline.saturating_duration_since(now());
            let Ok((at, line)) = self.says.recv_timeout(left) else { return Err(count) };
            if let Some(number) = line.strip_prefix(word) {
                count = number.trim().parse().unwrap_or(0);
                if count == self.connections {
                    return Ok(at);
                }
            }
        }
        Err(count)
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn parent(args: &Args) -> ExitCode {
    let processes = args.connections.div_ceil(CONNECTIONS_PER_PROCESS_MAX).max(2);
    let node = NodeProcess::start(child("node"), "");
    let (rss_before, cpu_before, start) = (node.rss_bytes(), node.cpu_seconds(), now());
    let groups: Vec<Subscribers> = (0..processes)
        .map(|index| {
            let share = args.connections / processes + usize::from(index < args.connections % processes);
            Subscribers::start(index, node.clients(), share)
        })
        .collect();
    println!("{} subscribers in {processes} processes, node at {}", args.connections, node.clients());

    let patience = Duration::from_secs(args.patience);
    let Some(subscribed) = gather(&groups, "subscribed", start + patience) else { return ExitCode::FAILURE };
    let took = subscribed.duration_since(start).as_secs_f64();
    let (rss, cpu) = (node.rss_bytes(), node.cpu_seconds() - cpu_before);
    let each = |bytes: u64| bytes.saturating_sub(rss_before) / args.connections.max(1) as u64;
    println!(
        "subscribed: {} in {took:.2} s ({:.0} a second); node CPU {cpu:.2} s ({:.0} us each)",
        args.connections,
        args.connections as f64 / took,
        cpu * 1e6 / args.connections as f64,
    );
    println!("node memory: {:.1} MiB, {} B a connection (user space)", mebibytes(rss), each(rss));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = runtime.block_on(async {
        let client = Client::connect(Config::new(node.clients().to_string(), 1), TcpConnector);
        client.wait_connected().await.expect("the node accepts a publisher");
        client
    });
    for round in 1..=args.rounds {
        let (cpu_before, start) = (node.cpu_seconds(), now());
        let published = runtime.block_on(client.publish(TOPIC, vec![b'x'; args.body_bytes]));
        let acked = start.elapsed();
        if let Err(error) = published {
            eprintln!("round {round}: {error}");
            return ExitCode::FAILURE;
        }
        let Some(reached) = gather(&groups, &format!("round {round}:"), start + patience) else {
            return ExitCode::FAILURE;
        };
        println!(
            "round {round}: reached {} in {:.1} ms (acked after {:.1} ms); node CPU {:.2} s",
            args.connections,
            reached.duration_since(start).as_secs_f64() * 1e3,
            acked.as_secs_f64() * 1e3,
            node.cpu_seconds() - cpu_before,
        );
    }
    let rss = node.rss_bytes();
    println!("node memory: {:.1} MiB, {} B a connection (user space)", mebibytes(rss), each(rss));
    let gaps = node.metric("multibeam_gaps_total", "");
    println!("all of {} messages arrived; gaps told: {gaps}", args.connections * args.rounds);
    if gaps == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// When the last of all groups had said `word`; `None` if somebody is missing.
fn gather(groups: &[Subscribers], word: &str, deadline: Instant) -> Option<Instant> {
    let results: Vec<_> = groups.iter().map(|group| group.wait(word, deadline)).collect();
    for (index, (group, result)) in groups.iter().zip(&results).enumerate() {
        if let Err(count) = result {
            eprintln!("{word} process {index}: only {count} of {}", group.connections);
        }
    }
    results.into_iter().collect::<Result<Vec<_>, _>>().ok()?.into_iter().max()
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// How many connections of this process have come how far; says so when all have.
struct Progress {
    connections: usize,
    subscribed: usize,
    /// By round.
    received: Vec<usize>,
}

impl Progress {
    fn subscribed(&mut self) {
        self.subscribed += 1;
        self.say("subscribed", self.subscribed);
    }

    fn received(&mut self, round: usize) {
        if self.received.len() < round {
            self.received.resize(round, 0);
        }
        self.received[round - 1] += 1;
        self.say(&format!("round {round}:"), self.received[round - 1]);
    }

    /// Each hundredth, and the last.
    fn say(&self, word: &str, count: usize) {
        if count == self.connections || count.is_multiple_of(100) {
            println!("{word} {count}");
            let _ = io::stdout().flush();
        }
    }
}

fn subscribers() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let source: IpAddr = args[1].parse().expect("a source address");
    let server: SocketAddr = args[2].parse().expect("a server");
    let connections: usize = args[3].parse().expect("a number");
    let progress = Rc::new(RefCell::new(Progress { connections, subscribed: 0, received: Vec::new() }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let connecting = Rc::new(Semaphore::new(CONNECTING_MAX));
        let tasks: Vec<_> = (0..connections)
            .map(|index| {
                let (progress, connecting) = (Rc::clone(&progress), Rc::clone(&connecting));
                tokio::task::spawn_local(async move {
                    if let Err(error) = follow(source, server, index, &connecting, &progress).await {
                        eprintln!("subscriber {index}: {error}");
                    }
                })
            })
            .collect();
        for task in tasks {
            let _ = task.await;
        }
    });
    ExitCode::FAILURE
}

/// One subscriber, for ever.
async fn follow(
    source: IpAddr,
    server: SocketAddr,
    index: usize,
    connecting: &Semaphore,
    progress: &RefCell<Progress>,
) -> io::Result<()> {
    let permit = connecting.acquire().await.map_err(io::Error::other)?;
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0))?;
    let mut stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    let mut out = Vec::new();
    wire_client::hello(WINDOW, 1 + index as u128, &mut out);
    wire_client::subscribe(TOPIC, WINDOW, &mut out);
    stream.write_all(&out).await?;
    drop(out);

    let mut connecting = Some(permit);
    let mut round = 0;
    let mut inbound = Inbound::new(Direction::ToClient);
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.tick().await;
    let mut acked = Seq(0);
    loop {
        tokio::select! {
            biased;
            bytes = read(&stream) => inbound.push(&bytes?),
            _ = heartbeat.tick() => {
                send(&mut stream, Payload::Heartbeat, acked).await?;
                continue;
            }
        }
        let mut done = None;
        while let Some(frame) = inbound.next_frame().map_err(io::Error::other)? {
            match frame.payload {
                Payload::Welcome(_) => {}
                Payload::Subscribed(_) => {
                    drop(connecting.take());
                    progress.borrow_mut().subscribed();
                }
                Payload::Delivery(_) => {
                    round += 1;
                    done = Some(frame.header.seq);
                    progress.borrow_mut().received(round);
                }
                Payload::Gap(gap) => return Err(io::Error::other(format!("{gap:?}"))),
                Payload::Bye(bye) => return Err(io::Error::other(bye.detail.to_owned())),
                Payload::Heartbeat
                | Payload::Ack(_)
                | Payload::WindowUpdate
                | Payload::Error(_)
                | Payload::Publish(_)
                | Payload::Hello(_)
                | Payload::Subscribe(_)
                | Payload::GoAway(_)
                | Payload::Reject(_)
                | Payload::Unsubscribe(_) => {}
            }
        }
        if let Some(seq) = done {
            acked = seq;
            send(&mut stream, Payload::ACK, acked).await?;
        }
    }
}

/// Through a buffer that only lives for the read: thousands of these tasks are idle.
async fn read(stream: &TcpStream) -> io::Result<Vec<u8>> {
    loop {
        stream.readable().await?;
        let mut bytes = vec![0; 4096];
        match stream.try_read(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                bytes.truncate(count);
                return Ok(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn send(stream: &mut TcpStream, payload: Payload<'_>, acked: Seq) -> io::Result<()> {
    let mut out = Vec::new();
    payload.encode(Seq(1), acked, WINDOW, &mut out);
    stream.write_all(&out).await
}
