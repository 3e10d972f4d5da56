//! The command line as a user meets it: what it prints, where, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../examples/harness/node_process.rs"]
#[expect(dead_code, reason = "shared with other programs, each of which uses a part")]
mod node_process;

use multibeam::config::{Limit, LimitsFile};
use node_process::NodeProcess;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_multibeam");

/// Times that an end is looked for, 10 ms apart: 30 s.
const END_TRIES: u32 = 3000;

fn multibeam(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn node() -> NodeProcess {
    NodeProcess::start(Command::new(PROGRAM), "")
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("multibeam-cli-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Runs it to its end, which must come by itself.
#[track_caller]
fn output(mut command: Command) -> Output {
    let mut child = command.spawn().unwrap();
    for _ in 0..END_TRIES {
        if child.try_wait().unwrap().is_some() {
            return child.wait_with_output().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("it does not end: {:?}", child.wait_with_output());
}

/// Runs it, and checks that it fails with one line that says all of `parts`.
#[track_caller]
fn fails(args: &[&str], code: i32, parts: &[&str]) {
    let Output { status, stdout, stderr } = output(multibeam(args));
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{args:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
    assert!(stderr.starts_with("multibeam: "), "{args:?}: {stderr}");
    assert!(stdout.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&stdout));
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is not in {stderr}");
    }
}

/// A subscriber that has said that it is subscribed, and the rest of its output.
fn subscriber(node: &NodeProcess, args: &[&str]) -> (Child, BufReader<std::process::ChildStderr>) {
    let server = node.clients().to_string();
    let mut child = multibeam(&["sub", "--server", &server, "--timeout", "30"]).args(args).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("subscribed to "), "{line}");
    (child, stderr)
}

fn publish(node: &NodeProcess, args: &[&str]) -> Output {
    let server = node.clients().to_string();
    multibeam(&["pub", "--server", &server, "--timeout", "30"]).args(args).output().unwrap()
}

fn json_lines(output: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn wrong_arguments() {
    fails(&["--bogus"], 2, &["--bogus"]);
    fails(&["serve", "--shards", "0"], 2, &["--shards", "1 to 256"]);
    fails(&["--listen", "localhost:1"], 2, &["--listen", "IP:PORT"]);
    fails(&["pub", "a.b"], 2, &["<BODY>"]);
    fails(&["pub", "a..b", "x"], 2, &["a..b", "empty segment"]);
    fails(&["sub", "a.*"], 2, &["a.*", "'*'"]);
    fails(&["sub", "a", "--from", "yesterday"], 2, &["yesterday", "3:17"]);
    fails(&["sub", "a", "--server", "here"], 2, &["HOST:PORT"]);
    fails(&["sub", "a", "--count", "0"], 2, &["--count"]);
}

#[test]
fn nobody_listens_there() {
    for command in [&["pub", "a.b", "x"][..], &["sub", "a.b"]] {
        fails(&[command, &["--server", "127.0.0.1:1"]].concat(), 1, &["127.0.0.1:1", "--server"]);
    }
}

#[test]
fn a_bad_configuration_file() {
    let dir = scratch("config");
    let path = dir.join("node.toml");
    let path = path.to_str().unwrap();
    fails(&["--config", path], 1, &[path, "No such file"]);
    fails(&["--config", dir.to_str().unwrap()], 1, &[dir.to_str().unwrap(), "directory"]);
    for (text, parts) in [
        ("\nlisten = 7400", &["line 2", "listen"][..]),
        ("[limits]\nheartbeats = 1", &["line 2", "`heartbeats`"]),
        ("[limits]\nack_timeout_ms = 1", &["ack_timeout_ms = 1", "1000 to 3600000"]),
        ("admin = '0.0.0.0:7480'", &["0.0.0.0:7480", "loopback"]),
    ] {
        std::fs::write(path, text).unwrap();
        fails(&["--config", path], 1, parts);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_another_node_uses() {
    let node = node();
    let dir = scratch("taken");
    let fresh = dir.to_str().unwrap();
    let clients = node.clients().to_string();
    let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    fails(
        &["--listen", &clients, "--admin", "127.0.0.1:0", "--data-dir", fresh],
        1,
        &[&clients, "in use", "--listen"],
    );
    let admin = node.admin().to_string();
    fails(
        &["--listen", "127.0.0.1:0", "--admin", &admin, "--data-dir", fresh],
        1,
        &[&admin, "in use", "--admin"],
    );
    let taken = node.data_dir().to_str().unwrap();
    fails(&[&ports[..], &["--data-dir", taken]].concat(), 1, &[taken, "another node", "--data-dir"]);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_generation_that_nobody_can_read_is_never_replaced() {
    let dir = scratch("generation");
    let file = dir.join("generation");
    for content in [&b"\0\0\0\0"[..], b"", b"12"] {
        std::fs::write(&file, content).unwrap();
        let args = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir", dir.to_str().unwrap()];
        fails(&args, 1, &[file.to_str().unwrap(), "generation"]);
        assert_eq!(std::fs::read(&file).unwrap(), content);
    }
    let beneath_a_file = file.join("x");
    fails(
        &["--data-dir", beneath_a_file.to_str().unwrap()],
        1,
        &[beneath_a_file.to_str().unwrap(), "--data-dir"],
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn three_messages_are_three_lines_of_json() {
    let node = node();
    let (sub, _stderr) = subscriber(&node, &["alarm.fire", "--count", "3", "--json"]);
    let published = publish(&node, &["alarm.fire", "hello", "--count", "3"]);
    assert!(published.status.success(), "{published:?}");
    let received = sub.wait_with_output().unwrap();
    assert!(received.status.success());
    let expected = |offset: u64| json!({ "topic": "alarm.fire", "generation": 1, "offset": offset, "prev": offset - 1, "body": "hello" });
    assert_eq!(json_lines(&received.stdout), [expected(1), expected(2), expected(3)]);
    let first = String::from_utf8_lossy(&received.stdout).lines().next().unwrap().to_owned();
    let keys = ["topic", "generation", "offset", "prev", "body"].map(|key| first.find(key).unwrap());
    assert!(keys.is_sorted(), "{first}");
}

#[test]
fn lines_of_the_standard_input_are_messages_and_can_be_read_again() {
    let node = node();
    let server = node.clients().to_string();
    let mut publisher =
        multibeam(&["pub", "a.b", "-", "--json", "--server", &server]).stdin(Stdio::piped()).spawn().unwrap();
    publisher.stdin.take().unwrap().write_all(b"one\ntwo\n\xff\n").unwrap();
    let published = publisher.wait_with_output().unwrap();
    assert_eq!(json_lines(&published.stdout), [json!({ "topic": "a.b", "published": 3 })]);

    let (sub, _stderr) = subscriber(&node, &["a.b", "--from", "1:1", "--count", "2", "--json"]);
    let received = json_lines(&sub.wait_with_output().unwrap().stdout);
    assert_eq!((&received[0]["body"], &received[1]["body_hex"]), (&json!("two"), &json!("ff")));
    let (sub, _stderr) = subscriber(&node, &["a.b", "--from", "1:0", "--count", "1"]);
    assert_eq!(sub.wait_with_output().unwrap().stdout, b"1:1 one\n");
}

#[test]
fn a_cursor_of_an_earlier_generation_gets_a_gap() {
    let first = node();
    assert!(publish(&first, &["a.b", "old"]).status.success());
    let (status, data_dir) = first.stop();
    assert!(status.success(), "{status}");
    let second = NodeProcess::start_in(Command::new(PROGRAM), "", data_dir);
    let (sub, _stderr) = subscriber(&second, &["a.b", "--from", "1:1", "--count", "1", "--json"]);
    assert!(publish(&second, &["a.b", "new"]).status.success());
    let received = json_lines(&sub.wait_with_output().unwrap().stdout);
    assert_eq!(received[0]["gap"]["from"], json!({ "generation": 1, "offset": 1 }), "{received:?}");
    assert_eq!(received[0]["gap"]["reason"], "generation");
    assert_eq!((&received[1]["generation"], &received[1]["body"]), (&json!(2), &json!("new")));
}

#[test]
fn a_node_serves_with_every_limit_at_either_end() {
    let at = |end: fn(&Limit) -> u64| {
        let lines = LimitsFile::ALL.iter().map(|limit| format!("{} = {}\n", limit.key, end(limit)));
        format!("shards = 2\n[limits]\n{}", lines.collect::<String>())
    };
    // Publisher and subscriber may share a shard; and with one message kept, gaps are right.
    let low = at(|limit| match limit.key {
        "connections_per_shard_max" => 2,
        "retain_messages_default" => 20,
        _ => limit.low,
    });
    for config in [low, at(|limit| limit.high)] {
        let node = NodeProcess::start(Command::new(PROGRAM), &config);
        let (sub, _stderr) = subscriber(&node, &["a.b", "--count", "20"]);
        let published = publish(&node, &["a.b", "x", "--count", "20"]);
        assert!(published.status.success(), "{published:?}\n{config}");
        let received = sub.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&received.stdout).lines().count(), 20, "{received:?}\n{config}");
        let (status, data_dir) = node.stop();
        assert!(status.success(), "{status}\n{config}");
        std::fs::remove_dir_all(data_dir).unwrap();
    }
}

#[test]
fn a_time_out_says_how_far_it_came() {
    let node = node();
    let server = node.clients().to_string();
    let args = ["sub", "a.b", "--server", &server, "--timeout", "0.2", "--count", "3"];
    let output = output(multibeam(&args));
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let last = stderr.lines().last().unwrap();
    assert_eq!(last, "multibeam: timed out after 0.2 s with 0 of 3 messages received");
}
