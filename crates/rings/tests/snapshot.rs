//! The snapshot cell: what readers see, what is kept for them, and that each value is dropped once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use multibeam_rings::snapshot::{Guarded, Publisher, RETIRED_MAX, Readers, cell};
use proptest::prelude::*;

/// Which values were dropped, in that order.
type Graveyard = Arc<Mutex<Vec<u64>>>;

/// A value in two halves that must fit, and do not once it is dropped.
#[derive(Debug)]
struct Value {
    number: u64,
    complement: u64,
    graveyard: Graveyard,
}

impl Value {
    fn new(number: u64, graveyard: &Graveyard) -> Self {
        Self { number, complement: !number, graveyard: Arc::clone(graveyard) }
    }

    /// The number, if the value is whole and alive.
    fn number(&self) -> u64 {
        assert_eq!(self.number, !self.complement);
        self.number
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.graveyard.lock().expect("nobody panics with the lock").push(self.number());
        self.complement = self.number;
    }
}

fn cell_of_zero() -> (Publisher<Value>, Readers<Value>, Graveyard) {
    let graveyard = Graveyard::default();
    let (publisher, readers) = cell(Value::new(0, &graveyard));
    (publisher, readers, graveyard)
}

fn dropped(graveyard: &Graveyard) -> Vec<u64> {
    let mut dropped = graveyard.lock().expect("nobody panics with the lock").clone();
    dropped.sort_unstable();
    dropped
}

#[test]
fn a_version_tells_whether_to_look_again() {
    let (mut publisher, readers) = cell("a".to_owned());
    let reader = readers.register();
    let seen = reader.load().version();
    assert_eq!((seen, reader.version()), (0, 0));
    publisher.publish("b".to_owned()).expect("room");
    assert!(reader.version() > seen);
    let now = reader.load();
    assert_eq!((now.as_str(), now.version()), ("b", 1));
    publisher.update(|value| format!("{value}c")).expect("room");
    assert_eq!((publisher.current().as_str(), reader.version()), ("bc", 2));
    assert_eq!(format!("{now:?}"), "Guarded { version: 1, value: \"b\" }");
    assert_eq!((readers.clone().register().load().as_str(), now.as_str()), ("bc", "b"));
}

#[test]
fn a_reader_that_holds_on_keeps_a_bounded_number_of_values() {
    let (mut publisher, readers, graveyard) = cell_of_zero();
    let reader = readers.register();
    let held = reader.load();
    let mut number = 1;
    let refused = loop {
        match publisher.publish(Value::new(number, &graveyard)) {
            Ok(()) => number += 1,
            Err(refused) => break refused,
        }
        assert_eq!(held.number(), 0);
    };
    assert_eq!((number, publisher.retired()), (RETIRED_MAX + 1, RETIRED_MAX));
    assert_eq!((refused.number(), publisher.current().number()), (number, RETIRED_MAX));
    assert_eq!(dropped(&graveyard), []);
    drop(held);
    publisher.publish(refused).expect("room: the reader let go");
    assert_eq!(publisher.retired(), 0);
    assert_eq!(dropped(&graveyard), (0..number).collect::<Vec<_>>());
    assert_eq!(reader.load().number(), number);
}

/// What a reader's thread saw, and how often it changed.
fn read_until(readers: &Readers<Value>, over: &AtomicBool) -> u64 {
    let reader = readers.register();
    let (mut seen, mut changes) = (0, 0);
    while !over.load(Ordering::Acquire) {
        let promised = reader.version();
        let value = reader.load();
        assert_eq!(value.number(), value.version());
        // The promise may lag behind what was seen, never ahead of what is found.
        assert!(value.version() >= promised.max(seen), "older than what was seen before");
        changes += u64::from(value.version() > seen);
        // What a later load finds: at least this one.
        seen = value.version();
        assert!(reader.load().version() >= seen);
        assert_eq!(value.number(), seen);
    }
    changes
}

#[test]
fn readers_of_many_threads_see_whole_values_and_never_older_ones() {
    const READERS: u64 = 3;
    const VALUES: u64 = 20_000;
    let (mut publisher, readers, graveyard) = cell_of_zero();
    let over = AtomicBool::new(false);
    let (changes, refusals) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| changes.fetch_add(read_until(&readers, &over), Ordering::Relaxed));
        }
        for number in 1..=VALUES {
            let mut value = Value::new(number, &graveyard);
            while let Err(refused) = publisher.publish(value) {
                refusals.fetch_add(1, Ordering::Relaxed);
                thread::yield_now();
                value = refused;
            }
            assert!(publisher.retired() <= RETIRED_MAX);
        }
        over.store(true, Ordering::Release);
    });
    assert!(changes.into_inner() > 0, "nobody saw a value change: not what this test is for");
    drop(readers);
    assert!(dropped(&graveyard).len() as u64 >= VALUES - RETIRED_MAX, "values go while the cell lives");
    drop(publisher);
    assert_eq!(dropped(&graveyard), (0..=VALUES).collect::<Vec<_>>());
}

/// What a test does to a cell; indexes are taken modulo what there is.
#[derive(Debug, Clone, Copy)]
enum Act {
    Publish,
    Update,
    Reclaim,
    Register,
    Load(usize),
    Release(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => Just(Act::Publish),
        1 => Just(Act::Update),
        1 => Just(Act::Reclaim),
        1 => Just(Act::Register),
        3 => (0..8_usize).prop_map(Act::Load),
        3 => (0..8_usize).prop_map(Act::Release),
    ];
    proptest::collection::vec(act, 0..200)
}

/// Loads are held in a list of their own, since they borrow the readers: four of these, made before.
fn run(acts: &[Act]) {
    let (mut publisher, readers, graveyard) = cell_of_zero();
    let mut current = 0;
    {
        let all: Vec<_> = (0..4).map(|_| readers.register()).collect();
        let mut in_use = 1;
        let mut held: Vec<(u64, Guarded<'_, Value>)> = Vec::new();
        for act in acts {
            match act {
                Act::Publish | Act::Update => {
                    let next = Value::new(current + 1, &graveyard);
                    let published = if matches!(act, Act::Publish) {
                        publisher.publish(next)
                    } else {
                        publisher.update(|value| {
                            assert_eq!(value.number(), current);
                            next
                        })
                    };
                    match published {
                        Ok(()) => current += 1,
                        // It is dropped here, and its number is given out again.
                        Err(refused) => {
                            assert!(!held.is_empty(), "refused, and nobody holds on");
                            drop(refused);
                            assert_eq!(graveyard.lock().expect("one thread").pop(), Some(current + 1));
                        }
                    }
                }
                Act::Reclaim => publisher.reclaim(),
                Act::Register => in_use = (in_use + 1).min(all.len()),
                Act::Load(index) => {
                    let value = all[index % in_use].load();
                    assert_eq!((value.number(), value.version()), (current, current));
                    held.push((current, value));
                }
                Act::Release(index) if !held.is_empty() => drop(held.swap_remove(index % held.len())),
                Act::Release(_) => {}
            }
            assert!(held.iter().all(|(number, value)| value.number() == *number));
            let buried = graveyard.lock().expect("one thread").len() as u64;
            assert_eq!(publisher.retired(), current - buried);
            assert!(publisher.retired() <= RETIRED_MAX && all[0].version() == current);
            if held.is_empty() && matches!(act, Act::Publish | Act::Update | Act::Reclaim) {
                assert_eq!(publisher.retired(), 0);
            }
        }
    }
    drop((publisher, readers));
    assert_eq!(dropped(&graveyard), (0..=current).collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn values_are_kept_while_held_and_dropped_once(acts in acts()) {
        run(&acts);
    }
}
