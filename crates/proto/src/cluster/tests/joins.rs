//! Who joins.

use super::*;
use crate::view::{Outcome, Refusal};

/// A node says where it is reached when it dials. Until then a Join would be refused, and everything else
/// would wait behind it.
#[test]
fn who_has_not_said_where_it_is_reached_does_not_join() {
    let mut agent = agent();
    agent.applied(view(&[&[join(1, 1, 101)]]), ms(0));
    agent.consensus(leading(set(&[1]), set(&[])), ms(0));
    agent.linked(&identity(2), None, ms(0));
    agent.heard(StoreId(102), ms(400));
    agent.tick(ms(400));
    assert_eq!(operations(&mut agent), []);
    link(&mut agent, 2, ms(400));
    let joined = vec![join(2, 1, 102)];
    assert_eq!(operations(&mut agent), [Act::Propose(Batch { if_epoch: None, ops: joined })]);
}

/// It was dialled before its peer ended, and its handshake arrives when the next run is there already.
#[test]
fn a_late_handshake_of_an_earlier_run_changes_nothing() {
    let mut agent = agent();
    agent.applied(view(&[&[join(1, 1, 101)]]), ms(0));
    agent.consensus(leading(set(&[1]), set(&[])), ms(0));
    let earlier = identity(2);
    let later = Identity { incarnation: Incarnation(2), ..earlier };
    let hello = |identity, address| LinkHello {
        identity,
        purpose: LinkPurpose::Control,
        address,
        clients: "",
        weight: 1,
    };
    agent.linked(&later, Some(&hello(later, "c:1")), ms(0));
    let known = |agent: &Agent| agent.peers(ms(10)).map(|status| status.peer).collect::<Vec<_>>();
    let before = known(&agent);
    agent.linked(&earlier, Some(&hello(earlier, "b:1")), ms(10));
    agent.linked(&earlier, None, ms(10));
    assert_eq!(known(&agent), before);
    let outdated = |run| agent.has_later_run(StoreId(102), Incarnation(run));
    assert_eq!([1, 2, 3].map(outdated), [true, false, false]);
    agent.unlinked(StoreId(102), Incarnation(1), false, ms(20));
    assert_eq!(known(&agent), before);
    // The other way round it is a new run, of which nothing is known but what it says.
    let third = Identity { incarnation: Incarnation(3), ..earlier };
    agent.linked(&third, None, ms(30));
    assert_eq!(known(&agent)[0].address, "");
}

/// A copied data directory under another name, say. Nothing else waits for what can't be.
#[test]
fn a_join_that_would_be_refused_is_not_proposed_and_holds_up_nobody() {
    let mut agent = agent();
    agent.applied(view(&[&[join(1, 1, 101), join(2, 1, 103)]]), ms(0));
    agent.consensus(leading(set(&[1]), set(&[])), ms(0));
    link(&mut agent, 3, ms(0));
    link(&mut agent, 4, ms(0));
    for node in [3, 4] {
        agent.heard(StoreId(100 + node), ms(300));
    }
    agent.tick(ms(300));
    let joins = |node| Act::Propose(Batch { if_epoch: None, ops: vec![join(node, 1, 100 + node)] });
    assert_eq!(operations(&mut agent), [joins(4)]);
    assert_eq!(agent.steward().last_refusal(), Some(Refusal::StoreTaken(NodeId(2))));
}

/// A view that the log does not lead to, as one of another cluster would be.
#[test]
fn what_changed_nothing_is_not_wished_again_at_once() {
    let mut agent = agent();
    agent.applied(view(&[&[join(2, 1, 102)]]), ms(0));
    agent.consensus(leading(set(&[1]), set(&[])), ms(0));
    assert!(matches!(&operations(&mut agent)[..], [Act::Propose(_)]));
    agent.done(Some(&Outcome { epoch: 9, changed: false, refused: Vec::new() }), ms(1));
    assert_eq!(operations(&mut agent), []);
    agent.tick(ms(1900));
    assert_eq!(operations(&mut agent), []);
    agent.tick(ms(2100));
    assert!(!operations(&mut agent).is_empty());
}
