//! A mesh against one `VecDeque` a participant, on one thread.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use multibeam_rings::mailbox::FLUSH_ITEMS_MAX;
use multibeam_rings::{Endpoint, Lane, Quota, Wake, mesh};
use proptest::prelude::*;

const PARTICIPANTS: usize = 3;
const QUOTA: Quota = Quota { commands: 20, replies: 4 };

/// Counts the wakes of a participant.
#[derive(Debug, Default, Clone)]
struct Wakes(Rc<Cell<usize>>);

impl Wake for Wakes {
    fn wake(&self) {
        self.0.set(self.0.get() + 1);
    }
}

fn three(quota: Quota) -> [Endpoint<u64, Wakes>; PARTICIPANTS] {
    let wakes = std::iter::repeat_with(Wakes::default).take(PARTICIPANTS);
    let endpoints = mesh(|_, _| quota, wakes.collect());
    <[_; PARTICIPANTS]>::try_from(endpoints).expect("an endpoint each")
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Push { from: usize, to: usize, count: usize },
    Reply { from: usize, to: usize },
    Flush { from: usize },
    Pop { at: usize, count: usize },
    Released { at: usize },
    WantRoom { from: usize, to: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..PARTICIPANTS;
    prop_oneof![
        4 => (who.clone(), who.clone(), 1..20_usize).prop_map(|(from, to, count)| Step::Push { from, to, count }),
        1 => (who.clone(), who.clone()).prop_map(|(from, to)| Step::Reply { from, to }),
        2 => who.clone().prop_map(|from| Step::Flush { from }),
        3 => (who.clone(), 1..30_usize).prop_map(|(at, count)| Step::Pop { at, count }),
        1 => who.clone().prop_map(|at| Step::Released { at }),
        1 => (who.clone(), who).prop_map(|(from, to)| Step::WantRoom { from, to }),
    ]
}

/// The reference: queues and outboxes by destination, and what is outstanding by lane.
#[derive(Debug, Default)]
struct Reference {
    rings: [VecDeque<(usize, Lane, u64)>; PARTICIPANTS],
    outboxes: [[Vec<(Lane, u64)>; PARTICIPANTS]; PARTICIPANTS],
    /// By sender, then destination: pushed and not released.
    commands: [[usize; PARTICIPANTS]; PARTICIPANTS],
    replies: [[usize; PARTICIPANTS]; PARTICIPANTS],
    popped: [Vec<(usize, Lane)>; PARTICIPANTS],
    wishes: [[bool; PARTICIPANTS]; PARTICIPANTS],
}

impl Reference {
    fn push(&mut self, from: usize, to: usize, lane: Lane, item: u64) {
        match lane {
            Lane::Command => self.commands[from][to] += 1,
            Lane::Reply => self.replies[from][to] += 1,
        }
        self.outboxes[from][to].push((lane, item));
        if self.outboxes[from][to].len() == FLUSH_ITEMS_MAX {
            self.flush_to(from, to);
        }
    }

    fn flush_to(&mut self, from: usize, to: usize) {
        self.release(from);
        let items = self.outboxes[from][to].drain(..);
        self.rings[to].extend(items.map(|(lane, item)| (from, lane, item)));
    }

    fn pop(&mut self, at: usize) -> Option<(usize, u64)> {
        let (from, lane, item) = self.rings[at].pop_front()?;
        self.popped[at].push((from, lane));
        Some((from, item))
    }

    fn release(&mut self, at: usize) {
        for (from, lane) in self.popped[at].drain(..) {
            match lane {
                Lane::Command => self.commands[from][at] -= 1,
                Lane::Reply => self.replies[from][at] -= 1,
            }
        }
    }

    fn room(&self, from: usize, to: usize) -> usize {
        QUOTA.commands - self.commands[from][to]
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mesh_behaves_like_queues(steps in proptest::collection::vec(step(), 0..150)) {
        let mut ends = three(QUOTA);
        let mut reference = Reference::default();
        let mut items = 0_u64..;
        for step in steps {
            match step {
                Step::Push { from, to, count } => {
                    for item in items.by_ref().take(count.min(reference.room(from, to))) {
                        ends[from].push(to as u16, Lane::Command, item);
                        reference.push(from, to, Lane::Command, item);
                    }
                }
                Step::Reply { from, to } => {
                    if reference.replies[from][to] < QUOTA.replies {
                        let item = items.next().expect("endless");
                        ends[from].push(to as u16, Lane::Reply, item);
                        reference.push(from, to, Lane::Reply, item);
                    }
                }
                Step::Flush { from } => {
                    ends[from].flush();
                    (0..PARTICIPANTS).for_each(|to| reference.flush_to(from, to));
                }
                Step::Pop { at, count } => {
                    for _ in 0..count {
                        let popped = ends[at].pop().map(|(from, item)| (usize::from(from), item));
                        prop_assert_eq!(popped, reference.pop(at));
                    }
                }
                Step::Released { at } => {
                    ends[at].released();
                    reference.release(at);
                }
                Step::WantRoom { from, to } => {
                    let has_room = ends[from].want_room(to as u16);
                    reference.flush_to(from, to);
                    prop_assert_eq!(has_room, reference.room(from, to) > 0);
                    reference.wishes[from][to] = !has_room;
                }
            }
            for (from, end) in ends.iter_mut().enumerate() {
                let granted: Vec<_> = std::iter::from_fn(|| end.granted()).map(usize::from).collect();
                let expected: Vec<_> = (0..PARTICIPANTS)
                    .filter(|&to| reference.wishes[from][to] && reference.room(from, to) > 0)
                    .collect();
                expected.iter().for_each(|&to| reference.wishes[from][to] = false);
                prop_assert_eq!(granted, expected);
                for to in 0..PARTICIPANTS {
                    prop_assert_eq!(end.room(to as u16), reference.room(from, to));
                }
                prop_assert_eq!(end.is_empty(), reference.rings[from].is_empty());
            }
        }
    }
}

#[test]
fn only_a_sleeper_is_rung_and_once_a_batch() {
    let [mut a, mut b, mut c] = three(QUOTA);
    let wakes = b.wake().0.clone();
    a.push(1, Lane::Command, 1);
    a.flush();
    assert_eq!(wakes.get(), 0, "awake");
    assert_eq!(b.pop(), Some((0, 1)));
    b.released();
    b.arm();
    assert!(b.is_empty());
    a.push(1, Lane::Command, 2);
    a.push(1, Lane::Command, 3);
    assert!(b.is_empty() && wakes.get() == 0, "collected only");
    a.flush();
    c.push(1, Lane::Command, 4);
    c.flush();
    assert_eq!(wakes.get(), 1, "two batches, one sleep");
    assert!(!b.is_empty());
    b.disarm();
    c.push(1, Lane::Command, 5);
    c.flush();
    assert_eq!(wakes.get(), 1, "awake again");
    while b.pop().is_some() {}
    b.released();
    b.arm();
    b.disarm();
    c.push(1, Lane::Command, 6);
    c.flush();
    assert_eq!(wakes.get(), 1, "did not sleep after all");
}

#[test]
fn grant_rings_the_sender_that_sleeps_and_keeps_it_awake() {
    let [mut a, mut b, _c] = three(Quota { commands: 1, replies: 1 });
    let wakes = a.wake().0.clone();
    a.push(1, Lane::Command, 1);
    assert!(!a.want_room(1));
    a.arm();
    assert!(a.is_empty());
    assert_eq!(b.pop(), Some((0, 1)));
    assert_eq!(wakes.get(), 0);
    b.released();
    assert_eq!(wakes.get(), 1);
    assert!(!a.is_empty(), "there is a grant to take up");
    a.disarm();
    assert_eq!((a.granted(), a.granted()), (Some(1), None));
    assert!(a.is_empty());
    // The wish is answered before the sleep: no ring, and no sleep either.
    a.push(1, Lane::Command, 2);
    assert!(!a.want_room(1));
    assert_eq!(b.pop(), Some((0, 2)));
    b.released();
    a.arm();
    assert!(!a.is_empty() && wakes.get() == 1);
}

#[test]
fn reply_slot_is_free_once_the_next_request_is_there() {
    let [mut a, mut b, _c] = three(Quota { commands: 8, replies: 1 });
    a.push(1, Lane::Command, 0);
    for request in 1..20 {
        a.flush();
        let (from, asked) = b.pop().expect("a request");
        b.push(from, Lane::Reply, asked);
        b.flush();
        assert_eq!(a.pop(), Some((1, asked)));
        a.push(1, Lane::Command, request);
    }
}

#[test]
#[should_panic(expected = "no room for a command")]
fn push_without_room_panics_even_if_nothing_is_flushed() {
    let [mut a, ..] = three(Quota { commands: 1, replies: 1 });
    a.push(2, Lane::Command, 1);
    a.push(2, Lane::Command, 2);
}

#[test]
#[should_panic(expected = "items collected")]
fn sleep_on_collected_items_panics() {
    let [mut a, ..] = three(QUOTA);
    a.push(2, Lane::Command, 1);
    a.arm();
}

#[test]
#[should_panic(expected = "room that was not given back")]
fn sleep_on_unreleased_room_panics() {
    let [mut a, ..] = three(QUOTA);
    a.push(0, Lane::Command, 1);
    a.flush();
    assert_eq!(a.pop(), Some((0, 1)));
    a.arm();
}
