//! Who joins.

use super::*;

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
