//! Who is taken out.

use super::*;
use crate::cluster::{GivenUp, Promise, Wish};

fn given_up(node: u64, joined: u64) -> GivenUp {
    GivenUp { node: NodeId(node), incarnation: Incarnation(1), joined }
}

/// Voters gave node 1 up; then it was elected. Without a lease from them it would lead the consensus and no
/// partition for good: nobody else is there to decide what they have promised.
#[test]
fn a_steward_that_voters_have_given_up_takes_itself_out() {
    let mut agent = agent();
    agent.applied(view(&[&[join(1, 1, 101), join(2, 1, 102), join(3, 1, 103)]]), ms(0));
    link(&mut agent, 2, ms(0));
    link(&mut agent, 3, ms(0));
    agent.consensus(leading(set(&[1, 2, 3]), set(&[])), ms(1));
    let own = given_up(1, 1);
    let wanted = vec![Wish { given_up: own, forced: true }];
    assert_eq!(acts(&mut agent).len(), 3);
    agent.promised(StoreId(102), &[], &[own], ms(2));
    agent.heard(StoreId(102), ms(101));
    agent.heard(StoreId(103), ms(101));
    agent.tick(ms(101));
    let asked = |voter, wanted: &[Wish]| Act::AskPromises { voter: StoreId(voter), wanted: wanted.to_vec() };
    assert_eq!(acts(&mut agent), [asked(101, &[]), asked(102, &wanted), asked(103, &wanted)]);
    for voter in [102, 101] {
        let made = [(own, Promise::Made { counts_in_us: 0 })];
        agent.promised(StoreId(voter), &made, &[own], ms(102));
    }
    agent.heard(StoreId(102), ms(441));
    agent.heard(StoreId(103), ms(441));
    agent.tick(ms(440));
    assert_eq!(operations(&mut agent), []);
    agent.tick(ms(441));
    let removed = vec![Op::Remove { node: own.node, incarnation: own.incarnation }];
    assert_eq!(operations(&mut agent), [Act::Propose(Batch { if_epoch: None, ops: removed })]);
}

/// Node 3 was taken out and has joined again in the same run. What voters promised about it before is decided,
/// also if one has not seen that yet, or its answer comes late.
#[test]
fn promises_about_what_a_node_was_before_it_joined_again_count_nothing() {
    let mut agent = agent();
    let members = [join(1, 1, 101), join(2, 1, 102), join(3, 1, 103)];
    let out = Op::Remove { node: NodeId(3), incarnation: Incarnation(1) };
    agent.applied(view(&[&members, std::slice::from_ref(&out), &[join(3, 1, 103)]]), ms(0));
    link(&mut agent, 2, ms(0));
    link(&mut agent, 3, ms(0));
    agent.consensus(leading(set(&[1, 2, 3]), set(&[])), ms(0));
    agent.promised(StoreId(102), &[], &[given_up(3, 1)], ms(1));
    let wanted = |agent: &mut Agent| {
        let asked = acts(agent).into_iter().filter_map(|act| match act {
            Act::AskPromises { wanted, .. } => Some(wanted),
            Act::Propose(_) | Act::AddLearner(_) | Act::RemoveLearners(_) | Act::ChangeVoters(_) => None,
        });
        asked.flatten().collect::<Vec<_>>()
    };
    agent.tick(ms(101));
    assert_eq!(wanted(&mut agent), [], "it is heard");
    for after in 2..=10 {
        agent.heard(StoreId(102), ms(after * 100));
        agent.tick(ms(after * 100));
    }
    assert!(wanted(&mut agent).contains(&Wish { given_up: given_up(3, 3), forced: false }), "it is silent");
    let made = |joined| [(given_up(3, joined), Promise::Made { counts_in_us: 0 })];
    for voter in [101, 102] {
        agent.promised(StoreId(voter), &made(1), &[], ms(1001));
    }
    assert_eq!(operations(&mut agent), []);
    for voter in [101, 102] {
        agent.promised(StoreId(voter), &made(3), &[], ms(1002));
    }
    assert_eq!(operations(&mut agent), [Act::Propose(Batch { if_epoch: None, ops: vec![out] })]);
}

/// Node 1 was cut off: all others seem silent. What it promised about them alone would decide nothing, and would have
/// them all taken out once it is back.
#[test]
fn a_steward_that_hears_no_majority_asks_for_no_promises() {
    let mut agent = agent();
    agent.applied(view(&[&[join(1, 1, 101), join(2, 1, 102), join(3, 1, 103)]]), ms(0));
    link(&mut agent, 2, ms(0));
    link(&mut agent, 3, ms(0));
    agent.consensus(leading(set(&[1, 2, 3]), set(&[])), ms(0));
    assert_eq!(acts(&mut agent).len(), 3);
    for tick in 1..=20 {
        agent.tick(ms(tick * 100));
    }
    let asked_early = acts(&mut agent).len();
    agent.tick(ms(2100));
    assert_eq!((asked_early, acts(&mut agent)), (0, vec![]));
    agent.heard(StoreId(102), ms(2150));
    agent.tick(ms(2150));
    let wanted = vec![Wish { given_up: given_up(3, 1), forced: false }];
    let asked = |voter, wanted: &[Wish]| Act::AskPromises { voter: StoreId(voter), wanted: wanted.to_vec() };
    assert_eq!(acts(&mut agent), [asked(101, &[]), asked(102, &wanted), asked(103, &wanted)]);
    let made = [(given_up(3, 1), Promise::Made { counts_in_us: 0 })];
    agent.promised(StoreId(102), &made, &[given_up(3, 1)], ms(2160));
    agent.heard(StoreId(102), ms(2250));
    agent.tick(ms(2250));
    assert_eq!(
        acts(&mut agent),
        [asked(101, &wanted), asked(102, &[]), asked(103, &wanted)],
        "this node promises where it is of use"
    );
}

/// It was stopped for three seconds, and what node 2 said meanwhile is read first.
#[test]
fn a_steward_that_stood_still_listens_before_it_gives_anybody_up() {
    let mut agent = agent();
    agent.applied(view(&[&[join(1, 1, 101), join(2, 1, 102), join(3, 1, 103)]]), ms(0));
    link(&mut agent, 2, ms(0));
    link(&mut agent, 3, ms(0));
    agent.consensus(leading(set(&[1, 2, 3]), set(&[])), ms(0));
    agent.heard(StoreId(102), ms(3000));
    agent.tick(ms(3000));
    let wishes = |agent: &mut Agent| {
        let asked = acts(agent).into_iter().filter_map(|act| match act {
            Act::AskPromises { wanted, .. } => Some(wanted.len()),
            Act::Propose(_) | Act::AddLearner(_) | Act::RemoveLearners(_) | Act::ChangeVoters(_) => None,
        });
        asked.sum::<usize>()
    };
    assert_eq!(wishes(&mut agent), 0);
    for after in (100..400).step_by(100) {
        agent.heard(StoreId(102), ms(3000 + after));
        agent.tick(ms(3000 + after));
    }
    assert_eq!(wishes(&mut agent), 0, "silent for less than a peer may be");
    agent.heard(StoreId(102), ms(3400));
    agent.tick(ms(3400));
    assert_eq!(wishes(&mut agent), 2);
}
