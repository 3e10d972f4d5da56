//! A node that ran alone becomes the first of a cluster.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/command_line.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod command_line;
#[path = "support/ports.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod ports;
#[path = "support/processes.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod processes;

use command_line::node_process::NodeProcess;
use command_line::{PROGRAM, node, publish, wait_until};
use ports::free_addresses;
use processes::{agree, cluster, config, status};
use std::process::Command;

#[test]
fn a_node_that_was_used_alone_becomes_one_of_three_and_keeps_its_id() {
    let alone = node();
    wait_until("it is used", || alone.get("/readyz").contains("ready"));
    publish(&alone, &["alarm.fire", "smoke"]);
    let before = status(&alone);
    let (ended, data_dir) = alone.stop();
    assert!(ended.success());

    let links = free_addresses(3);
    let named = |at: usize| config(links[at], &links, &format!("name = \"node-{at}\""));
    let first = NodeProcess::start_in(Command::new(PROGRAM), &named(0), data_dir);
    let second = NodeProcess::start(Command::new(PROGRAM), &named(1));
    let third = NodeProcess::start(Command::new(PROGRAM), &named(2));
    let nodes = [&first, &second, &third];
    let members = agree(&nodes, 3);
    for key in ["node", "store", "cluster"] {
        assert_eq!(status(&first)[key], before[key], "{key}");
    }
    assert!(members.iter().any(|(node, address, _)| {
        *node == before["node"].as_str().unwrap() && *address == links[0].to_string()
    }));
    wait_until("all three vote", || {
        nodes.iter().all(|node| status(node)["voters"].as_array().unwrap().len() == 3)
    });
    assert!(cluster(&first, &["bootstrap"]).good().stdout.contains(before["cluster"].as_str().unwrap()));

    // The name is its own from here on.
    let data_dir = first.kill();
    agree(&[&second, &third], 2);
    let first = NodeProcess::start_in(Command::new(PROGRAM), &named(0), data_dir);
    agree(&[&first, &second, &third], 3);
    let (_, data_dir) = first.stop();
    let mut renamed = Command::new(PROGRAM);
    let file = data_dir.join("node.toml");
    std::fs::write(&file, named(0).replace("\"node-0\"", "\"node-x\"")).unwrap();
    renamed.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"]);
    renamed.arg(&data_dir).arg("--config").arg(&file);
    let refused = renamed.output().unwrap();
    let sentence = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && sentence.contains("another name than node-x"), "{sentence}");
    std::fs::remove_dir_all(data_dir).unwrap();
}
