//! Who votes.

use super::*;

/// The leader that began a change of voters is gone: only both majorities together decide, nothing is taken
/// over, and nobody but the next steward finishes it.
#[test]
fn a_change_of_voters_that_was_left_open_is_finished() {
    let mut agent = agent();
    agent.applied(view(&[&[join(1, 1, 101), join(2, 1, 102)]]), ms(0));
    link(&mut agent, 2, ms(0));
    let mut facts = leading(set(&[1, 2]), set(&[1]));
    facts.voters_committed = false;
    agent.consensus(facts.clone(), ms(1));
    assert_eq!(operations(&mut agent), []);
    facts.voters_committed = true;
    agent.consensus(facts, ms(2));
    assert_eq!(operations(&mut agent), [Act::ChangeVoters(vec![StoreId(101), StoreId(102)])]);
}

/// Node 2 has joined with another disk and is gone again; of the two voters that would be left without its
/// first disk, one is dead.
#[test]
fn a_lost_disk_votes_until_the_others_can_do_without() {
    let mut agent = agent();
    let members = [join(1, 1, 101), join(2, 1, 102)];
    let out = [Op::Remove { node: NodeId(2), incarnation: Incarnation(1) }];
    agent.applied(view(&[&members, &out, &[join(2, 2, 202)]]), ms(0));
    agent.consensus(leading(set(&[1, 2, 3]), set(&[])), ms(1));
    assert_eq!(operations(&mut agent), []);
    link(&mut agent, 3, ms(2));
    assert_eq!(operations(&mut agent), [Act::ChangeVoters(vec![StoreId(101), StoreId(103)])]);
}

/// The consensus may refuse at once, before its facts show why.
#[test]
fn what_ended_unknown_is_not_tried_again_at_once() {
    let mut agent = agent();
    agent.applied(view(&[&[join(1, 1, 101), join(2, 1, 102)]]), ms(0));
    link(&mut agent, 2, ms(0));
    agent.consensus(leading(set(&[1, 3]), set(&[])), ms(1));
    let learn = [Act::AddLearner(StoreId(102))];
    assert_eq!(operations(&mut agent), learn);
    agent.done(None, ms(2));
    assert_eq!(operations(&mut agent), []);
    agent.tick(ms(101));
    assert_eq!(operations(&mut agent), []);
    agent.tick(ms(102));
    assert_eq!(operations(&mut agent), learn);
}

/// Node 3 was to vote, and died while it learned.
#[test]
fn who_has_left_does_not_learn_any_more() {
    let mut agent = agent();
    agent.applied(view(&[&[join(1, 1, 101), join(2, 1, 102)]]), ms(0));
    let mut facts = leading(set(&[1]), set(&[]));
    facts.matched = [(StoreId(101), Some(9)), (StoreId(102), Some(1)), (StoreId(103), None)].into();
    agent.consensus(facts, ms(1));
    assert_eq!(operations(&mut agent), [Act::RemoveLearners(vec![StoreId(103)])]);
}

/// Nodes 2 to 4 could vote; node 2 can't be dialled, and node 4 has learned already.
#[test]
fn who_can_be_reached_and_has_learned_votes_first() {
    let mut agent = agent();
    let members = [join(1, 1, 101), join(2, 1, 102), join(3, 1, 103), join(4, 1, 104)];
    agent.applied(view(&[&members]), ms(0));
    for node in [2, 3, 4] {
        link(&mut agent, node, ms(0));
    }
    agent.unlinked(StoreId(102), Incarnation(1), true, ms(0));
    let mut facts = leading(set(&[1, 9]), set(&[]));
    facts.matched = [(StoreId(101), Some(9)), (StoreId(104), Some(7))].into();
    agent.consensus(facts, ms(1));
    let votes = [101, 109, 104].map(StoreId).to_vec();
    assert_eq!(operations(&mut agent), [Act::ChangeVoters(votes)]);
}
