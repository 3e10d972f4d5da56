//! A voter's side of leases (R7): whom it lets lead, and whom it has promised to let lead no more.
//!
//! A promise holds from when it is made and counts from when it is durable *and* `lease × 1.1` has passed since
//! the last grant that it ends. It is about a node since it joined in some epoch, and is over exactly when this
//! voter has a view in which the node is taken out or has joined again: whatever views it sees or skips.
//!
//! Such a view may be ahead of what the voter finds again after a start: another node has told it, or how much of
//! the log is committed was not written yet. By an older view it would grant what it had promised not to. So how far
//! promises have ended is kept with those that have not, and nothing is granted by a view from before.

use super::outlasts;
use crate::planted::{self, Bug};
use crate::time::Time;
use crate::view::View;
use multibeam_wire::link::{Incarnation, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Promises at a time: one for each node that can be a member, and as many that came in later runs.
const PROMISES_MAX: usize = 2 * crate::placement::MEMBERS_MAX;

/// A node that is to lead no more: in which run, and since which epoch it is a member. What it was before, in any
/// run, goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// Who.
    pub node: NodeId,
    /// Its run.
    pub incarnation: Incarnation,
    /// The epoch in which it joined.
    pub joined: u64,
}

/// A steward's wish for a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// About whom.
    pub given_up: GivenUp,
    /// Also if the voter hears it.
    pub forced: bool,
}

/// What a voter answers to the wish for a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Promise {
    /// Made; it counts in so many microseconds.
    Made {
        /// 0: now.
        counts_in_us: u64,
    },
    /// The voter hears that node, and lets it lead.
    Heard,
    /// It has promised so much that it can't keep more.
    TooMany,
}

/// A file of promises that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the promises of this voter are damaged")]
pub struct UnreadablePromises;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Grantor {
    lease: Duration,
    /// Counts as the last grant to everybody: the run before may have granted until then.
    started: Time,
    /// How long grants of earlier runs were, until they have run out.
    lease_before: Duration,
    granted: BTreeMap<NodeId, (Incarnation, Time)>,
    /// The newest run of each node that is let lead no more, and the epoch in which that joined.
    promised: BTreeMap<NodeId, (Incarnation, u64)>,
    /// The epoch by which promises were over that are not there any more; by an older view nothing is granted.
    ended: u64,
}

/// What outlives a run: how long grants are that may be in force, in microseconds, how far promises have ended, and
/// those that have not.
type Durable<T> = (u64, u64, T);

impl Grantor {
    /// A voter that starts at `now` with the promises of its earlier runs.
    ///
    /// # Errors
    /// They can't be read; nothing may be granted without them.
    pub fn new(lease: Duration, promises: Option<&[u8]>, now: Time) -> Result<Self, UnreadablePromises> {
        let (lease_us, mut ended, mut promised): Durable<BTreeMap<_, _>> = match promises {
            Some(bytes) => postcard::from_bytes(bytes).map_err(|_| UnreadablePromises)?,
            None => Durable::default(),
        };
        if planted::on(Bug::PromiseForgottenOnRestart) {
            promised.clear();
        }
        if planted::on(Bug::EndedForgottenOnRestart) {
            ended = 0;
        }
        let lease_before = Duration::from_micros(lease_us);
        Ok(Self { lease, started: now, lease_before, granted: BTreeMap::new(), promised, ended })
    }

    /// The promises, to be made durable before anything is granted, and before an answer says that they were made.
    #[must_use]
    pub fn promises(&self) -> Vec<u8> {
        let lease_us = u64::try_from(self.lease_in_force().as_micros()).unwrap_or(u64::MAX);
        let durable: Durable<&BTreeMap<_, _>> = (lease_us, self.ended, &self.promised);
        let bytes = postcard::to_extend(&durable, Vec::new());
        bytes.expect("postcard fails only where a sequence has no length, and a map has one")
    }

    /// The longest grant that this run or one before may have made.
    fn lease_in_force(&self) -> Duration {
        self.lease.max(self.lease_before)
    }

    /// Whether a run of a node may lead, by the view that this voter has applied.
    pub fn grant(&mut self, node: NodeId, incarnation: Incarnation, view: &View, now: Time) -> bool {
        let Some(member) = view.members().get(&node) else { return false };
        let current = member.incarnation == incarnation
            || (planted::on(Bug::StaleIncarnationGranted) && incarnation < member.incarnation);
        if !current || view.epoch() < self.ended || self.has_promised(node, member.joined) {
            return false;
        }
        self.granted.insert(node, (incarnation, now));
        true
    }

    /// From here on that node is granted nothing until it is decided. When the promise counts; `None`: there are too
    /// many.
    pub fn promise(&mut self, GivenUp { node, incarnation, joined }: GivenUp) -> Option<Time> {
        if self.promised.len() >= PROMISES_MAX && !self.promised.contains_key(&node) {
            return None;
        }
        let promised = self.promised.entry(node).or_insert((incarnation, joined));
        if promised.1 < joined {
            *promised = (incarnation, joined);
        }
        let started = if planted::on(Bug::StartIsNoGrant) { Time(0) } else { self.started };
        let before = started + outlasts(self.lease_in_force());
        let last = self.granted.get(&node).map(|(_, at)| *at);
        if planted::on(Bug::PromiseCountsAtOnce) {
            return Some(last.unwrap_or(started));
        }
        Some(last.map_or(before, |last| before.max(last + outlasts(self.lease))))
    }

    /// Whether a node that joined in the epoch `joined` is let lead no more.
    #[must_use]
    pub fn has_promised(&self, node: NodeId, joined: u64) -> bool {
        self.promised.get(&node).is_some_and(|(_, until)| joined <= *until)
    }

    /// Nodes that it has promised to let lead no more, and that nobody has taken out yet.
    pub fn undecided(&self) -> impl Iterator<Item = GivenUp> + '_ {
        let given_up = |(node, (incarnation, joined)): (&NodeId, &(Incarnation, u64))| GivenUp {
            node: *node,
            incarnation: *incarnation,
            joined: *joined,
        };
        self.promised.iter().map(given_up)
    }

    /// Promises that `view` decides are over. What was granted is remembered as long as it may be in force: who
    /// goes and comes back in the same run still has it.
    pub fn applied(&mut self, view: &View, now: Time) {
        let before = self.promised.len();
        self.promised.retain(|node, (_, joined)| !view.has_decided(*node, *joined));
        if self.promised.len() < before {
            self.ended = self.ended.max(view.epoch());
        }
        if now.since(self.started) >= outlasts(self.lease_before) {
            self.lease_before = Duration::ZERO;
        }
        let wait = outlasts(self.lease);
        self.granted.retain(|node, (_, at)| view.members().contains_key(node) || now.since(*at) < wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Batch, Op};
    use multibeam_wire::link::StoreId;

    const LEASE: Duration = Duration::from_millis(400);
    const NODE: NodeId = NodeId(1);
    const RUN: Incarnation = Incarnation(5);

    fn given_up(node: NodeId, incarnation: Incarnation, joined: u64) -> GivenUp {
        GivenUp { node, incarnation, joined }
    }

    fn ms(ms: u64) -> Time {
        Time(ms * 1000)
    }

    fn join(incarnation: u64) -> Op {
        let (store, address, clients) = (StoreId(1), "a:1".into(), "".into());
        Op::Join { node: NODE, incarnation: Incarnation(incarnation), store, address, clients, weight: 1 }
    }

    fn remove(incarnation: u64) -> Op {
        Op::Remove { node: NODE, incarnation: Incarnation(incarnation) }
    }

    /// A view after these, each of which makes an epoch.
    fn after(ops: &[Op]) -> View {
        let mut view = View::default();
        for op in ops {
            assert!(view.apply(&Batch { if_epoch: None, ops: vec![op.clone()] }).changed);
        }
        view
    }

    fn view(incarnation: Incarnation) -> View {
        after(&[join(incarnation.0)])
    }

    fn grantor(now: Time) -> Grantor {
        Grantor::new(LEASE, None, now).unwrap()
    }

    #[test]
    fn a_promise_counts_when_the_last_grant_has_run_out_by_any_clock() {
        let mut grantor = grantor(ms(1000));
        assert_eq!(
            grantor.promise(given_up(NODE, RUN, 1)),
            Some(ms(1440)),
            "the run before may have granted until it ended"
        );
        let mut grantor = Grantor::new(LEASE, None, ms(1000)).unwrap();
        assert!(grantor.grant(NODE, RUN, &view(RUN), ms(2000)));
        assert_eq!(grantor.promise(given_up(NODE, RUN, 1)), Some(ms(2440)));
        assert!(!grantor.grant(NODE, RUN, &view(RUN), ms(2001)), "it was promised");
        assert_eq!(grantor.promise(given_up(NODE, RUN, 1)), Some(ms(2440)), "asked again");
    }

    /// Its leases were longer before its settings were changed.
    #[test]
    fn grants_of_the_run_before_run_out_by_their_own_length() {
        let before = Grantor::new(5 * LEASE, None, ms(0)).unwrap().promises();
        for (granted, counts) in [(None, 3200), (Some(1100), 3200), (Some(3000), 3440)] {
            let mut grantor = Grantor::new(LEASE, Some(&before), ms(1000)).unwrap();
            if let Some(granted) = granted {
                assert!(grantor.grant(NODE, RUN, &view(RUN), ms(granted)));
            }
            assert_eq!(grantor.promise(given_up(NODE, RUN, 1)), Some(ms(counts)), "granted at {granted:?}");
        }
        // A run that is soon over is followed by one that must know.
        let mut short = Grantor::new(LEASE, Some(&before), ms(1000)).unwrap();
        let mut next = Grantor::new(LEASE, Some(&short.promises()), ms(1010)).unwrap();
        assert_eq!(next.promise(given_up(NODE, RUN, 1)), Some(ms(3210)));
        short.applied(&View::default(), ms(3200));
        let mut next = Grantor::new(LEASE, Some(&short.promises()), ms(3210)).unwrap();
        assert_eq!(next.promise(given_up(NODE, RUN, 1)), Some(ms(3650)), "none is left of those");
    }

    #[test]
    fn a_promise_is_for_a_run_and_those_before_and_outlives_the_process() {
        let mut grantor = grantor(ms(0));
        grantor.promise(given_up(NODE, RUN, 3));
        grantor.promise(given_up(NODE, Incarnation(3), 1));
        let mut grantor = Grantor::new(LEASE, Some(&grantor.promises()), ms(10)).unwrap();
        let before = [join(4), remove(4), join(5)];
        assert!(!grantor.grant(NODE, RUN, &after(&before), ms(20)));
        assert!(!grantor.grant(NODE, Incarnation(4), &after(&before[..1]), ms(20)));
        let later = [&before[..], &[join(6)]].concat();
        assert!(grantor.grant(NODE, Incarnation(6), &after(&later), ms(20)));
        assert_eq!(Grantor::new(LEASE, Some(&[0xff]), ms(0)).err(), Some(UnreadablePromises));
    }

    /// Taken out, in a later run, or taken out and back in the same run: the view between is not needed.
    #[test]
    fn a_promise_is_over_with_the_entry_that_decides_it() {
        for (over, back) in [
            (vec![join(5), remove(5)], None),
            (vec![join(5), join(6)], Some(Incarnation(6))),
            (vec![join(5), remove(5), join(5)], Some(RUN)),
        ] {
            let mut grantor = grantor(ms(0));
            grantor.promise(given_up(NODE, RUN, 1));
            grantor.applied(&view(RUN), ms(1));
            assert_eq!(grantor.undecided().collect::<Vec<_>>(), [given_up(NODE, RUN, 1)]);
            let over = after(&over);
            grantor.applied(&over, ms(2));
            assert_eq!(grantor.undecided().count(), 0);
            if let Some(back) = back {
                assert!(grantor.grant(NODE, back, &over, ms(3)));
            }
        }
    }

    /// The view that decided came from another node; after a start this voter has an older one.
    #[test]
    fn what_a_promise_ended_by_is_needed_after_a_start() {
        let ops = [join(5), remove(5), join(5)];
        let mut grantor = grantor(ms(0));
        grantor.promise(given_up(NODE, RUN, 1));
        grantor.applied(&after(&ops[..2]), ms(1));
        assert_eq!(grantor.undecided().count(), 0);
        let mut grantor = Grantor::new(LEASE, Some(&grantor.promises()), ms(10)).unwrap();
        assert!(!grantor.grant(NODE, RUN, &after(&ops[..1]), ms(11)));
        assert!(grantor.grant(NODE, RUN, &after(&ops), ms(12)), "it has joined again since");
    }

    /// The steward has seen the node join again, and this voter only what was before: that decides nothing.
    #[test]
    fn a_promise_outlasts_views_from_before_its_node_joined() {
        let ops = [join(4), remove(4), join(5), remove(5), join(5)];
        let mut grantor = grantor(ms(0));
        grantor.promise(given_up(NODE, RUN, 5));
        for seen in 1..=5 {
            let view = after(&ops[..seen]);
            grantor.applied(&view, ms(1));
            assert!(!grantor.grant(NODE, RUN, &view, ms(1)), "in epoch {seen}");
            assert!(!grantor.grant(NODE, Incarnation(4), &view, ms(1)), "in epoch {seen}");
            assert_eq!(grantor.undecided().count(), 1, "in epoch {seen}");
        }
    }

    /// Others promised, the node was taken out and is back at once, in the same run: it still has this grant.
    #[test]
    fn a_grant_is_remembered_when_the_node_goes_and_comes_back() {
        let mut grantor = grantor(ms(0));
        assert!(grantor.grant(NODE, RUN, &view(RUN), ms(2000)));
        grantor.applied(&View::default(), ms(2010));
        grantor.applied(&view(RUN), ms(2020));
        assert_eq!(grantor.promise(given_up(NODE, RUN, 1)), Some(ms(2440)));
        let mut grantor = Grantor::new(LEASE, None, ms(0)).unwrap();
        assert!(grantor.grant(NODE, RUN, &view(RUN), ms(2000)));
        grantor.applied(&View::default(), ms(2440));
        assert_eq!(
            grantor.promise(given_up(NODE, RUN, 1)),
            Some(ms(440)),
            "it has run out, and is forgotten"
        );
    }

    #[test]
    fn promises_are_bounded() {
        let mut grantor = grantor(ms(0));
        for node in 0..PROMISES_MAX as u64 {
            assert!(grantor.promise(given_up(NodeId(node), RUN, 1)).is_some());
        }
        assert_eq!(grantor.promise(given_up(NodeId(PROMISES_MAX as u64), RUN, 1)), None);
        assert!(grantor.promise(given_up(NodeId(0), Incarnation(6), 2)).is_some());
    }
}
