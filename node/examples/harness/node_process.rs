//! A node in a process of its own, seen from outside: addresses, numbers, memory, CPU.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Ticks a second in `/proc/PID/stat`; the same on every Linux that Rust runs on.
const CLOCK_TICKS: f64 = 100.0;

/// Times that an end is looked for, 10 ms apart: 30 s, far beyond what a stop may take.
const END_TRIES: u32 = 3000;

/// This machine alone, wherever the system finds room.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A node with a data directory of its own; both are gone when it is dropped.
pub(crate) struct NodeProcess {
    child: Child,
    clients: SocketAddr,
    admin: SocketAddr,
    data_dir: PathBuf,
    keeps_data: bool,
}

impl NodeProcess {
    /// Starts `command` with the arguments for ports that the system chooses, and `config` as
    /// its configuration file. Returns when it serves.
    pub(crate) fn start(command: Command, config: &str) -> Self {
        Self::start_in(command, config, new_data_dir())
    }

    /// As [`NodeProcess::start`], with the files of an earlier node.
    pub(crate) fn start_in(command: Command, config: &str, data_dir: PathBuf) -> Self {
        Self::start_with(command, ANY_PORT, config, data_dir)
    }

    /// As [`NodeProcess::start`], with a port and network for clients.
    pub(crate) fn start_at(command: Command, listen: SocketAddr, config: &str) -> Self {
        Self::start_with(command, listen, config, new_data_dir())
    }

    fn start_with(mut command: Command, listen: SocketAddr, config: &str, data_dir: PathBuf) -> Self {
        std::fs::create_dir_all(&data_dir).expect("the temporary directory can be written");
        let file = data_dir.join("node.toml");
        std::fs::write(&file, config).expect("the temporary directory can be written");
        let (listen, admin) = (listen.to_string(), ANY_PORT.to_string());
        command.args(["--listen", &listen, "--admin", &admin]);
        command.arg("--data-dir").arg(&data_dir).arg("--config").arg(&file);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the node starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut word = |label: &str| {
            let found = lines
                .by_ref()
                .map_while(Result::ok)
                .find_map(|line| line.trim().strip_prefix(label).map(|rest| rest.trim().to_owned()));
            let line = found.unwrap_or_else(|| panic!("the node ended without saying {label:?}"));
            line.split_whitespace().next().unwrap_or_default().to_owned()
        };
        let clients = word("clients").parse().expect("an address");
        let admin = word("admin").trim_start_matches("http://").parse().expect("an address");
        Self { child, clients, admin, data_dir, keeps_data: false }
    }

    /// Where clients connect.
    pub(crate) fn clients(&self) -> SocketAddr {
        self.clients
    }

    /// Where the admin server is.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where its files are.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Body of an answer of the admin server.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).expect("the admin server accepts");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out above zero");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("the admin server reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the admin server answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        body.to_owned()
    }

    /// A metric, summed over its series that have `label`.
    pub(crate) fn metric(&self, name: &str, label: &str) -> u64 {
        let text = self.get("/metrics");
        let series = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    }

    /// Resident bytes.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(self.proc("status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// CPU seconds so far, user and system.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let text = std::fs::read_to_string(self.proc("stat")).unwrap_or_default();
        // The name in parentheses may hold spaces; utime and stime are the 12th and 13th behind it.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / CLOCK_TICKS
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).map_or(0, Iterator::count)
    }

    /// SIGTERM, and what the process made of it. Its files stay.
    pub(crate) fn stop(self) -> (ExitStatus, PathBuf) {
        self.terminate();
        self.wait()
    }

    /// SIGKILL. Its files stay.
    pub(crate) fn kill(mut self) -> PathBuf {
        self.child.kill().expect("our child");
        self.keeps_data = true;
        self.data_dir.clone()
    }

    /// Waits for an end that was asked for. Its files stay.
    pub(crate) fn wait(mut self) -> (ExitStatus, PathBuf) {
        for _ in 0..END_TRIES {
            if let Some(status) = self.child.try_wait().expect("our child") {
                self.keeps_data = true;
                return (status, self.data_dir.clone());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the node does not end");
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Any signal; one that ends it is for [`NodeProcess::stop`] and [`NodeProcess::kill`].
    pub(crate) fn signal(&self, signal: Signal) {
        // One that has ended meanwhile is still ours until it is waited for.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Whether a SIGSTOP has reached all its threads.
    pub(crate) fn stands_still(&self) -> bool {
        let Ok(mut threads) = std::fs::read_dir(self.proc("task")) else { return false };
        threads.all(|thread| {
            let stat = thread.and_then(|thread| std::fs::read_to_string(thread.path().join("stat")));
            // The state follows the name in parentheses.
            stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")))
        })
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }
}

fn new_data_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let data_dir = std::env::temp_dir().join(format!("multibeam-node-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&data_dir);
    data_dir
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !self.keeps_data {
            let _ = std::fs::remove_dir_all(&self.data_dir);
        }
    }
}
