//! `multibeam history`: what is kept, what is not, and that it ends.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/command_line.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod command_line;

use command_line::node_process::NodeProcess;
use command_line::{Ended, PROGRAM, client, node, output, output_of, publish};
use serde_json::json;
use std::process::Command;

fn history(node: &NodeProcess, args: &[&str]) -> Ended {
    output(client("history", node.clients(), args)).good()
}

#[test]
fn what_is_kept_is_printed_and_it_ends() {
    let node = node();
    output_of(client("pub", node.clients(), &["a.b", "-"]), b"one\ntwo\nthree\n").good();
    assert_eq!(history(&node, &["a.b"]).stdout, "a.b 1:1 one\na.b 1:2 two\na.b 1:3 three\n");
    assert_eq!(history(&node, &["a.b", "--last", "2"]).stdout, "a.b 1:2 two\na.b 1:3 three\n");
    assert_eq!(history(&node, &["a.b", "--last", "9"]).stdout.lines().count(), 3);
    let last = history(&node, &["a.b", "--last", "1", "--json"]);
    let expected = json!({ "topic": "a.b", "generation": 1, "offset": 3, "prev": 2, "body": "three" });
    let mut found = last.json();
    assert_eq!(found.len(), 1, "{last:?}");
    found[0].as_object_mut().unwrap().remove("partition").unwrap();
    assert_eq!(found[0], expected);
}

#[test]
fn an_empty_history_says_so() {
    let node = node();
    for args in [&["a.b"][..], &["a.b", "--json"], &["a.b", "--last", "3"]] {
        let ended = history(&node, args);
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", "nothing is kept of a.b\n"));
    }
}

#[test]
fn what_is_no_longer_kept_is_told() {
    let node = node();
    // The class of other topics keeps 256.
    publish(&node, &["a.b", "x", "--count", "300"]);
    let ended = history(&node, &["a.b"]);
    let mut lines = ended.stdout.lines();
    assert_eq!(lines.next(), Some("--- GAP in a.b: nothing behind 1:0 up to 1:44 will come (evicted) ---"));
    assert_eq!(lines.next(), Some("a.b 1:45 x"));
    assert_eq!(lines.count(), 255);
    let told = history(&node, &["a.b", "--json"]).json();
    assert_eq!(told[0]["gap"]["to"], json!({ "generation": 1, "offset": 44 }));
    assert_eq!(told.len(), 257);
}

#[test]
fn it_ends_though_messages_go_on_coming() {
    let node = node();
    publish(&node, &["a.b", "x"]);
    let args = ["a.b", "y", "--count", "100000", "--rate", "2000"];
    let mut publisher = client("pub", node.clients(), &args).spawn().unwrap();
    for _ in 0..10 {
        let kept = history(&node, &["a.b", "--json"]).messages().len();
        assert!((1..=256).contains(&kept), "{kept}");
    }
    publisher.kill().unwrap();
    publisher.wait().unwrap();
}

#[test]
fn a_filter_has_the_history_of_all_its_topics() {
    let node = node();
    for topic in ["alarm.fire", "alarm.water", "alarm.fire.north", "chat.room"] {
        publish(&node, &[topic, topic]);
    }
    let mut bodies = history(&node, &["alarm.>", "--json"]).bodies();
    bodies.sort();
    assert_eq!(bodies, ["alarm.fire", "alarm.fire.north", "alarm.water"]);
    let ended = history(&node, &["news.*"]);
    assert_eq!(ended.stderr, "nothing is kept of news.*\n");
}

#[test]
fn a_class_of_the_file_says_how_much_is_kept() {
    let config = "[[class]]\npattern = 'price.*'\nretain_messages = 2\n";
    let node = NodeProcess::start(Command::new(PROGRAM), config);
    publish(&node, &["price.oil", "x", "--count", "5"]);
    let ended = history(&node, &["price.oil"]);
    let expected = "--- GAP in price.oil: nothing behind 1:0 up to 1:3 will come (evicted) ---\n\
                    price.oil 1:4 x\nprice.oil 1:5 x\n";
    assert_eq!(ended.stdout, expected);
}
