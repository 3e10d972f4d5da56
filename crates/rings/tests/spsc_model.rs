//! The ring of two threads: against a `VecDeque` on one thread, then on two; items dropped once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use multibeam_rings::spsc::{CAPACITY_MAX, ring};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Push,
    PushBatch { count: usize },
    Pop,
    PopBatch { max: usize },
    Room,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Push),
        2 => (0..7_usize).prop_map(|count| Step::PushBatch { count }),
        3 => Just(Step::Pop),
        2 => (0..7_usize).prop_map(|max| Step::PopBatch { max }),
        1 => Just(Step::Room),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn ring_behaves_like_a_bounded_queue(
        capacity_bits in 0..4_u32,
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let capacity = 1 << capacity_bits;
        let (mut producer, mut consumer) = ring::<u64>(capacity);
        let mut queue = VecDeque::new();
        let mut items = 0_u64..;
        for step in steps {
            let room = capacity - queue.len();
            match step {
                Step::Push => {
                    let item = items.next().expect("endless");
                    let pushed = producer.push(item);
                    prop_assert_eq!(pushed, if room > 0 { Ok(()) } else { Err(item) });
                    queue.extend(pushed.is_ok().then_some(item));
                }
                Step::PushBatch { count } => {
                    let mut batch: Vec<_> = items.by_ref().take(count).collect();
                    let expected = batch.clone();
                    let pushed = producer.push_batch(&mut batch);
                    prop_assert_eq!(pushed, count.min(room));
                    prop_assert_eq!(&batch[..], &expected[pushed..], "the rest is handed back");
                    queue.extend(&expected[..pushed]);
                }
                Step::Pop => prop_assert_eq!(consumer.pop(), queue.pop_front()),
                Step::PopBatch { max } => {
                    let mut batch = vec![u64::MAX];
                    let popped = consumer.pop_batch(&mut batch, max);
                    prop_assert_eq!(popped, max.min(queue.len()));
                    let expected: Vec<_> = std::iter::once(u64::MAX).chain(queue.drain(..popped)).collect();
                    prop_assert_eq!(batch, expected);
                }
                Step::Room => prop_assert_eq!(producer.room(), room),
            }
            prop_assert_eq!(consumer.is_empty(), queue.is_empty());
        }
    }
}

/// Counts its drops.
#[derive(Debug)]
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn unpopped_items_are_dropped_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let item = || Dropped(Arc::clone(&drops));
    let (mut producer, mut consumer) = ring(8);
    assert_eq!(producer.push_batch(&mut std::iter::repeat_with(item).take(6).collect()), 6);
    let mut popped = Vec::new();
    assert_eq!(consumer.pop_batch(&mut popped, 5), 5);
    assert_eq!(drops.load(Ordering::Relaxed), 0, "moved, not copied");
    drop(popped);
    // Past the end of the slots, so that what is left wraps.
    let mut rest: Vec<_> = std::iter::repeat_with(item).take(9).collect();
    assert_eq!(producer.push_batch(&mut rest), 7);
    assert_eq!((drops.load(Ordering::Relaxed), rest.len()), (5, 2), "two are handed back");
    drop(producer.push(item()).expect_err("full"));
    assert_eq!(drops.load(Ordering::Relaxed), 6);
    drop(consumer);
    assert_eq!(drops.load(Ordering::Relaxed), 6, "the producer keeps the ring alive");
    drop(producer);
    assert_eq!(drops.load(Ordering::Relaxed), 14);
}

#[test]
fn items_without_size_are_counted() {
    let (mut producer, mut consumer) = ring(4);
    assert_eq!(producer.push_batch(&mut vec![(); 9]), 4);
    assert_eq!((producer.push(()), producer.room()), (Err(()), 0));
    assert_eq!(consumer.pop_batch(&mut Vec::new(), 3), 3);
    assert_eq!((consumer.pop(), consumer.pop()), (Some(()), None));
}

#[test]
fn two_threads_lose_nothing_and_keep_the_order() {
    const ITEMS: u64 = 200_000;
    let (mut producer, mut consumer) = ring(64);
    let pushing = thread::spawn(move || {
        let (mut next, mut batch, mut refused) = (0, Vec::new(), 0_u64);
        while next < ITEMS || !batch.is_empty() {
            // Singly and in batches by turns, each item once.
            if batch.is_empty() && next % 5 == 0 {
                match producer.push(next) {
                    Ok(()) => next += 1,
                    Err(item) => {
                        assert_eq!(item, next);
                        refused += 1;
                        thread::yield_now();
                    }
                }
                continue;
            }
            let upto = (next + 4 - (next - 1) % 5).min(ITEMS);
            batch.extend(if batch.is_empty() { next..upto } else { 0..0 });
            next = next.max(upto);
            if producer.push_batch(&mut batch) == 0 {
                refused += 1;
                thread::yield_now();
            }
        }
        refused
    });
    let (mut expected, mut batch, mut found_nothing) = (0, Vec::new(), 0_u64);
    while expected < ITEMS {
        if expected % 3 == 0 {
            batch.extend(consumer.pop());
        } else {
            let popped = consumer.pop_batch(&mut batch, 17);
            assert_eq!(popped, batch.len());
        }
        if batch.is_empty() {
            found_nothing += 1;
            thread::yield_now();
        }
        for item in batch.drain(..) {
            assert_eq!(item, expected);
            expected += 1;
        }
    }
    let refused = pushing.join().expect("the producer");
    assert!(refused > 0 && found_nothing > 0, "never full or never empty: not what this test is for");
    assert!(consumer.is_empty());
}

#[test]
#[should_panic(expected = "no power of two")]
fn odd_capacity_is_refused() {
    let _ring = ring::<()>(6);
}

#[test]
#[should_panic(expected = "a capacity of")]
fn huge_capacity_is_refused() {
    let _ring = ring::<()>(2 * CAPACITY_MAX);
}
