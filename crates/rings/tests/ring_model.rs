//! One ring against a `VecDeque`, on one thread: what is popped, and who has how much room.

use std::collections::VecDeque;

use multibeam_rings::mpsc::ring;
use multibeam_rings::{Lane, Quota};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// A producer pushes so many commands and replies, or as many as it may.
    Push {
        by: usize,
        commands: usize,
        replies: usize,
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
    prop_oneof![
        4 => (any::<usize>(), 0..4_usize, 0..3_usize)
            .prop_map(|(by, commands, replies)| Step::Push { by, commands, replies }),
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
                Step::Push { by, commands, replies } => {
                    let by = by % quotas.len();
                    let account = &mut accounts[by];
                    let commands = commands.min(quotas[by].commands - account.commands);
                    let replies = replies.min(quotas[by].replies - account.replies);
                    account.commands += commands;
                    account.replies += replies;
                    let lanes = std::iter::repeat_n(Lane::Reply, replies)
                        .chain(std::iter::repeat_n(Lane::Command, commands));
                    let mut batch: Vec<_> = lanes.zip(next_item..).collect();
                    next_item += batch.len() as u64;
                    queue.extend(batch.iter().map(|&(lane, item)| (by, lane, item)));
                    producers[by].push_batch(&mut batch);
                    prop_assert!(batch.is_empty());
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
#[should_panic(expected = "without room")]
fn command_beyond_the_quota_panics() {
    let (mut producers, _consumer) = ring(&[QUOTA, QUOTA]);
    producers[1].push_batch(&mut vec![(Lane::Command, 1), (Lane::Command, 2), (Lane::Command, 3)]);
}

#[test]
#[should_panic(expected = "nobody set a slot aside")]
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
