//! A world of processes and disks that the view is told of, and what must never happen in it.

use super::*;
use crate::class::ClassId;
use proptest::prelude::*;
use std::collections::BTreeSet;

const P: PartitionId = PartitionId { class: ClassId(0), index: 0 };

fn node(id: u64) -> NodeId {
    NodeId(id)
}

fn join(id: u64, incarnation: u64, store: u64) -> Op {
    Op::Join {
        node: node(id),
        incarnation: Incarnation(incarnation),
        store: StoreId(store),
        address: "10.0.0.1:7500".into(),
        clients: "10.0.0.1:7400".into(),
        weight: 1,
    }
}

fn remove(id: u64, incarnation: u64) -> Op {
    Op::Remove { node: node(id), incarnation: Incarnation(incarnation) }
}

fn replica(id: u64, incarnation: u64, store: u64) -> Replica {
    Replica { node: node(id), store: StoreId(store), incarnation: Incarnation(incarnation) }
}

fn create(durability: Durability, in_sync: &[Replica]) -> Op {
    Op::Create { partition: P, durability, leader: in_sync[0].node, in_sync: in_sync.to_vec() }
}

fn change(if_epoch: u64, leader: Option<u64>, in_sync: &[Replica]) -> Op {
    Op::Change { partition: P, if_epoch, leader: leader.map(NodeId), in_sync: in_sync.to_vec() }
}

fn renew(if_epoch: u64, in_sync: &[Replica], abandon: bool) -> Op {
    Op::Renew { partition: P, if_epoch, leader: in_sync[0].node, in_sync: in_sync.to_vec(), abandon }
}

/// Applies one op; the refusal, if any.
fn one(view: &mut View, op: Op) -> Option<Refusal> {
    let outcome = view.apply(&Batch { if_epoch: None, ops: vec![op] });
    outcome.refused.first().map(|(_, refusal)| *refusal)
}

/// Three members, all in sync, the first leads.
fn three(durability: Durability) -> View {
    let mut view = View::default();
    let all = [replica(1, 1, 11), replica(2, 1, 12), replica(3, 1, 13)];
    let ops = vec![join(1, 1, 11), join(2, 1, 12), join(3, 1, 13), create(durability, &all)];
    let outcome = view.apply(&Batch { if_epoch: Some(0), ops });
    assert_eq!(outcome, Outcome { epoch: 1, changed: true, refused: vec![] });
    view
}

#[test]
fn a_batch_is_one_epoch_and_what_is_so_already_makes_none() {
    let mut view = three(Durability::Memory);
    let again = Batch { if_epoch: None, ops: vec![join(1, 1, 11), join(2, 1, 12)] };
    assert_eq!(view.apply(&again), Outcome { epoch: 1, changed: false, refused: vec![] });
    let late = Batch { if_epoch: Some(0), ops: vec![remove(3, 1)] };
    assert_eq!(view.apply(&late).refused, [(0, Refusal::OtherView(1))]);
}

/// Only a new run, or having been gone, makes it a member anew.
#[test]
fn a_member_knows_the_epoch_in_which_it_joined() {
    let mut view = three(Durability::Memory);
    assert_eq!(one(&mut view, remove(2, 1)), None);
    assert_eq!(one(&mut view, join(1, 1, 11)), None);
    assert_eq!(one(&mut view, Op::Drain { node: node(3), incarnation: Incarnation(1) }), None);
    let joined = |view: &View| view.members.values().map(|member| member.joined).collect::<Vec<_>>();
    assert_eq!((view.epoch, joined(&view)), (3, vec![1, 1]));
    assert_eq!(one(&mut view, join(2, 1, 12)), None);
    assert_eq!(one(&mut view, join(1, 2, 11)), None);
    assert_eq!(joined(&view), [5, 4, 1]);
    let decided = |id, joined| view.has_decided(node(id), joined);
    assert_eq!([decided(2, 1), decided(2, 4), decided(2, 6)], [true, false, false]);
    assert_eq!([decided(4, 5), decided(4, 6)], [true, false], "by a view from before");
}

#[test]
fn an_earlier_run_does_not_join() {
    let mut view = three(Durability::Memory);
    assert_eq!(one(&mut view, join(1, 5, 11)), None);
    assert_eq!(one(&mut view, join(1, 4, 11)), Some(Refusal::StaleIncarnation(node(1), Incarnation(5))));
    assert_eq!(one(&mut view, join(1, 5, 99)), Some(Refusal::StaleIncarnation(node(1), Incarnation(5))));
    assert_eq!(one(&mut view, join(4, 1, 12)), Some(Refusal::StoreTaken(node(2))));
    // Nor once it is gone; the run that went may come back.
    assert_eq!(one(&mut view, remove(1, 5)), None);
    assert_eq!(one(&mut view, join(1, 4, 11)), Some(Refusal::StaleIncarnation(node(1), Incarnation(5))));
    assert_eq!(one(&mut view, join(1, 5, 11)), None);
}

#[test]
fn a_leader_that_restarts_leads_no_more_and_has_nothing() {
    let mut view = three(Durability::Memory);
    assert_eq!(one(&mut view, join(1, 2, 11)), None);
    let record = &view.records()[&P];
    assert_eq!((record.leader, record.partition_epoch, record.leader_epoch), (None, 2, 2));
    assert_eq!(record.in_sync, [replica(2, 1, 12), replica(3, 1, 13)]);
    let back = [replica(1, 2, 11), replica(2, 1, 12)];
    assert_eq!(one(&mut view, change(2, Some(1), &back)), Some(Refusal::NotInSync(node(1))));
    assert_eq!(one(&mut view, change(1, Some(2), &back)), Some(Refusal::StaleEpoch(2)));
    assert_eq!(one(&mut view, change(2, Some(2), &back)), None);
    assert_eq!(one(&mut view, change(3, Some(1), &back)), None);
    assert_eq!(view.records()[&P].leader_epoch, 4);
}

#[test]
fn what_is_on_a_disk_survives_its_process_and_not_its_disk() {
    let mut view = three(Durability::Disk);
    assert_eq!(one(&mut view, join(1, 2, 11)), None);
    assert_eq!(view.records()[&P].in_sync.len(), 3);
    assert_eq!(view.records()[&P].leader, None);
    assert_eq!(one(&mut view, change(2, Some(1), &[replica(1, 1, 11)])), Some(Refusal::NotCurrent(node(1))));
    assert_eq!(one(&mut view, change(2, Some(1), &[replica(1, 2, 11)])), None);
    assert_eq!(one(&mut view, join(1, 3, 14)), Some(Refusal::OtherDisk(node(1))));
    assert_eq!(one(&mut view, remove(1, 2)), None);
    assert_eq!(one(&mut view, join(1, 3, 14)), None);
    assert_eq!(one(&mut view, change(4, Some(1), &[replica(1, 3, 14)])), Some(Refusal::NotInSync(node(1))));
    assert_eq!(one(&mut view, renew(4, &[replica(2, 1, 12)], false)), None);
    let record = &view.records()[&P];
    assert_eq!((record.generation, record.leader, record.leader_epoch), (Generation(2), Some(node(2)), 5));
}

#[test]
fn the_last_copy_stays_recorded_until_it_is_dead_or_given_up() {
    let mut view = three(Durability::Memory);
    for (id, epoch) in [(1, 2), (2, 3), (3, 4)] {
        assert_eq!(one(&mut view, remove(id, 1)), None);
        // The last one goes from the leadership only, and it had none.
        let expected = if id == 3 { 3 } else { epoch };
        assert_eq!(view.records()[&P].partition_epoch, expected);
    }
    assert_eq!(view.records()[&P].in_sync, [replica(3, 1, 13)]);
    assert_eq!(one(&mut view, join(1, 2, 11)), None);
    let fresh = [replica(1, 2, 11)];
    assert_eq!(one(&mut view, change(3, None, &fresh)), Some(Refusal::NoneLeft));
    assert_eq!(one(&mut view, renew(3, &fresh, false)), Some(Refusal::NotDead(node(3))));
    let mut abandoned = view.clone();
    assert_eq!(one(&mut abandoned, renew(3, &fresh, true)), None);
    // It comes back as it was, and leads.
    let mut returned = view.clone();
    assert_eq!(one(&mut returned, join(3, 1, 13)), None);
    assert_eq!(one(&mut returned, change(3, Some(3), &[replica(3, 1, 13)])), None);
    assert_eq!(returned.records()[&P].generation, Generation(1));
    // It comes back without.
    assert_eq!(one(&mut view, join(3, 2, 13)), None);
    assert_eq!(one(&mut view, renew(3, &fresh, false)), None);
    assert_eq!(view.records()[&P].generation, Generation(2));
}

#[test]
fn what_makes_no_member_is_refused() {
    let mut view = View::default();
    let odd = |address: &str, weight| Op::Join {
        node: node(1),
        incarnation: Incarnation(1),
        store: StoreId(1),
        address: address.into(),
        clients: "".into(),
        weight,
    };
    for op in [odd("", 1), odd(&"x".repeat(256), 1), odd("a:1", 0), odd("a:1", 9)] {
        assert_eq!(one(&mut view, op), Some(Refusal::BadMember));
    }
    for id in 0..100 {
        assert_eq!(one(&mut view, join(id, 1, id)), None);
    }
    assert_eq!(one(&mut view, join(100, 1, 100)), Some(Refusal::TooManyMembers));
    assert_eq!(one(&mut view, remove(100, 1)), Some(Refusal::NoSuchMember(node(100))));
    assert_eq!(
        one(&mut view, create(Durability::Memory, &[replica(1, 1, 1), replica(1, 1, 1)])),
        Some(Refusal::NotCurrent(node(1)))
    );
    assert_eq!(one(&mut view, change(1, None, &[replica(1, 1, 1)])), Some(Refusal::NotBegun));
}

#[test]
fn a_disk_is_lost_when_its_node_joins_with_another_or_an_operator_says_so() {
    let mut view = three(Durability::Memory);
    assert_eq!(one(&mut view, remove(1, 1)), None);
    assert_eq!(one(&mut view, join(1, 2, 21)), None);
    assert!(view.is_lost(StoreId(11)) && !view.is_lost(StoreId(21)));
    assert_eq!(one(&mut view, Op::Lose { node: node(2) }), Some(Refusal::NotGone(node(2))));
    assert_eq!(one(&mut view, remove(2, 1)), None);
    assert_eq!(one(&mut view, Op::Lose { node: node(2) }), None);
    assert!(view.is_lost(StoreId(12)));
    // It was found again.
    assert_eq!(one(&mut view, join(2, 2, 12)), None);
    assert!(!view.is_lost(StoreId(12)));
    for id in 0..2 * LOST_MAX as u64 {
        assert_eq!(one(&mut view, remove(3, 1 + id)), None);
        assert_eq!(one(&mut view, join(3, 2 + id, 100 + id)), None);
    }
    assert_eq!(view.lost.len(), LOST_MAX);
    assert!(view.is_lost(StoreId(98 + 2 * LOST_MAX as u64)));
}

/// It is started twice under one name: the first may be alive, and lead. Nobody has promised anything.
#[test]
fn a_member_with_another_disk_has_to_be_taken_out_before_it_joins() {
    let mut view = three(Durability::Disk);
    let before = view.clone();
    assert_eq!(one(&mut view, join(1, 2, 21)), Some(Refusal::OtherDisk(node(1))));
    assert_eq!(view, before);
    assert_eq!(view.records()[&P].leader, Some(node(1)));
    assert_eq!(one(&mut view, remove(1, 1)), None);
    assert_eq!(one(&mut view, join(1, 2, 21)), None);
}

/// A node is given another name, and its old name to another disk: its own is with the cluster as before.
#[test]
fn a_disk_that_is_here_under_another_name_is_not_lost() {
    let mut view = three(Durability::Memory);
    assert_eq!(one(&mut view, remove(1, 1)), None);
    assert_eq!(one(&mut view, join(9, 1, 11)), None);
    assert_eq!(one(&mut view, join(1, 2, 21)), None);
    assert!(!view.is_lost(StoreId(11)));
}

/// Only so many of those who have gone are remembered.
#[test]
fn the_departed_are_bounded() {
    let mut view = View::default();
    for id in 0..2 * DEPARTED_MAX as u64 {
        view.apply(&Batch { if_epoch: None, ops: vec![join(id, 1, id)] });
        view.apply(&Batch { if_epoch: None, ops: vec![remove(id, 1)] });
    }
    assert_eq!(view.departed.len(), DEPARTED_MAX);
    assert!(view.departed.contains_key(&node(2 * DEPARTED_MAX as u64 - 1)));
}

/// The reference: who really has the history of each partition. It knows nothing of records, only
/// of runs and disks, and of what a change means for copies.
#[derive(Default)]
struct World {
    runs: BTreeMap<NodeId, (Incarnation, StoreId)>,
    holders: BTreeMap<PartitionId, (Durability, BTreeSet<Replica>)>,
}

impl World {
    /// An op was accepted.
    fn accepted(&mut self, op: &Op) {
        match op {
            Op::Join { node, incarnation, store, .. } => {
                self.runs.insert(*node, (*incarnation, *store));
                for (durability, holders) in self.holders.values_mut() {
                    let dies = |replica: &Replica| {
                        let run = *durability == Durability::Memory && replica.incarnation != *incarnation;
                        replica.node == *node && (replica.store != *store || run)
                    };
                    holders.retain(|replica| !dies(replica));
                }
            }
            Op::Create { partition, durability, in_sync, .. } => {
                self.holders.insert(*partition, (*durability, in_sync.iter().copied().collect()));
            }
            // Whoever is put in sync has copied all of it.
            Op::Change { partition, in_sync, .. } | Op::Renew { partition, in_sync, .. } => {
                let Some((_, holders)) = self.holders.get_mut(partition) else { return };
                *holders = in_sync.iter().copied().collect();
            }
            // What is committed from here on, others commit without it, as long as there are any.
            Op::Remove { node, .. } => {
                for (_, holders) in self.holders.values_mut() {
                    if holders.iter().any(|holder| holder.node != *node) {
                        holders.retain(|holder| holder.node != *node);
                    }
                }
            }
            Op::Drain { .. } | Op::Lose { .. } => {}
        }
    }

    fn holds(&self, partition: PartitionId, node: NodeId) -> bool {
        let Some((durability, holders)) = self.holders.get(&partition) else { return false };
        let Some((incarnation, store)) = self.runs.get(&node) else { return false };
        holders.iter().any(|holder| {
            let run = holder.incarnation == *incarnation || *durability == Durability::Disk;
            holder.node == node && holder.store == *store && run
        })
    }
}

/// A number near what is right, so that most ops are nearly right.
fn near() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(0u64), 1 => Just(1u64), 1 => Just(u64::MAX)]
}

/// What is drawn of an op; the rest is taken from the view, to be right most of the time.
#[derive(Clone, Debug)]
struct Draw {
    what: u8,
    node: u64,
    off: u64,
    new_store: bool,
    partition: u16,
    set: Vec<(u64, u64)>,
    leader: Option<usize>,
    durability: bool,
    abandon: bool,
}

fn draw() -> impl Strategy<Value = Draw> {
    let set = proptest::collection::vec((0u64..4, near()), 0..4);
    let leader = proptest::option::weighted(0.8, 0usize..3);
    (
        0u8..12,
        0u64..4,
        near(),
        any::<bool>(),
        0u16..2,
        set,
        leader,
        any::<bool>(),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(what, node, off, new_store, partition, set, leader, durability, abandon)| Draw {
            what,
            node,
            off,
            new_store,
            partition,
            set,
            leader,
            durability,
            abandon,
        })
}

impl Draw {
    fn op(&self, view: &View, stores: &mut u64) -> Op {
        let id = node(self.node);
        let last = view.members.get(&id).map(|member| (member.incarnation.0, member.store.0));
        let last = last.or_else(|| view.departed.get(&id).map(|gone| (gone.incarnation.0, gone.store.0)));
        let partition = PartitionId { class: ClassId(0), index: self.partition };
        let epoch = view.records.get(&partition).map_or(0, |record| record.partition_epoch);
        let if_epoch = epoch.wrapping_add(self.off);
        let in_sync: Vec<Replica> = self
            .set
            .iter()
            .map(|(id, off)| {
                let member = view.members.get(&node(*id));
                let (incarnation, store) =
                    member.map_or((1, 0), |member| (member.incarnation.0, member.store.0));
                replica(*id, incarnation.wrapping_add(*off), store)
            })
            .collect();
        let leader = self.leader.and_then(|at| in_sync.get(at)).map(|replica| replica.node);
        let some_leader = leader.unwrap_or(id);
        match self.what {
            0..=2 => {
                let (incarnation, store) = last.unwrap_or((0, 0));
                // That of a member is not often changed: it is refused.
                let new_store = self.new_store && (self.off != 0 || !view.members.contains_key(&id));
                let store = if new_store || store == 0 {
                    *stores += 1;
                    *stores
                } else {
                    store
                };
                join(self.node, incarnation.wrapping_add(1).wrapping_add(self.off), store)
            }
            3 => match last {
                Some((incarnation, store)) => join(self.node, incarnation.wrapping_add(self.off), store),
                None => remove(self.node, 1),
            },
            4 => remove(self.node, last.map_or(1, |(incarnation, _)| incarnation.wrapping_add(self.off))),
            5 => Op::Drain {
                node: id,
                incarnation: Incarnation(last.map_or(1, |(incarnation, _)| incarnation)),
            },
            6 => {
                let durability = if self.durability { Durability::Disk } else { Durability::Memory };
                Op::Create { partition, durability, leader: some_leader, in_sync }
            }
            7..=10 => Op::Change { partition, if_epoch, leader, in_sync },
            _ => Op::Renew { partition, if_epoch, leader: some_leader, in_sync, abandon: self.abandon },
        }
    }
}

fn check(view: &View, before: &View, world: &World) {
    for (partition, record) in &view.records {
        assert!(!record.in_sync.is_empty(), "{partition:?} has nobody in sync");
        let nodes: BTreeSet<NodeId> = record.in_sync.iter().map(|replica| replica.node).collect();
        assert_eq!(nodes.len(), record.in_sync.len(), "{partition:?} has two copies on a node");
        assert!(record.leader_epoch <= record.partition_epoch);
        if let Some(leader) = record.leader {
            assert!(
                nodes.contains(&leader) && view.members.contains_key(&leader),
                "{leader:?} leads {partition:?}"
            );
            assert!(world.holds(*partition, leader), "{leader:?} leads {partition:?} without its history");
        }
        let Some(old) = before.records.get(partition) else { continue };
        assert!(record.partition_epoch >= old.partition_epoch);
        assert_eq!(record == old, record.partition_epoch == old.partition_epoch, "{old:?} became {record:?}");
        if record.leader != old.leader && record.leader.is_some() {
            assert!(record.leader_epoch > old.leader_epoch, "two leaders of one epoch");
        }
    }
    for (id, member) in &view.members {
        let same = before.members.get(id).is_none_or(|old| old.store == member.store);
        assert!(same, "{id:?} has another disk, and its earlier one was not taken out");
    }
    let runs = |view: &View| -> BTreeMap<NodeId, Incarnation> {
        let gone = view.departed.iter().map(|(id, gone)| (*id, gone.incarnation));
        gone.chain(view.members.iter().map(|(id, member)| (*id, member.incarnation))).collect()
    };
    let now = runs(view);
    for (id, run) in runs(before) {
        assert!(now.get(&id) >= Some(&run), "{id:?} went back from {run:?} to {:?}", now.get(&id));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_leads_without_the_history(batches in proptest::collection::vec(proptest::collection::vec(draw(), 1..4), 1..40)) {
        let (mut view, mut world, mut stores) = (View::default(), World::default(), 0);
        let mut log = Vec::new();
        for draws in batches {
            let before = view.clone();
            let ops: Vec<Op> = draws.iter().map(|draw| draw.op(&before, &mut stores)).collect();
            let batch = Batch { if_epoch: None, ops };
            let mut alone = before.clone();
            let outcome = view.apply(&batch);
            // One by one they do the same; what was refused has changed nothing.
            for (at, op) in batch.ops.iter().enumerate() {
                let was = alone.clone();
                let single = alone.apply(&Batch { if_epoch: None, ops: vec![op.clone()] });
                let refused = outcome.refused.iter().any(|(place, _)| *place == at);
                prop_assert_eq!(refused, !single.refused.is_empty());
                if refused {
                    prop_assert_eq!(&was, &alone);
                } else {
                    if let Op::Renew { partition, abandon: false, .. } = op {
                        let alive = world.holders[partition].1.len();
                        prop_assert_eq!(alive, 0, "{:?} began again, and {} copies live", partition, alive);
                    }
                    if let Op::Change { partition, if_epoch, .. } | Op::Renew { partition, if_epoch, .. } = op {
                        prop_assert_eq!(*if_epoch, was.records[partition].partition_epoch);
                    }
                    if let Op::Change { partition, leader, in_sync, .. } = op {
                        let holds = |node: NodeId| world.holds(*partition, node);
                        prop_assert!(leader.is_none_or(holds), "{:?} leads without the history", leader);
                        prop_assert!(in_sync.iter().any(|replica| holds(replica.node)), "nobody has the history");
                    }
                    world.accepted(op);
                }
                check(&alone, &was, &world);
            }
            prop_assert_eq!(outcome.epoch, before.epoch + u64::from(outcome.changed));
            let mut same = view.clone();
            same.epoch = before.epoch;
            for departed in same.departed.values_mut() {
                departed.at = 0;
            }
            let mut old = before.clone();
            for departed in old.departed.values_mut() {
                departed.at = 0;
            }
            if !outcome.changed {
                prop_assert_eq!(same, old);
            }
            log.push(batch);
        }
        let mut again = View::default();
        for batch in &log {
            again.apply(batch);
        }
        prop_assert_eq!(again, view);
    }
}
