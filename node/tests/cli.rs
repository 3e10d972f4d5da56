//! The command line as a user meets it: what it prints, where, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/command_line.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod command_line;

use command_line::node_process::NodeProcess;
use command_line::{
    Ended, PROGRAM, Subscriber, client, fails, multibeam, node, output, output_of, publish, scratch,
};
use multibeam::config::{Limit, LimitsFile};
use serde_json::json;
use std::process::Command;

#[test]
fn wrong_arguments() {
    fails(&["--bogus"], 2, &["--bogus"]);
    fails(&["serve", "--shards", "0"], 2, &["--shards", "1 to 256"]);
    fails(&["--listen", "localhost:1"], 2, &["--listen", "IP:PORT"]);
    for (line, parts) in [
        ("pub a.b", &["<BODY|--stdin|--file <FILE>>"][..]),
        ("pub a..b x", &["a..b", "empty segment"]),
        ("pub a.* x", &["a.*", "--keys"]),
        ("pub a.b x --keys 1,2", &["a.b", "exactly one segment '*'"]),
        ("pub a.* x --keys 1,b.c", &["b.c", "one segment"]),
        ("pub a.b x --stdin", &["BODY", "--stdin"]),
        ("pub a.b --stdin --count 3", &["--count", "--stdin"]),
        ("pub a.b - --count 3", &["--count", "standard input"]),
        ("pub a.b x --count 0", &["--count"]),
        ("pub a.b x --rate 0", &["--rate", "above 0"]),
        ("pub a.b x --ttl soon", &["--ttl", "30s"]),
        ("pub a.b x --ttl 50d", &["--ttl", "49d"]),
        ("sub", &["TOPIC|FILTER"]),
        ("sub a.b*", &["a.b*", "whole segment"]),
        ("sub a.>.b", &["a.>.b", "the last one"]),
        ("sub a --from yesterday", &["yesterday", "3:17"]),
        ("sub a.* --from 3:17", &["--from", "each partition", "0/0=3:17"]),
        ("sub a --from 0/0=3:17", &["--from", "one position"]),
        ("sub a b --from 3:17", &["--from", "one topic or filter"]),
        ("sub a b --cursor-file x.cursor", &["--cursor-file", "one topic or filter"]),
        ("sub a --cursor-file x", &["--cursor-file", "alarms.cursor"]),
        ("sub a --server here", &["HOST:PORT"]),
        ("sub a --count 0", &["--count"]),
        ("history", &["<TOPIC|FILTER>"]),
        ("history a..b", &["a..b", "empty segment"]),
        ("history a --last 0", &["--last"]),
    ] {
        fails(&line.split(' ').collect::<Vec<_>>(), 2, parts);
    }
    let keys = vec!["k"; 65].join(",");
    fails(&["pub", "a.*", "x", "--keys", &keys], 2, &["64 keys", "65"]);
}

#[test]
fn nobody_listens_there() {
    for command in [&["pub", "a.b", "x"][..], &["sub", "a.b"], &["history", "a.b"]] {
        fails(&[command, &["--server", "127.0.0.1:1"]].concat(), 1, &["127.0.0.1:1", "--server"]);
    }
    fails(&["pub", "a.b", "--file", "/no/such/file"], 1, &["/no/such/file", "No such file"]);
    fails(&["pub", "a.b", "--file", "/"], 1, &["/", "directory"]);
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
        ("[limits]\nmessages_bytes_max = 1048576", &["1048576 is too little", "shards"]),
        ("\n[[class]]\npattern = 'a.{}'", &["line 3", "a.{}", "whole segment"]),
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
    let sub = Subscriber::start(node.clients(), &["alarm.fire"], &["--count", "3", "--json"]);
    publish(&node, &["alarm.fire", "hello", "--count", "3"]);
    let received = sub.end().good();
    let expected = |offset: u64| json!({ "topic": "alarm.fire", "partition": "0/0", "generation": 1, "offset": offset, "prev": offset - 1, "body": "hello" });
    assert_eq!(received.json(), [expected(1), expected(2), expected(3)]);
    let first = received.stdout.lines().next().unwrap();
    let keys = ["topic", "partition", "generation", "offset", "prev", "body"];
    assert!(keys.map(|key| first.find(key).unwrap()).is_sorted(), "{first}");
}

#[test]
fn lines_of_the_standard_input_are_messages_and_can_be_read_again() {
    let node = node();
    let published = output_of(client("pub", node.clients(), &["a.b", "-"]), b"one\ntwo\n\xff\n").good();
    assert!(published.stdout.starts_with("3 messages stored in a.b"), "{published:?}");

    let sub = Subscriber::start(node.clients(), &["a.b"], &["--from", "1:1", "--count", "2", "--json"]);
    let received = sub.end().good().messages();
    assert_eq!((&received[0]["body"], &received[1]["body_hex"]), (&json!("two"), &json!("ff")));
    let sub = Subscriber::start(node.clients(), &["a.b"], &["--from", "1:0", "--count", "1"]);
    assert_eq!(sub.end().good().stdout, "a.b 1:1 one\n");
}

#[test]
fn a_cursor_of_an_earlier_generation_gets_a_gap() {
    let first = node();
    publish(&first, &["a.b", "old"]);
    let (status, data_dir) = first.stop();
    assert!(status.success(), "{status}");
    let second = NodeProcess::start_in(Command::new(PROGRAM), "", data_dir);
    let from = ["--from", "1:1", "--count", "1"];
    let sub = Subscriber::start(second.clients(), &["a.b"], &[&from[..], &["--json"]].concat());
    let person = Subscriber::start(second.clients(), &["a.b"], &from);
    publish(&second, &["a.b", "new"]);
    let received = sub.end().good().json();
    assert_eq!(received[0]["gap"]["topic"], "a.b", "{received:?}");
    assert_eq!(received[0]["gap"]["from"], json!({ "generation": 1, "offset": 1 }), "{received:?}");
    assert_eq!(received[0]["gap"]["reason"], "generation");
    assert_eq!((&received[1]["generation"], &received[1]["body"]), (&json!(2), &json!("new")));
    let expected = "--- GAP in a.b: nothing behind 1:1 up to 2:0 will come (generation) ---\na.b 2:1 new\n";
    assert_eq!(person.end().good().stdout, expected);
}

#[test]
fn a_node_serves_with_every_limit_at_either_end() {
    let at = |end: fn(&Limit) -> u64| {
        let lines = LimitsFile::ALL.iter().map(|limit| format!("{} = {}\n", limit.key, end(limit)));
        format!("shards = 2\n[limits]\n{}", lines.collect::<String>())
    };
    // Publisher and subscriber may share a shard; and each of the two shards needs its part.
    let low = at(|limit| match limit.key {
        "connections_per_shard_max" => 2,
        "messages_bytes_max" => 2 * limit.low,
        _ => limit.low,
    });
    for config in [low, at(|limit| limit.high)] {
        let node = NodeProcess::start(Command::new(PROGRAM), &config);
        let sub = Subscriber::start(node.clients(), &["a.b"], &["--count", "20"]);
        let published = output(client("pub", node.clients(), &["a.b", "x", "--count", "20"]));
        assert_eq!(published.code, Some(0), "{published:?}\n{config}");
        let received = sub.end();
        assert_eq!(received.stdout.lines().count(), 20, "{received:?}\n{config}");
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
    let Ended { code, stderr, .. } = output(multibeam(&args));
    assert_eq!(code, Some(1));
    let last = stderr.lines().last().unwrap();
    assert_eq!(last, "multibeam: timed out after 0.2 s with 0 of 3 messages received");
}
