//! The binary as a user calls it, with what a test wants to know of how it ends.

#[path = "../../examples/harness/node_process.rs"]
pub(crate) mod node_process;

use node_process::NodeProcess;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_multibeam");

/// Times that something is looked for, 10 ms apart: 30 s.
const TRIES: u32 = 3000;

pub(crate) fn multibeam(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn node() -> NodeProcess {
    NodeProcess::start(Command::new(PROGRAM), "")
}

/// A command that talks to a node, for half a minute at the most.
pub(crate) fn client(command: &str, server: SocketAddr, args: &[&str]) -> Command {
    let server = server.to_string();
    multibeam(&[&[command, "--server", &server, "--timeout", "30"], args].concat())
}

/// A folder of its own, empty.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("multibeam-cli-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..TRIES {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain: {what}");
}

/// Runs it to its end, which must come by itself.
#[track_caller]
pub(crate) fn output(mut command: Command) -> Ended {
    ended(command.spawn().unwrap())
}

/// As [`output`], with a standard input.
#[track_caller]
pub(crate) fn output_of(mut command: Command, input: &[u8]) -> Ended {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may print before it has read all.
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let ended = ended(child);
    feeder.join().unwrap().unwrap();
    ended
}

#[track_caller]
pub(crate) fn ended(child: Child) -> Ended {
    // Read while it runs: a full pipe would hold it up.
    let pid = Pid::from_child(&child);
    let waiter = std::thread::spawn(move || child.wait_with_output().unwrap());
    for _ in 0..TRIES {
        if waiter.is_finished() {
            return Ended::from(waiter.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = kill_process(pid, Signal::KILL);
    panic!("it does not end: {:?}", Ended::from(waiter.join().unwrap()));
}

pub(crate) fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ended {
    /// It succeeded.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Each line as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines of JSON that are messages.
    #[track_caller]
    pub(crate) fn messages(&self) -> Vec<Value> {
        self.json().into_iter().filter(|line| line.get("offset").is_some()).collect()
    }

    /// The bodies of the messages.
    #[track_caller]
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.messages().iter().map(|line| line["body"].as_str().unwrap_or("not text").to_owned()).collect()
    }
}

/// Checks that it fails with one line that says all of `parts`.
#[track_caller]
pub(crate) fn fails(args: &[&str], code: i32, parts: &[&str]) {
    let ended = output(multibeam(args));
    let Ended { stdout, stderr, .. } = &ended;
    assert_eq!(ended.code, Some(code), "{args:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
    assert!(stderr.starts_with("multibeam: "), "{args:?}: {stderr}");
    assert!(stdout.is_empty(), "{args:?}: {stdout}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in {stderr}");
    }
}

/// Publishes and succeeds.
#[track_caller]
pub(crate) fn publish(node: &NodeProcess, args: &[&str]) -> Ended {
    output(client("pub", node.clients(), args)).good()
}

/// A subscriber that runs, and line by line what it prints.
pub(crate) struct Subscriber {
    pub(crate) child: Child,
    pub(crate) stdout: BufReader<ChildStdout>,
    pub(crate) stderr: BufReader<ChildStderr>,
}

impl Subscriber {
    /// Returns once it follows all its topics.
    #[track_caller]
    pub(crate) fn start(server: SocketAddr, topics: &[&str], args: &[&str]) -> Self {
        let mut child = client("sub", server, &[topics, args].concat()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut subscriber = Self { child, stdout, stderr };
        for _ in topics {
            if args.contains(&"--json") {
                let line = subscriber.line();
                assert!(line.starts_with("{\"subscribed\":"), "{line}");
            } else {
                subscriber.error_line("subscribed to ");
            }
        }
        subscriber
    }

    /// The next line of the standard output.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next line of the standard error output, which contains `part`.
    #[track_caller]
    pub(crate) fn error_line(&mut self, part: &str) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        assert!(line.contains(part), "{part:?} is not in {line:?}");
        line.trim_end().to_owned()
    }

    /// What it prints from here on to its end.
    #[track_caller]
    pub(crate) fn end(self) -> Ended {
        let Self { child, mut stdout, mut stderr } = self;
        let rest = std::thread::spawn(move || std::io::read_to_string(&mut stdout).unwrap());
        let errors = std::thread::spawn(move || std::io::read_to_string(&mut stderr).unwrap());
        let Ended { code, .. } = ended(child);
        Ended { code, stdout: rest.join().unwrap(), stderr: errors.join().unwrap() }
    }
}
