//! A node whose cable is pulled out of the switch of the links: three hosts on this machine, see
//! [`network`].
//!
//! ```text
//!           links (bridge)                 user, who can reach all nodes
//!     ┌───────┼───────┐ ✂                    │
//!  node-1  node-2  node-3 ───── lone      clients (bridge)
//!     └───────┴───────┴──────────────────────┘
//! ```

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/command_line.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod command_line;
#[path = "support/network.rs"]
mod network;
#[path = "support/ports.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod ports;
#[path = "support/processes.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod processes;
#[path = "support/sdk.rs"]
mod sdk;

use command_line::node_process::NodeProcess;
use command_line::{PROGRAM, multibeam, output, scratch, wait_until};
use multibeam_client::State;
use network::Network;
use processes::{agreed, cluster, config, ready, status};
use sdk::User;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// By host.
const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
const CUT_OFF: &str = NODES[2];

/// The networks of links, of clients, and between the third node and its lone user.
const LINKS: &str = "198.18.0";
const CLIENTS: &str = "198.18.1";
const LONE: [&str; 2] = ["198.18.2.1", "198.18.2.2"];

const CLIENTS_PORT: u16 = 7400;
const LINKS_PORT: u16 = 7401;

fn address(network: &str, node: usize, port: u16) -> SocketAddr {
    format!("{network}.{}:{port}", node + 1).parse().unwrap()
}

fn hosts() -> Option<Network> {
    let mut network = Network::new(&["links", "clients"])?;
    for (index, node) in NODES.into_iter().enumerate() {
        network.host(node).unwrap();
        network.plug(node, "links", &format!("{LINKS}.{}", index + 1));
        network.plug(node, "clients", &format!("{CLIENTS}.{}", index + 1));
    }
    network.host("user").unwrap();
    network.plug("user", "clients", &format!("{CLIENTS}.100"));
    network.host("lone").unwrap();
    network.connect([CUT_OFF, "lone"], LONE);
    Some(network)
}

/// Links that leave a host need certificates.
fn certificates(folder: &Path) {
    let mut args = vec!["cluster".to_owned(), "init-ca".to_owned(), "--out".to_owned()];
    args.push(folder.to_str().unwrap().to_owned());
    for (index, node) in NODES.into_iter().enumerate() {
        args.extend(["--node".to_owned(), format!("{node},{LINKS}.{}", index + 1)]);
    }
    output(multibeam(&args.iter().map(String::as_str).collect::<Vec<_>>())).good();
}

fn node(network: &Network, index: usize, certificates: &Path) -> NodeProcess {
    let voters: Vec<SocketAddr> = (0..NODES.len()).map(|node| address(LINKS, node, LINKS_PORT)).collect();
    let (name, folder) = (NODES[index], certificates.display());
    let sections = format!(
        "advertise_clients = \"{}\"\n\
         [cluster.tls]\nca = \"{folder}/ca.pem\"\ncertificate = \"{folder}/{name}.pem\"\nkey = \"{folder}/{name}.key\"\n\
         [limits]\ngoaway_spread_ms = 1\npublish_deadline_ms = 60000",
        address(CLIENTS, index, CLIENTS_PORT),
    );
    let config = config(voters[index], &voters, &sections);
    let listen = SocketAddr::from(([0, 0, 0, 0], CLIENTS_PORT));
    network.on(name, || NodeProcess::start_at(Command::new(PROGRAM), listen, &config))
}

#[test]
fn a_node_cut_off_from_the_others_serves_nobody_and_comes_back_by_itself() {
    let Some(network) = hosts() else { return };
    let folder = scratch("cut-off");
    certificates(&folder);
    let nodes: Vec<NodeProcess> = (0..NODES.len()).map(|index| node(&network, index, &folder)).collect();
    let on = |index: usize, what: &(dyn Fn(&NodeProcess) -> bool + Sync)| {
        network.on(NODES[index], || what(&nodes[index]))
    };
    let view = |index: usize| network.on(NODES[index], || agreed(&status(&nodes[index])));
    let is_ready = |node: &NodeProcess| ready(node).0 == 200;
    let isolated = |node: &NodeProcess| {
        let (status, why) = ready(node);
        status == 503 && why.starts_with("isolated: no lease for ")
    };
    let all_agree = || view(0) == view(1) && view(1) == view(2) && view(2).2.len() == 3;
    wait_until("there are links to all", || on(0, &|node| cluster(node, &["bootstrap"]).code == Some(0)));
    wait_until("all agree", all_agree);
    (0..NODES.len()).for_each(|index| wait_until("each is ready", || on(index, &is_ready)));

    // Both are at the third node; one can reach no other.
    let third = address(CLIENTS, 2, CLIENTS_PORT).to_string();
    let user = network.on("user", || User::start(&third, "cut.news"));
    let lone = network.on("lone", || User::start(&format!("{}:{CLIENTS_PORT}", LONE[0]), "cut.lone"));
    user.publish("before");
    lone.publish("before");
    let before = view(2);

    network.cut(CUT_OFF, "links");
    // Until then it may serve, for nobody else does.
    wait_until("its lease has run out", || on(2, &|node| !is_ready(node)));
    let mut during = lone.begin_publish("during");
    user.wait_for("it finds another node", |status| {
        status.state == State::Connected && status.server.as_ref().is_some_and(|server| *server != third)
    });
    lone.wait_for("it is told that nobody serves it", |status| status.state == State::Stale);
    wait_until("the third is red", || on(2, &isolated));
    wait_until("the others go on without it", || view(0).2.len() == 2 && view(1).2.len() == 2);
    user.publish("during");
    assert_eq!(view(2), before, "a node that is cut off changes nothing");
    assert!(view(0).0 > before.0);
    assert!(on(2, &|node| node.metric("multibeam_cluster_lease_ms", "") == 0));
    assert!(on(2, &isolated) && on(0, &is_ready) && on(1, &is_ready));
    assert!(lone.is_pending(&mut during), "nobody lets the third acknowledge anything");
    assert_eq!(lone.state(), State::Stale);

    network.join(CUT_OFF, "links");
    wait_until("all agree again", all_agree);
    wait_until("the third is ready", || on(2, &is_ready));
    assert!(view(2).0 > before.0);
    lone.wait_for("it is served again", |status| status.state == State::Connected);
    lone.finish(during);
    lone.publish("after");
    assert_eq!(lone.stats().connects, 1, "it never left");
    user.publish("after");
    assert_eq!((user.stats().connects, user.stats().moves), (2, 1), "and this one left once");
    std::fs::remove_dir_all(folder).unwrap();
}
