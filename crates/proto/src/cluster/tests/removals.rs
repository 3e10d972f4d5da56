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
    let asked = |voter| Act::AskPromises { voter: StoreId(voter), wanted: wanted.clone() };
    assert_eq!(acts(&mut agent), [asked(101), asked(102), asked(103)]);
    for voter in [101, 102] {
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
    agent.heard(StoreId(102), ms(1000));
    agent.tick(ms(1000));
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
