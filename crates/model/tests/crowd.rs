//! Many sessions that wait for one ring: each gets its turn, and none is woken in vain.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use multibeam::event_loop::LoopLimits;
use multibeam::kernel::Mail;
use multibeam_model::sockets::Caps;
use multibeam_proto::{ClassSet, Command, PartitionId, ShardConfig, Stat, Stored, built_in};
use multibeam_wire::Position;
use std::sync::Arc;
use support::{Node, Peer, publish};

const CROWD: u64 = 60;

#[test]
fn room_for_one_wakes_one() {
    // Without a class that everybody follows: nothing else is asked of the other shard.
    let mut classes = built_in();
    classes.iter_mut().for_each(|class| class.on_connect = false);
    let classes = Arc::new(ClassSet::new(classes).unwrap());
    let home_of = |topic: &str| classes.home(classes.partition_of(topic), 2).0;
    let elsewhere = ["a", "b", "c", "d"].into_iter().find(|topic| home_of(topic) == 1).unwrap();
    let config = ShardConfig { ring_replies: 8, classes, ..ShardConfig::default() };
    let mut node = Node::beside(1, config, LoopLimits::default(), Caps::default());
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
        let Command::Publish(mut request) = command else { panic!("{command:?}") };
        home.drained();
        answered.push(request.connection.slot);
        let (partition, position) = (PartitionId::default(), Position::new(1, 1));
        request.results.push(Ok(Stored { partition, position }));
        home.push(from, Command::Published(request));
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
