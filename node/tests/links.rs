//! What a node makes of a peer: here one that says on its links whatever a test wants it to say.

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
use command_line::{PROGRAM, multibeam, output, scratch, wait_until};
use multibeam_proto::view::{Batch, Op, View};
use multibeam_wire::link::{
    ClusterId, Epoch, Identity, Incarnation, LinkDecoder, LinkDirection, LinkHeartbeat, LinkHello,
    LinkPayload, LinkPurpose, NodeId, Part, State, StoreId,
};
use multibeam_wire::{CloseCode, Features, Seq, Step};
use ports::free_addresses;
use processes::{agree, cluster, config, start, status};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "a measurement, outside any node")]
fn now() -> Instant {
    Instant::now()
}

/// A cluster that the peer says it belongs to.
const CLUSTER: ClusterId = ClusterId(0xc1);

fn identity(cluster: ClusterId) -> Identity {
    Identity {
        features: Features::NONE,
        cluster,
        node: NodeId(0xb2),
        store: StoreId(0xd2),
        incarnation: Incarnation(7),
        epoch: Epoch(0),
    }
}

/// One connection, by hand.
struct Wire {
    stream: TcpStream,
    decoder: LinkDecoder,
    input: Vec<u8>,
    seq: Seq,
}

/// What ended a connection.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Bye(u16, String),
    Closed,
}

impl Wire {
    fn new(stream: TcpStream, direction: LinkDirection) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut decoder = LinkDecoder::new(direction);
        decoder.established();
        Self { stream, decoder, input: Vec::new(), seq: Seq(0) }
    }

    /// Takes the node's next connection of that purpose, as a node of `cluster`.
    fn accept(listener: &TcpListener, purpose: LinkPurpose, cluster: ClusterId) -> Self {
        loop {
            let mut wire = Self::new(listener.accept().unwrap().0, LinkDirection::ToAcceptor);
            let said =
                wire.next(
                    |payload| {
                        if let LinkPayload::Hello(hello) = payload { Some(hello.purpose) } else { None }
                    },
                );
            if said == Ok(purpose) {
                wire.send(&LinkPayload::Welcome(identity(cluster)));
                return wire;
            }
        }
    }

    /// Connects to the node as one of `cluster`.
    fn dial(node: SocketAddr, cluster: ClusterId, address: SocketAddr) -> Self {
        let mut wire = Self::new(TcpStream::connect(node).unwrap(), LinkDirection::ToDialler);
        let address = address.to_string();
        let hello = LinkHello {
            identity: identity(cluster),
            purpose: LinkPurpose::Control,
            address: &address,
            clients: "",
            weight: 1,
        };
        wire.send(&LinkPayload::Hello(hello));
        wire.next(|payload| matches!(payload, LinkPayload::Welcome(_)).then_some(())).unwrap();
        wire
    }

    fn send(&mut self, payload: &LinkPayload<'_>) {
        if payload.frame_type().sequenced() {
            self.seq = self.seq.next();
        }
        let mut frame = Vec::new();
        payload.encode(self.seq, Seq(0), 64, &mut frame);
        self.stream.write_all(&frame).unwrap();
    }

    fn state(&mut self, to: u64, bytes: &[u8]) {
        let part = Part { more: false, bytes };
        self.send(&LinkPayload::State(State { from: Epoch(0), to: Epoch(to), snapshot: true, part }));
    }

    /// The first frame that `wanted` takes something from; the others are read over.
    fn next<T>(&mut self, wanted: impl Fn(&LinkPayload<'_>) -> Option<T>) -> Result<T, End> {
        loop {
            match self.decoder.step(&self.input).unwrap() {
                Step::Frame(frame, taken) => {
                    let found = wanted(&frame.payload);
                    let bye = if let LinkPayload::Bye(bye) = frame.payload {
                        Some(End::Bye(bye.code, bye.detail.to_owned()))
                    } else {
                        None
                    };
                    self.input.drain(..taken);
                    if let Some(bye) = bye {
                        return Err(bye);
                    }
                    if let Some(found) = found {
                        return Ok(found);
                    }
                }
                Step::Partial(_) => {
                    let mut bytes = [0; 4096];
                    match self.stream.read(&mut bytes) {
                        Ok(0) => return Err(End::Closed),
                        Ok(read) => self.input.extend_from_slice(&bytes[..read]),
                        Err(error) => panic!("the node neither speaks nor closes: {error}"),
                    }
                }
            }
        }
    }

    /// Number and text of the BYE that ends it.
    #[track_caller]
    fn bye(&mut self) -> (u16, String) {
        match self.next(|_| None::<()>) {
            Err(End::Bye(code, detail)) => (code, detail),
            other => panic!("no BYE: {other:?}"),
        }
    }
}

/// A node that dials the listener, and nobody else who answers.
fn linked() -> (NodeProcess, SocketAddr, TcpListener) {
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = free_addresses(2);
    let voters = [own[0], own[1], peer.local_addr().unwrap()];
    let node = start(own[0], &voters, "");
    (node, own[0], peer)
}

/// A view after so many changes.
fn view(epoch: u64) -> View {
    let mut view = View::default();
    for incarnation in 0..epoch {
        let join = Op::Join {
            node: NodeId(0xb2),
            incarnation: Incarnation(incarnation),
            store: StoreId(0xd2),
            address: "127.0.0.1:1".into(),
            clients: "".into(),
            weight: 1,
        };
        view.apply(&Batch { if_epoch: None, ops: vec![join] });
    }
    assert_eq!(view.epoch(), epoch);
    view
}

fn epoch(node: &NodeProcess) -> u64 {
    status(node)["epoch"].as_u64().unwrap()
}

#[test]
fn no_state_of_a_peer_ends_the_node_and_the_peer_is_told_what_was_wrong_with_it() {
    let (node, _, peer) = linked();
    let mut later = view(3).encode();
    later[0] += 1;
    let damaged = view(3).encode();
    let refused = |to: u64, bytes: &[u8]| {
        let mut wire = Wire::accept(&peer, LinkPurpose::Control, CLUSTER);
        wire.state(to, bytes);
        wire.bye()
    };
    let (code, detail) = refused(3, &damaged[..damaged.len() - 1]);
    assert_eq!((code, &*detail), (CloseCode::BadPayload as u16, "the agreed state is damaged"));
    let other = (CloseCode::BadPayload as u16, "a state of another epoch than it says".to_owned());
    assert_eq!(refused(4, &view(3).encode()), other);
    let (code, detail) = refused(3, &later);
    assert_eq!(code, CloseCode::BadVersion as u16);
    assert!(detail.contains("version 2 of the agreed state") && detail.contains("a later one"), "{detail}");
    let text = cluster(&node, &["status"]).good().stdout;
    let trouble = format!("trouble with {}: what it sends is {detail}", peer.local_addr().unwrap());
    assert!(text.contains(&trouble), "{text}");

    let mut wire = Wire::accept(&peer, LinkPurpose::Control, CLUSTER);
    wire.stream.write_all(b"MBnonsense that is no frame at all").unwrap();
    assert_eq!(wire.bye().0, CloseCode::BadVersion as u16);
    assert_eq!(epoch(&node), 0);

    let mut wire = Wire::accept(&peer, LinkPurpose::Control, CLUSTER);
    wire.state(3, &view(3).encode());
    wait_until("a good one is taken", || epoch(&node) == 3);
}

#[test]
fn a_view_is_taken_from_a_node_of_the_cluster_that_was_dialled_and_by_nobody_who_leads() {
    let (node, links, peer) = linked();
    // Of no cluster, as the node is; the next connection is accepted once the node has closed this one.
    let mut virgin = Wire::accept(&peer, LinkPurpose::Control, ClusterId::default());
    virgin.state(9, &view(9).encode());
    let heard = virgin.next(|payload| matches!(payload, LinkPayload::Heartbeat(_)).then_some(()));
    assert_eq!((heard, epoch(&node)), (Ok(()), 0));
    let mut dialler = Wire::dial(links, CLUSTER, peer.local_addr().unwrap());
    dialler.state(9, &view(9).encode());
    assert_eq!(dialler.bye().0, CloseCode::WrongDirection as u16);
    assert_eq!((virgin.next(|_| None::<()>), epoch(&node)), (Err(End::Closed), 0));
    let mut member = Wire::accept(&peer, LinkPurpose::Control, CLUSTER);
    member.state(2, &view(2).encode());
    wait_until("it is taken", || epoch(&node) == 2);

    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = free_addresses(1)[0];
    let leader = start(own, &[own], &format!("join = [\"{}\"]", peer.local_addr().unwrap()));
    wait_until("it begins alone", || cluster(&leader, &["bootstrap"]).code == Some(0));
    wait_until("it leads", || status(&leader)["role"] == "leader" && epoch(&leader) > 0);
    let id = status(&leader)["cluster"].as_str().unwrap().to_owned();
    let id = ClusterId(u128::from_str_radix(&id, 16).unwrap());
    let mut member = Wire::accept(&peer, LinkPurpose::Control, id);
    member.state(1000, &view(1000).encode());
    for _ in 0..3 {
        member.next(|payload| matches!(payload, LinkPayload::Heartbeat(_)).then_some(())).unwrap();
    }
    assert!(epoch(&leader) < 1000);
}

#[test]
fn a_node_with_two_addresses_has_one_link_that_stands() {
    let links = free_addresses(3);
    let named: Vec<String> = links.iter().map(|at| format!("\"localhost:{}\"", at.port())).collect();
    let start = |own: &SocketAddr| {
        let config = format!(
            "shards = 1\n[cluster]\nlisten = \"{own}\"\ninitial_voters = [{}]\n\
             join = [\"127.0.0.1:{}\", \"localhost:{}\"]\n",
            named.join(", "),
            links[0].port(),
            links[0].port(),
        );
        NodeProcess::start(Command::new(PROGRAM), &config)
    };
    let nodes: Vec<NodeProcess> = links.iter().map(start).collect();
    wait_until("there are links to all", || cluster(&nodes[1], &["bootstrap"]).code == Some(0));
    agree(&nodes.iter().collect::<Vec<_>>(), 3);
    let stands = |link: &Value| link["dialled"] == true && link["accepted"] == true;
    let linked = |node: &NodeProcess| {
        let status = status(node);
        let links = status["links"].as_array().unwrap().iter().filter(|link| stands(link)).count();
        links == 2 && status["troubles"] == serde_json::json!([])
    };
    let dials = || nodes.iter().map(|node| node.metric("multibeam_cluster_dials_total", "")).sum::<u64>();
    wait_until("all links stand, and nobody dials any more", || {
        let (all, before) = (nodes.iter().all(linked), dials());
        std::thread::sleep(Duration::from_millis(500));
        all && dials() == before && nodes.iter().all(linked)
    });
}

#[test]
fn two_names_of_one_node_are_not_two_voters() {
    let links = free_addresses(2);
    let ports: Vec<u16> = links.iter().map(SocketAddr::port).collect();
    let start = |own: &SocketAddr| {
        let config = format!(
            "shards = 1\n[cluster]\nlisten = \"{own}\"\n\
             initial_voters = [\"127.0.0.1:{}\", \"127.0.0.1:{}\", \"localhost:{}\"]\n",
            ports[0], ports[1], ports[1],
        );
        NodeProcess::start(Command::new(PROGRAM), &config)
    };
    let nodes: Vec<NodeProcess> = links.iter().map(start).collect();
    for node in &nodes {
        let said = format!("127.0.0.1:{} and localhost:{}", ports[1], ports[1]);
        wait_until("each names the two", || {
            let refused = cluster(node, &["bootstrap"]);
            assert_eq!(refused.code, Some(1), "{refused:?}");
            refused.stderr.contains(&said)
        });
        assert_eq!(status(node)["cluster"], "");
    }
}

#[test]
fn a_plain_link_is_dialled_nowhere_but_on_this_machine() {
    let (node, links, _peer) = linked();
    let far = "192.0.2.1:7401";
    let mut wire = Wire::new(TcpStream::connect(links).unwrap(), LinkDirection::ToDialler);
    let hello = LinkHello {
        identity: identity(ClusterId::default()),
        purpose: LinkPurpose::Control,
        address: far,
        clients: "",
        weight: 1,
    };
    wire.send(&LinkPayload::Hello(hello));
    wire.next(|payload| matches!(payload, LinkPayload::Welcome(_)).then_some(())).unwrap();
    wait_until("it is known", || status(&node)["links"][0]["address"] == far);
    // Longer than a dial may take.
    for number in 0..15 {
        wire.send(&LinkPayload::Heartbeat(LinkHeartbeat { number, epoch: Epoch(0) }));
        wire.next(|payload| matches!(payload, LinkPayload::Lease(_)).then_some(())).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(status(&node)["links"][0]["address"], far);
    let troubles = status(&node)["troubles"].to_string();
    assert!(!troubles.contains(far), "{troubles}");
}

#[test]
fn sockets_that_say_nothing_keep_no_node_out() {
    let (node, links, peer) = linked();
    let silent: Vec<TcpStream> = (0..600).map(|_| TcpStream::connect(links).unwrap()).collect();
    let mut wire = Wire::dial(links, ClusterId::default(), peer.local_addr().unwrap());
    wire.send(&LinkPayload::Heartbeat(LinkHeartbeat { number: 1, epoch: Epoch(0) }));
    wire.next(|payload| matches!(payload, LinkPayload::Lease(_)).then_some(())).unwrap();
    assert!(status(&node)["links"][0]["accepted"] == true && silent.len() == 600);
}

/// The lines that `init-ca` prints for the configuration of a node.
fn tls_of(printed: &str, node: &str) -> String {
    let (_, section) = printed.split_once(&format!("in the configuration of {node}:\n")).unwrap();
    section.split("\n\n").next().unwrap().to_owned()
}

#[test]
fn nodes_with_certificates_of_one_ca_are_a_cluster_and_one_of_another_ca_is_told_and_told_of() {
    let dir = scratch("links-tls");
    let folder = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"];
    let init_ca = |ca: &str, nodes: std::ops::Range<usize>| {
        let nodes: Vec<String> = nodes.map(|at| format!("--node=node-{at},{}", hosts[at])).collect();
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        output(multibeam(&[&["cluster", "init-ca", "--out", &folder(ca)], &*nodes].concat())).good().stdout
    };
    let (ours, others) = (init_ca("ours", 0..3), init_ca("others", 3..4));
    let mut links = free_addresses(hosts.len());
    links.iter_mut().zip(hosts).for_each(|(link, host)| link.set_ip(host.parse().unwrap()));
    let of = |at: usize| {
        let tls = tls_of(if at < 3 { &ours } else { &others }, &format!("node-{at}"));
        config(links[at], &links[..3], &format!("name = \"node-{at}\"\n{tls}"))
    };
    let mut nodes: Vec<NodeProcess> =
        (0..3).map(|at| NodeProcess::start(Command::new(PROGRAM), &of(at))).collect();
    wait_until("there are links to all", || cluster(&nodes[0], &["bootstrap"]).code == Some(0));
    let all = |nodes: &[NodeProcess], members| agree(&nodes.iter().collect::<Vec<_>>(), members);
    all(&nodes, 3);
    let handshakes = |node: &NodeProcess, kind| node.metric("multibeam_cluster_tls_handshakes_total", kind);
    for node in &nodes {
        wait_until("data goes on from what control has made", || handshakes(node, "resumed") >= 2);
        assert!(handshakes(node, "full") >= 2);
    }

    let data_dir = nodes.pop().unwrap().kill();
    all(&nodes, 2);
    nodes.push(NodeProcess::start_in(Command::new(PROGRAM), &of(2), data_dir));
    all(&nodes, 3);

    let stranger = NodeProcess::start(Command::new(PROGRAM), &of(3));
    let shows = |node: &NodeProcess, trouble: &str| {
        let trouble = format!("trouble with {trouble}");
        wait_until(&trouble, || cluster(node, &["status"]).good().stdout.contains(&trouble));
    };
    shows(
        &stranger,
        &format!(
            "{}: no link with the node at 127.0.0.1: it has a certificate that is not of this cluster's CA",
            links[0]
        ),
    );
    let here = "no link with the node that dialled: it says that this node's certificate is not of its CA";
    shows(&nodes[0], &format!("127.0.0.1: {here}"));
    assert_eq!(status(&stranger)["cluster"], "");
    all(&nodes, 3);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_peer_that_leaves_at_once_is_dialled_ever_more_slowly_and_to_wait_is_no_dial() {
    let (node, _, peer) = linked();
    let accept = || drop(Wire::accept(&peer, LinkPurpose::Control, ClusterId::default()));
    accept();
    let began = now();
    (0..9).for_each(|_| accept());
    let took = began.elapsed();
    // At least half of 100, 200 and 400 ms, and of 500 ms six times.
    assert!(took > Duration::from_millis(1500), "{took:?}");
    let count = |name: &str| node.metric(&format!("multibeam_cluster_{name}_total"), "");
    assert!(count("dials_failed") <= count("dials"));
}
