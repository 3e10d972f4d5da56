//! Nodes of a cluster, each a process, and what an operator learns of them.

use crate::command_line::node_process::NodeProcess;
use crate::command_line::{Ended, multibeam, output, wait_until};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener};

/// Addresses that were free a moment ago; those of links can't be left to the system.
pub(crate) fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

pub(crate) fn config(own: SocketAddr, voters: &[SocketAddr]) -> String {
    let voters: Vec<String> = voters.iter().map(|voter| format!("\"{voter}\"")).collect();
    format!("shards = 1\n[cluster]\nlisten = \"{own}\"\ninitial_voters = [{}]\n", voters.join(", "))
}

/// A command of the group `cluster`, to this node.
pub(crate) fn cluster(node: &NodeProcess, args: &[&str]) -> Ended {
    let admin = node.admin().to_string();
    output(multibeam(&[&["cluster"], args, &["--admin", &admin, "--timeout", "20"]].concat()))
}

pub(crate) fn status(node: &NodeProcess) -> Value {
    cluster(node, &["status", "--json"]).good().json().remove(0)
}

/// What all nodes with the same epoch have in common.
fn agreed(status: &Value) -> (u64, String, Vec<(String, String, u64)>) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let member = |member: &Value| {
        (text(&member["node"]), text(&member["address"]), member["incarnation"].as_u64().unwrap())
    };
    let members = status["members"].as_array().unwrap().iter().map(member).collect();
    (status["epoch"].as_u64().unwrap(), text(&status["view"]), members)
}

/// Waits until all see the same view, with so many members; these.
#[track_caller]
pub(crate) fn agree(nodes: &[&NodeProcess], members: usize) -> Vec<(String, String, u64)> {
    let mut found = Vec::new();
    wait_until(&format!("{} nodes agree on {members} members", nodes.len()), || {
        let mut views = nodes.iter().map(|node| agreed(&status(node)));
        let first = views.next().unwrap();
        let same = views.all(|view| view == first);
        found = first.2;
        same && found.len() == members
    });
    found
}
