//! Who is taken out.

use super::*;

/// Voters gave node 1 up; then it was elected. Without a lease from them it would lead the consensus and no
/// partition for good: nobody else is there to decide what they have promised.
#[test]
fn a_steward_that_voters_have_given_up_takes_itself_out() {
    let mut agent = agent();
    agent.applied(view(&[&[join(1, 1, 101), join(2, 1, 102), join(3, 1, 103)]]), ms(0));
    link(&mut agent, 2, ms(0));
    link(&mut agent, 3, ms(0));
    agent.consensus(leading(set(&[1, 2, 3]), set(&[])), ms(1));
    let own = (NodeId(1), Incarnation(1));
    assert_eq!(acts(&mut agent).len(), 3);
    agent.promised(StoreId(102), &[], &[own], ms(2));
    agent.heard(StoreId(102), ms(101));
    agent.heard(StoreId(103), ms(101));
    agent.tick(ms(101));
    let asked = |voter| Act::AskPromises { voter: StoreId(voter), wanted: vec![(own.0, own.1, true)] };
    assert_eq!(acts(&mut agent), [asked(101), asked(102), asked(103)]);
    for voter in [101, 102] {
        let made = [(own.0, own.1, crate::cluster::Promise::Made { counts_in_us: 0 })];
        agent.promised(StoreId(voter), &made, &[own], ms(102));
    }
    agent.heard(StoreId(102), ms(441));
    agent.heard(StoreId(103), ms(441));
    agent.tick(ms(440));
    assert_eq!(operations(&mut agent), []);
    agent.tick(ms(441));
    let removed = vec![Op::Remove { node: own.0, incarnation: own.1 }];
    assert_eq!(operations(&mut agent), [Act::Propose(Batch { if_epoch: None, ops: removed })]);
}
