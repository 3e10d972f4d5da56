//! Whom a voter lets lead.

use super::*;
use crate::cluster::LeaseWishes;
use multibeam_wire::link::{Lease, LinkHeartbeat};

/// A heartbeat of node 2; what this one answers.
fn asked(agent: &mut Agent, number: u64, now: Time) -> Lease {
    agent.heartbeat(StoreId(102), &LinkHeartbeat { number, epoch: Epoch(1) }, now)
}

/// By an older one it may know nothing of a takeover that the voters of before have promised and decided.
#[test]
fn a_voter_grants_only_with_a_view_of_its_newest_voters_time() {
    let mut agent = agent();
    agent.applied(view(&[&[join(1, 1, 101), join(2, 1, 102)]]), ms(0));
    link(&mut agent, 2, ms(0));
    for (number, applied) in [(1, 4), (2, 5), (3, 6)] {
        let now = ms(number * 1000);
        agent.consensus(ConsensusFacts { leads: false, applied, ..leading(set(&[1]), set(&[])) }, now);
        let lease = asked(&mut agent, number, now);
        assert_eq!(
            (lease.granted, lease.voters.index),
            (applied >= 5, 5),
            "to another, with {applied} entries"
        );
        agent.tick(now);
        assert_eq!(agent.lease_until(now).is_some(), applied >= 5, "to itself, with {applied} entries");
    }
    assert_eq!(agent.lease_wishes(), LeaseWishes { granted: 2, refused: 1 });
}

#[test]
fn who_has_no_vote_grants_nothing() {
    let mut agent = agent();
    agent.applied(view(&[&[join(1, 1, 101), join(2, 1, 102)]]), ms(0));
    link(&mut agent, 2, ms(0));
    for (number, (present, expected)) in [(&[2][..], false), (&[1, 2], true)].into_iter().enumerate() {
        agent.consensus(ConsensusFacts { leads: false, ..leading(set(present), set(&[])) }, ms(1));
        let lease = asked(&mut agent, number as u64, ms(2));
        assert_eq!(lease.granted, expected, "{present:?} vote");
    }
    assert_eq!(agent.lease_wishes(), LeaseWishes { granted: 1, refused: 0 }, "only a voter is asked");
}
