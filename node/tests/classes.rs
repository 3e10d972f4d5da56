//! `multibeam classes`, and classes in the configuration file of a node.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../examples/harness/node_process.rs"]
#[expect(dead_code, reason = "shared with other programs, each of which uses a part")]
mod node_process;

use node_process::NodeProcess;
use serde_json::{Value, json};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_multibeam");

#[track_caller]
fn classes(args: &[&str]) -> String {
    let output = Command::new(PROGRAM).arg("classes").args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_topic_has_a_class_a_key_and_a_partition() {
    let found = json_lines(&classes(&["--json", "user.42.msg", "alarm.fire.north"]));
    assert_eq!(
        found[0],
        json!({ "topic": "user.42.msg", "class": "user.{id}.msg", "key": "42", "partition": "1/108", "of": 128 })
    );
    assert_eq!((&found[1]["class"], &found[1]["key"]), (&json!(">"), &json!("alarm.fire.north")));
    // The same for people, and a topic of the same key goes to the same place in a class of the file.
    assert!(classes(&["user.42.msg"]).contains("1/108"));
    let dir = std::env::temp_dir().join(format!("multibeam-classes-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("node.toml");
    std::fs::write(&file, "[[class]]\npattern = 'chat.{room}.>'\npartitions = 500\n").unwrap();
    let file = file.to_str().unwrap();
    let found = json_lines(&classes(&["--config", file, "--json", "chat.7.a", "chat.7.b.c", "chat.8.a"]));
    assert_eq!(found[0]["partition"], found[1]["partition"]);
    assert_ne!(found[0]["partition"], found[2]["partition"]);
    let partition = found[0]["partition"].as_str().unwrap();
    assert!(partition.starts_with("0/"), "the file's class comes first, not {partition}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn the_classes_of_the_example_file() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/multibeam.toml");
    let found = json_lines(&classes(&["--config", example, "--json"]));
    let alarm = found.iter().find(|class| class["pattern"] == "alarm.*").unwrap();
    assert_eq!((&alarm["retain_messages"], &alarm["retain_seconds"]), (&json!(4096), &json!(3600)));
    assert_eq!((&alarm["partitions"], &alarm["route"]), (&json!(1), &json!("broadcast")));
    let price = found.iter().find(|class| class["pattern"] == "price.*").unwrap();
    assert_eq!((&price["overflow"], &price["retain_seconds"]), (&json!("conflate"), &Value::Null));
    assert_eq!(found.last().unwrap()["pattern"], ">");
}

#[test]
fn what_is_no_topic_is_refused() {
    let output = Command::new(PROGRAM).args(["classes", "alarm.*"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no '*'"), "{output:?}");
}

#[test]
fn a_node_serves_with_classes_of_its_own() {
    let config =
        "[[class]]\npattern = 'price.*'\noverflow = 'conflate'\npartitions = 1024\nretain_messages = 1\n";
    let node = NodeProcess::start(Command::new(PROGRAM), config);
    let (status, data_dir) = node.stop();
    assert!(status.success(), "{status}");
    std::fs::remove_dir_all(data_dir).unwrap();
}
