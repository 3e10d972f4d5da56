//! One ring against a `VecDeque`, on one thread: what is popped, and who has how much room.

use std::collections::VecDeque;

use multibeam_rings::mpsc::{Producer, ring};
use multibeam_rings::{Lane, Quota};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum How {
    OneByOne,
    LaneByLane,
    /// In one batch, the lanes one behind the other.
    Sorted,
    /// In one batch, with as many changes of the lane as can be.
    Mixed,
}

#[derive(Debug, Clone)]
enum Step {
    /// A producer pushes so many commands and replies, or as many as it may.
    Push {
        by: usize,
        commands: usize,
        replies: usize,
        how: How,
    },
    Pop {
        count: usize,
    },
    Release,
    WantRoom {
        by: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop::sample::select(vec![How::OneByOne, How::LaneByLane, How::Sorted, How::Mixed]);
    prop_oneof![
        4 => (any::<usize>(), 0..5_usize, 0..4_usize, how)
            .prop_map(|(by, commands, replies, how)| Step::Push { by, commands, replies, how }),
        3 => (1..8_usize).prop_map(|count| Step::Pop { count }),
        2 => Just(Step::Release),
        1 => any::<usize>().prop_map(|by| Step::WantRoom { by }),
    ]
}

fn quotas() -> impl Strategy<Value = Vec<Quota>> {
    let quota = (1..5_usize, 0..4_usize).prop_map(|(commands, replies)| Quota { commands, replies });
    proptest::collection::vec(quota, 1..5)
}

/// What the reference knows of a producer.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// Pushed and not released, by lane.
    commands: usize,
    replies: usize,
    wants: bool,
}

fn push(producer: &mut Producer<u64>, how: How, mut batch: Vec<(Lane, u64)>) {
    match how {
        How::OneByOne => batch.drain(..).for_each(|(lane, item)| producer.push(lane, item)),
        How::LaneByLane => {
            for of_lane in batch.chunk_by(|(one, _), (other, _)| one == other) {
                let mut items = of_lane.iter().map(|&(_, item)| item).collect();
                producer.push_all(of_lane[0].0, &mut items);
                assert!(items.is_empty());
            }
        }
        How::Sorted | How::Mixed => {
            producer.push_batch(&mut batch);
            assert!(batch.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn ring_behaves_like_a_queue_with_accounts(
        quotas in quotas(),
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let (mut producers, mut consumer) = ring::<u64>(&quotas);
        let mut queue = VecDeque::new();
        let mut popped = Vec::new();
        let mut accounts = vec![Account::default(); quotas.len()];
        let mut next_item = 0;
        for step in steps {
            match step {
                Step::Push { by, commands, replies, how } => {
                    let by = by % quotas.len();
                    let account = &mut accounts[by];
                    let commands = commands.min(quotas[by].commands - account.commands);
                    let replies = replies.min(quotas[by].replies - account.replies);
                    account.commands += commands;
                    account.replies += replies;
                    prop_assert!(producers[by].has_room(commands));
                    let mut lanes = vec![Lane::Reply; replies];
                    lanes.resize(replies + commands, Lane::Command);
                    if matches!(how, How::Mixed) {
                        lanes = (0..commands.max(replies))
                            .flat_map(|at| [(at < commands, Lane::Command), (at < replies, Lane::Reply)])
                            .filter_map(|(is_there, lane)| is_there.then_some(lane))
                            .collect();
                    }
                    let batch: Vec<_> = lanes.into_iter().zip(next_item..).collect();
                    next_item += batch.len() as u64;
                    queue.extend(batch.iter().map(|&(lane, item)| (by, lane, item)));
                    push(&mut producers[by], how, batch);
                }
                Step::Pop { count } => {
                    for _ in 0..count {
                        prop_assert_eq!(consumer.is_empty(), queue.is_empty());
                        let expected = queue.pop_front();
                        popped.extend(expected.map(|(by, lane, _)| (by, lane)));
                        let expected = expected.map(|(by, _, item)| (by, item));
                        prop_assert_eq!(consumer.pop().map(|(by, item)| (usize::from(by), item)), expected);
                    }
                }
                Step::Release => {
                    let mut expected = Vec::new();
                    prop_assert_eq!(consumer.has_unreleased(), !popped.is_empty());
                    for (by, lane) in popped.drain(..) {
                        match lane {
                            Lane::Command => {
                                accounts[by].commands -= 1;
                                if std::mem::take(&mut accounts[by].wants) {
                                    expected.push(by);
                                }
                            }
                            Lane::Reply => accounts[by].replies -= 1,
                        }
                    }
                    let mut named = Vec::new();
                    consumer.release(|by| named.push(usize::from(by)));
                    expected.sort_unstable();
                    named.sort_unstable();
                    prop_assert_eq!(named, expected);
                }
                Step::WantRoom { by } => {
                    let by = by % quotas.len();
                    let has_room = accounts[by].commands < quotas[by].commands;
                    prop_assert_eq!(producers[by].want_room(), has_room);
                    accounts[by].wants = !has_room;
                }
            }
            for ((producer, account), quota) in producers.iter().zip(&accounts).zip(&quotas) {
                prop_assert_eq!(producer.room(), quota.commands - account.commands);
                prop_assert_eq!(producer.is_waiting(), account.wants);
            }
        }
    }
}

const QUOTA: Quota = Quota { commands: 2, replies: 1 };

#[test]
fn popped_reply_answers_no_wish() {
    let (mut producers, mut consumer) = ring(&[QUOTA]);
    producers[0].push_batch(&mut vec![(Lane::Reply, 1), (Lane::Command, 2), (Lane::Command, 3)]);
    assert!(!producers[0].want_room());
    assert_eq!(consumer.pop(), Some((0, 1)));
    consumer.release(|_| unreachable!("this gives no room"));
    assert!(producers[0].is_waiting());
    assert_eq!(consumer.pop(), Some((0, 2)));
    let mut named = None;
    consumer.release(|producer| named = Some(producer));
    assert_eq!((named, producers[0].room()), (Some(0), 1));
}

#[test]
fn batch_longer_than_a_range_is_pushed_in_parts() {
    const ITEMS: usize = 100_000;
    let (mut producers, mut consumer) = ring(&[Quota { commands: ITEMS, replies: 0 }]);
    for lap in 0..3 {
        producers[0].push_all(Lane::Command, &mut (lap..lap + ITEMS).collect());
        assert!(!producers[0].has_room(1));
        for expected in lap..lap + ITEMS {
            assert_eq!(consumer.pop(), Some((0, expected)));
        }
        assert_eq!(consumer.pop(), None);
        consumer.release(|_| unreachable!("nobody wanted room"));
        assert!(producers[0].has_room(ITEMS));
    }
}

#[test]
#[should_panic(expected = "without room")]
fn single_command_beyond_the_quota_panics() {
    let (mut producers, _consumer) = ring(&[QUOTA, QUOTA]);
    (0..3).for_each(|item| producers[1].push(Lane::Command, item));
}

#[test]
#[should_panic(expected = "without room")]
fn command_beyond_the_quota_panics() {
    let (mut producers, _consumer) = ring(&[QUOTA, QUOTA]);
    producers[1].push_batch(&mut vec![(Lane::Command, 1), (Lane::Command, 2), (Lane::Command, 3)]);
}

#[test]
#[should_panic(expected = "lane Reply without room")]
fn reply_beyond_the_quota_panics() {
    let (mut producers, mut consumer) = ring(&[QUOTA, QUOTA]);
    producers[0].push_batch(&mut vec![(Lane::Reply, 1)]);
    // Popped but not released: the slot is not free yet.
    assert_eq!(consumer.pop(), Some((0, 1)));
    producers[0].push_batch(&mut vec![(Lane::Reply, 2)]);
}

#[test]
#[should_panic(expected = "could never push")]
fn quota_without_commands_is_refused() {
    let _ring = ring::<()>(&[Quota { commands: 0, replies: 1 }]);
}
