//! Many sessions that wait for one ring: each gets its turn, and none is woken in vain.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use multibeam::event_loop::LoopLimits;
use multibeam::kernel::Mail;
use multibeam_model::sockets::Caps;
use multibeam_proto::{Command, PartitionId, ShardConfig, Stat};
use multibeam_wire::Position;
use support::{Node, Peer, publish};

const CROWD: u64 = 60;

#[test]
fn room_for_one_wakes_one() {
    let config = ShardConfig { ring_replies: 8, ..ShardConfig::default() };
    let mut node = Node::beside(1, config, LoopLimits::default(), Caps::default());
    let elsewhere =
        ["a", "b", "c", "d"].into_iter().find(|topic| PartitionId::of(topic).home(2).0 == 1).unwrap();
    let mut crowd: Vec<Peer> = (0..CROWD).map(|_| node.client()).collect();
    for peer in &mut crowd {
        peer.say(&mut node, &publish(1, elsewhere, b"x"));
    }
    let stalled = node.stat(Stat::NoRoom);
    assert_eq!(stalled, CROWD - 8, "all but those whose answer has a place");

    // The home shard answers one after the other.
    let mut home = node.mail_of(1);
    let mut answered = Vec::new();
    while let Some((from, command)) = home.pop() {
        let Command::Publish(request) = command else { panic!("{command:?}") };
        home.drained();
        let (connection, seq) = (request.connection, request.seq);
        answered.push(connection.slot);
        home.push(from, Command::Published { connection, seq, result: Ok(Position::new(1, 1)) });
        home.flush();
        home.arm();
        node.run();
    }
    assert_eq!(answered, (0..CROWD as u32).collect::<Vec<_>>(), "in the order they came");
    for peer in &mut crowd {
        assert_eq!(peer.hear(&mut node), ["Ack(Receipts([]))"]);
    }
    assert_eq!(node.stat(Stat::NoRoom), stalled, "somebody was woken and found no room");
}
