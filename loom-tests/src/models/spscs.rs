//! Models of the ring of two threads.

use loom::sync::Arc;
use loom::thread;

use super::Token;
use crate::doorbell::{Doorbell, Wake};
use crate::spsc::{Consumer, Producer, ring};

/// Pops what is left, and checks that all of it is 1, 2, 3 …, as many as `sent`.
fn expect_rest(consumer: &mut Consumer<u32>, mut seen: Vec<u32>, sent: u32) {
    seen.extend(std::iter::from_fn(|| consumer.pop()));
    assert_eq!(seen, (1..=sent).collect::<Vec<_>>());
    assert!(consumer.is_empty());
}

/// A full ring of two slots: the consumer takes single items while the producer tries to push more.
pub(crate) fn singles() {
    let (mut producer, mut consumer) = ring(2);
    assert_eq!((producer.push(1), producer.push(2), producer.push(3)), (Ok(()), Ok(()), Err(3)));
    let pushing = thread::spawn(move || {
        let mut next = 3;
        for _ in 0..3 {
            next += u32::from(producer.push(next).is_ok());
        }
        next - 1
    });
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.extend(consumer.pop());
    }
    let sent = pushing.join().expect("producer");
    expect_rest(&mut consumer, seen, sent);
}

/// Two batches of two, the second as far as it fits, against two batches that are taken.
pub(crate) fn batches() {
    let (mut producer, mut consumer) = ring(2);
    let pushing = thread::spawn(move || push_batches(&mut producer, &[[1, 2], [3, 4]]));
    let mut seen = Vec::new();
    for _ in 0..2 {
        consumer.pop_batch(&mut seen, 2);
    }
    let sent = pushing.join().expect("producer");
    expect_rest(&mut consumer, seen, sent);
}

/// The same from a full ring on, so that the first slots that are written were read in parallel.
pub(crate) fn batches_into_a_full_ring() {
    let (mut producer, mut consumer) = ring(2);
    assert_eq!(push_batches(&mut producer, &[[1, 2]]), 2);
    let pushing = thread::spawn(move || push_batches(&mut producer, &[[3, 4], [5, 6]]));
    let mut seen = Vec::new();
    for _ in 0..3 {
        consumer.pop_batch(&mut seen, 2);
    }
    let sent = pushing.join().expect("producer");
    expect_rest(&mut consumer, seen, sent);
}

/// Tries each batch once and stops where one did not fit. Returns the last item pushed.
fn push_batches(producer: &mut Producer<u32>, batches: &[[u32; 2]]) -> u32 {
    let mut last = batches[0][0] - 1;
    for batch in batches {
        let mut batch = batch.to_vec();
        last += u32::try_from(producer.push_batch(&mut batch)).expect("two at most");
        if !batch.is_empty() {
            break;
        }
    }
    last
}

/// The producer never sees more room than it has, and sees all of it once the consumer is done.
pub(crate) fn room_is_never_more_than_the_truth() {
    // Not a loom type: in a model one thread runs at a time, so this is the truth at each moment.
    static POPPED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let popped = || POPPED.load(std::sync::atomic::Ordering::Relaxed);
    POPPED.store(0, std::sync::atomic::Ordering::Relaxed);
    let (mut producer, mut consumer) = ring(2);
    assert_eq!(push_batches(&mut producer, &[[1, 2]]), 2);
    let pushing = thread::spawn(move || {
        let (room, truth) = (producer.room(), popped());
        assert!(room <= truth, "room for {room}, {truth} popped");
        if room > 0 {
            producer.push(3).expect("room that was seen stays");
        }
        (producer, usize::from(room > 0))
    });
    for expected in [1, 2] {
        // Counted before: the room is there from within the pop.
        POPPED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(consumer.pop(), Some(expected));
    }
    let (mut producer, pushed) = pushing.join().expect("producer");
    assert_eq!(producer.room(), 2 - pushed);
}

/// Two items in two pushes; the consumer sleeps on a doorbell whenever it finds nothing.
pub(crate) fn wake_of_consumer() {
    let (mut producer, mut consumer) = ring(2);
    let seat = Arc::new((Doorbell::new(), Token::new()));
    let pushing = {
        let seat = Arc::clone(&seat);
        thread::spawn(move || {
            for item in [1, 2] {
                producer.push(item).expect("room for both");
                if seat.0.ring() {
                    seat.1.wake();
                }
            }
        })
    };
    for expected in [1, 2] {
        let item = loop {
            if let Some(item) = consumer.pop() {
                break item;
            }
            seat.0.arm();
            if consumer.is_empty() {
                seat.1.wait();
            }
            seat.0.disarm();
        };
        assert_eq!(item, expected);
    }
    pushing.join().expect("producer");
}

/// The consumer goes while the producer pushes: each item is dropped once (loom counts its `Arc`s).
pub(crate) fn drop_of_unpopped() {
    let (mut producer, mut consumer) = ring(2);
    let item = Arc::new(());
    assert!(producer.push(Arc::clone(&item)).is_ok());
    let late = vec![Arc::clone(&item), Arc::clone(&item)];
    let pushing = thread::spawn(move || {
        let mut late = late;
        producer.push_batch(&mut late)
    });
    drop(consumer.pop());
    drop(consumer);
    let pushed = pushing.join().expect("producer");
    assert!((1..=2).contains(&pushed));
    assert_eq!(Arc::strong_count(&item), 1);
}
