//! A cluster of node processes, and what an operator asks it.

use crate::command_line::node_process::NodeProcess;
use crate::command_line::{Ended, PROGRAM, multibeam, output, wait_until};
use crate::ports::free_addresses;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

/// The configuration of the node whose links are at `own`, with sections beside that of the cluster.
pub(crate) fn config(own: SocketAddr, voters: &[SocketAddr], sections: &str) -> String {
    let voters: Vec<String> = voters.iter().map(|voter| format!("\"{voter}\"")).collect();
    format!(
        "shards = 1\n[cluster]\nlisten = \"{own}\"\ninitial_voters = [{}]\n{sections}\n",
        voters.join(", ")
    )
}

pub(crate) fn start(own: SocketAddr, voters: &[SocketAddr], sections: &str) -> NodeProcess {
    NodeProcess::start(Command::new(PROGRAM), &config(own, voters, sections))
}

/// Three processes that are one cluster, and ready.
pub(crate) fn three(sections: &str) -> Vec<NodeProcess> {
    let voters = free_addresses(3);
    let nodes: Vec<NodeProcess> = voters.iter().map(|own| start(*own, &voters, sections)).collect();
    begin(&nodes);
    nodes
}

/// Makes them a cluster, and waits until all are ready.
pub(crate) fn begin(nodes: &[NodeProcess]) {
    wait_until("there are links to all", || cluster(&nodes[0], &["bootstrap"]).code == Some(0));
    agree(&nodes.iter().collect::<Vec<_>>(), nodes.len());
    all_ready(nodes);
}

pub(crate) fn all_ready(nodes: &[NodeProcess]) {
    for node in nodes {
        wait_until("each is ready", || ready(node) == (200, String::new()));
    }
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
pub(crate) fn agreed(status: &Value) -> (u64, String, Vec<(String, String, u64)>) {
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

/// Status and body of an answer of the admin server.
pub(crate) fn http(admin: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Status, and why it is not ready.
pub(crate) fn ready(node: &NodeProcess) -> (u16, String) {
    let (status, body) = http(node.admin(), "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let body: Value = serde_json::from_str(&body).unwrap();
    (status, body["why"].as_str().unwrap().to_owned())
}
