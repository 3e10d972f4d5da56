//! `multibeam sub`: several topics, where it begins, where it goes on, and what it tells on the way.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/command_line.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod command_line;

use command_line::node_process::NodeProcess;
use command_line::{PROGRAM, Subscriber, client, interrupt, node, output, publish, scratch};
use serde_json::{Value, json};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn several_topics_are_followed_at_once() {
    let node = node();
    let topics = ["alarm.fire", "chat.room", "user.42.msg"];
    let mut sub = Subscriber::start(node.clients(), &topics, &["--count", "5"]);
    // One after the other, so that the order is known.
    for (offset, topic) in
        [(1, "chat.room"), (1, "alarm.fire"), (2, "alarm.fire"), (1, "user.42.msg"), (2, "chat.room")]
    {
        publish(&node, &[topic, "x"]);
        assert_eq!(sub.line(), format!("{topic} 1:{offset} x"));
    }
    assert_eq!(sub.end().good().stdout, "");
}

#[test]
fn a_subscription_says_what_it_begins_with() {
    // One shard knows at once how many messages there are.
    let node = NodeProcess::start(Command::new(PROGRAM), "shards = 1\n");
    publish(&node, &["a.b", "x", "--count", "3"]);
    let first = |from: &str| {
        let ended =
            output(client("sub", node.clients(), &["a.b", "--from", from, "--count", "1", "--json"])).good();
        (ended.json()[0]["subscribed"].clone(), ended.messages()[0]["offset"].clone())
    };
    let (subscribed, offset) = first("first");
    assert_eq!(
        (&subscribed["topic"], &subscribed["count"], &subscribed["gap"]),
        (&json!("a.b"), &json!(3), &json!(false))
    );
    let part = &subscribed["parts"][0];
    assert_eq!((&part["from"]["offset"], &part["to"]["offset"]), (&json!(0), &json!(3)));
    assert_eq!(offset, 1);
    let (subscribed, offset) = first("last");
    assert_eq!((&subscribed["count"], offset), (&json!(1), json!(3)));
    let (subscribed, offset) = first("1:1");
    assert_eq!((&subscribed["count"], offset), (&json!(2), json!(2)));
}

#[test]
fn a_cursor_file_goes_on_where_the_last_run_stood() {
    let (node, dir) = (node(), scratch("cursor"));
    let file = dir.join("new/place.cursor");
    let file = file.to_str().unwrap();
    let run = |count: &str| {
        let args = ["a.b", "--from", "first", "--cursor-file", file, "--count", count, "--json"];
        output(client("sub", node.clients(), &args)).good().bodies()
    };
    for body in ["1", "2", "3", "4", "5"] {
        publish(&node, &["a.b", body]);
    }
    assert_eq!(run("2"), ["1", "2"]);
    assert_eq!(run("1"), ["3"]);
    // Also after an interruption, whatever was handled until then.
    let mut sub = Subscriber::start(node.clients(), &["a.b"], &["--cursor-file", file]);
    assert_eq!((sub.line(), sub.line()), ("a.b 1:4 4".to_owned(), "a.b 1:5 5".to_owned()));
    interrupt(&sub.child);
    let ended = sub.end().good();
    assert_eq!(ended.stderr, "interrupted with 2 messages received\n");
    publish(&node, &["a.b", "6"]);
    assert_eq!(run("1"), ["6"]);

    // What is no cursor of this topic is never taken for one, nor replaced.
    let saved = std::fs::read(file).unwrap();
    let refused = output(client("sub", node.clients(), &["a.c", "--cursor-file", file]));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("cursor of a.b, not of a.c"), "{refused:?}");
    assert_eq!(std::fs::read(file).unwrap(), saved);
    std::fs::write(file, &saved[..saved.len() - 3]).unwrap();
    let refused = output(client("sub", node.clients(), &["a.b", "--cursor-file", file]));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("damaged") && refused.stderr.lines().count() == 1, "{refused:?}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn an_interruption_is_a_good_end_unless_messages_are_owed() {
    let node = node();
    let sub = Subscriber::start(node.clients(), &["a.b"], &[]);
    interrupt(&sub.child);
    assert_eq!(sub.end().good().stderr, "interrupted with 0 messages received\n");
    let sub = Subscriber::start(node.clients(), &["a.b"], &["--count", "2"]);
    interrupt(&sub.child);
    let ended = sub.end();
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(1), "multibeam: interrupted with 0 of 2 messages received\n")
    );
}

/// Forwards connections to a node, and can cut them.
struct Wire {
    address: SocketAddr,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let streams = Arc::new(Mutex::new(Vec::new()));
        let held = Arc::clone(&streams);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(node) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
                held.lock().unwrap().extend([client, server]);
            }
        });
        Self { address, streams }
    }

    fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_reconnect_is_told_and_loses_nothing() {
    let node = node();
    let wire = Wire::to(node.clients());
    let mut sub = Subscriber::start(wire.address, &["a.b"], &["--count", "3"]);
    publish(&node, &["a.b", "1"]);
    assert_eq!(sub.line(), "a.b 1:1 1");
    wire.cut();
    sub.error_line("connecting again");
    publish(&node, &["a.b", "2"]);
    sub.error_line("connected again");
    publish(&node, &["a.b", "3"]);
    assert_eq!(sub.end().good().stdout, "a.b 1:2 2\na.b 1:3 3\n");
}

/// A pager that nobody scrolls: the pipe is full, and the node hears heartbeats all the same.
#[test]
fn a_reader_that_stands_still_costs_no_connection() {
    let config = "[limits]\nheartbeat_interval_ms = 1000\n";
    let node = NodeProcess::start(Command::new(PROGRAM), config);
    let sub = Subscriber::start(node.clients(), &["a.b"], &["--count", "150"]);
    let body = "x".repeat(4000);
    publish(&node, &["a.b", &body, "--count", "150"]);
    std::thread::sleep(Duration::from_millis(4500));
    let ended = sub.end().good();
    assert_eq!((ended.stdout.lines().count(), ended.stderr.as_str()), (150, ""));
}

#[test]
fn a_reader_that_has_seen_enough_ends_it() {
    let node = node();
    let Subscriber { mut child, stdout, .. } = Subscriber::start(node.clients(), &["a.b"], &[]);
    drop(stdout);
    publish(&node, &["a.b", "x"]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_filter_is_followed_and_resumed() {
    let (node, dir) = (node(), scratch("filter"));
    let file = dir.join("alarms.cursor");
    let file = file.to_str().unwrap();
    let run = |count: &str| {
        let args = ["alarm.>", "--from", "first", "--cursor-file", file, "--count", count, "--json"];
        output(client("sub", node.clients(), &args)).good()
    };
    for topic in ["alarm.fire", "alarm.water", "alarm.fire.north", "chat.room"] {
        publish(&node, &[topic, topic]);
    }
    let all = run("3");
    let parts = all.json()[0]["subscribed"]["parts"].as_array().unwrap().len();
    assert_eq!(parts, 17, "one partition of alarm.*, and those of everything else");
    let topics = |messages: &[Value]| {
        let mut topics: Vec<String> =
            messages.iter().map(|message| message["topic"].as_str().unwrap().to_owned()).collect();
        topics.sort();
        topics
    };
    assert_eq!(topics(&all.messages()), ["alarm.fire", "alarm.fire.north", "alarm.water"]);
    publish(&node, &["alarm.gas", "x"]);
    assert_eq!(topics(&run("1").messages()), ["alarm.gas"]);
    std::fs::remove_dir_all(&dir).unwrap();
}
