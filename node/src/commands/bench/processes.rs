//! The processes that a bench starts: nodes and floors on one core, generators on the other.
//!
//! Each ends with its handle. A node's files are in a directory of its own, which goes with it.

use super::accounting::Accounts;
use super::cores::{Cores, Side};
use super::floor::Kind;
use super::protocol::{Order, Plan, Reply};
use clap::ValueEnum;
use serde::Serialize;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// A generator that says nothing for so long is stuck: it speaks at each turn's end and at every
/// 500 clients.
const PATIENCE: Duration = Duration::from_secs(60);

/// Replies that wait to be taken up: those of one order.
const REPLIES_MAX: usize = 256;

/// This program once more, which is measured.
fn this_program() -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| format!("can't find this program: {error}"))?;
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command)
}

/// A node or a floor.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
    data_dir: Option<PathBuf>,
}

impl Server {
    /// A node with so many shards and, beyond the defaults, these settings of `[limits]`.
    ///
    /// # Errors
    /// It did not begin to serve.
    pub(super) fn node(cores: &Cores, shards: usize, limits: &[(&str, u64)]) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let data_dir = std::env::temp_dir().join(format!("multibeam-bench-{}-{number}", std::process::id()));
        let config = data_dir.join("node.toml");
        let text: Vec<String> = limits.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        std::fs::create_dir_all(&data_dir)
            .and_then(|()| std::fs::write(&config, format!("[limits]\n{}", text.concat())))
            .map_err(|error| format!("can't write {}: {error}", config.display()))?;
        let mut command = this_program()?;
        command.args(["bench", "node", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--shards"]);
        command.arg(shards.to_string()).arg("--data-dir").arg(&data_dir).arg("--config").arg(&config);
        Self::start(cores, command, Some(data_dir))
    }

    /// A floor.
    ///
    /// # Errors
    /// It did not begin to serve.
    pub(super) fn floor(cores: &Cores, kind: Kind, options: &[&str]) -> Result<Self, String> {
        let kind = kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut command = this_program()?;
        command.args(["bench", "floor", "--kind", &kind]).args(options);
        Self::start(cores, command, None)
    }

    fn start(cores: &Cores, mut command: Command, data_dir: Option<PathBuf>) -> Result<Self, String> {
        let child = cores.spawn(Side::Server, &mut command);
        let mut child = child.map_err(|error| format!("can't start a server: {error}"))?;
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        // From here on dropping it cleans up.
        let mut server = Self { child, address: SocketAddr::from(([0, 0, 0, 0], 0)), data_dir };
        let address = lines.and_then(clients_address);
        server.address = address.ok_or("a server ended before it served")?;
        Ok(server)
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn accounts(&self) -> Accounts {
        Accounts::of(self.child.id())
    }
}

/// Where a server says that its clients connect.
fn clients_address(lines: Lines<BufReader<ChildStdout>>) -> Option<SocketAddr> {
    let mut lines = lines.map_while(Result::ok);
    let address = lines.find_map(|line| line.trim().strip_prefix("clients ")?.trim().parse().ok())?;
    // What else it says is for nobody, but it must not find its output closed.
    std::thread::spawn(move || lines.for_each(drop));
    Some(address)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(data_dir) = &self.data_dir {
            let _ = std::fs::remove_dir_all(data_dir);
        }
    }
}

/// A generator.
pub(super) struct Generator {
    child: Child,
    orders: ChildStdin,
    replies: mpsc::Receiver<Reply>,
}

impl Generator {
    /// Starts one with its plan.
    ///
    /// # Errors
    /// It can't be started.
    pub(super) fn start(cores: &Cores, plan: &Plan) -> Result<Self, String> {
        let mut command = this_program()?;
        command.args([OsStr::new("bench"), OsStr::new("generate")]);
        let child = cores.spawn(Side::Generator, &mut command);
        let mut child = child.map_err(|error| format!("can't start a generator: {error}"))?;
        let (Some(orders), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a generator has no pipes".to_owned());
        };
        let (reply_in, replies) = mpsc::sync_channel(REPLIES_MAX);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let reply = serde_json::from_str(&line);
                let reply = reply.unwrap_or_else(|error| Reply::Failed(format!("a bad reply: {error}")));
                if reply_in.send(reply).is_err() {
                    return;
                }
            }
        });
        let mut generator = Self { child, orders, replies };
        generator.tell(plan)?;
        Ok(generator)
    }

    /// Gives an order and waits for its reply. `progress` hears how many clients are connected.
    ///
    /// # Errors
    /// What the generator found wrong, or its silence.
    pub(super) fn order(&mut self, order: Order, mut progress: impl FnMut(usize)) -> Result<Reply, String> {
        self.tell(&order)?;
        loop {
            match self.replies.recv_timeout(PATIENCE) {
                Ok(Reply::Progress(clients)) => progress(clients),
                Ok(Reply::Failed(error)) => return Err(error),
                Ok(reply @ (Reply::Connected | Reply::Ran(_) | Reply::Counted(_) | Reply::Left)) => {
                    return Ok(reply);
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("nothing came for {} s: deliveries are missing", PATIENCE.as_secs()));
                }
                Err(RecvTimeoutError::Disconnected) => return Err("a generator ended early".to_owned()),
            }
        }
    }

    fn tell(&mut self, line: &impl Serialize) -> Result<(), String> {
        let mut line = serde_json::to_string(line).map_err(|error| error.to_string())?;
        line.push('\n');
        // A generator that has failed has said why, and that is what counts.
        let _ = self.orders.write_all(line.as_bytes());
        Ok(())
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
