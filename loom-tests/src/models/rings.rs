//! Models of one MPSC ring, driven by its producers and its consumer directly.

use loom::sync::Arc;
use loom::thread;

use super::Token;
use crate::counter::Counter;
use crate::doorbell::Wake;
use crate::mpsc::{Consumer, Lane, Producer, Quota, ring};

const ONE: Quota = Quota { commands: 1, replies: 0 };
const TWO: Quota = Quota { commands: 2, replies: 0 };

fn push<T>(producer: &mut Producer<T>, items: impl IntoIterator<Item = T>) {
    producer.push_batch(&mut items.into_iter().map(|item| (Lane::Command, item)).collect());
}

fn two_producers<T>(quotas: [Quota; 2]) -> (Producer<T>, Producer<T>, Consumer<T>) {
    let (producers, consumer) = ring(&quotas);
    let [a, b] = <[_; 2]>::try_from(producers).map_err(|_| ()).expect("two quotas, two producers");
    (a, b, consumer)
}

/// Pops what is left, and checks that it is `sent`, in the order of each producer.
fn expect_rest(consumer: &mut Consumer<u32>, mut seen: Vec<(u16, u32)>, sent: [&[u32]; 2]) {
    seen.extend(std::iter::from_fn(|| consumer.pop()));
    for (index, sent) in (0..).zip(sent) {
        let by_one: Vec<_> = seen.iter().filter(|(by, _)| *by == index).map(|(_, item)| *item).collect();
        assert_eq!(by_one, sent);
    }
    assert!(consumer.is_empty());
}

/// A full ring of two slots: the consumer empties it while both producers try once to push another.
pub(crate) fn wrap() {
    let (mut a, mut b, mut consumer) = two_producers([ONE, ONE]);
    push(&mut a, [1]);
    push(&mut b, [1]);
    let try_push = |mut producer: Producer<u32>| {
        let has_room = producer.room() > 0;
        if has_room {
            push(&mut producer, [2]);
        }
        has_room
    };
    let a = thread::spawn(move || try_push(a));
    let b = thread::spawn(move || try_push(b));
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.extend(consumer.pop());
    }
    consumer.release(|_| unreachable!("nobody wanted room"));
    let sent = |has_pushed| if has_pushed { [1, 2].as_slice() } else { &[1] };
    let (a, b) = (a.join().expect("a"), b.join().expect("b"));
    expect_rest(&mut consumer, seen, [sent(a), sent(b)]);
}

/// Two producers publish a batch of two each, over the entries of the lap before, and the consumer
/// takes what it finds meanwhile.
pub(crate) fn batches() {
    let (mut a, mut b, mut consumer) = two_producers([TWO, TWO]);
    push(&mut a, [0, 0]);
    push(&mut b, [0, 0]);
    while consumer.pop().is_some() {}
    consumer.release(|_| unreachable!("nobody wanted room"));
    let a = thread::spawn(move || push(&mut a, [1, 2]));
    let b = thread::spawn(move || push(&mut b, [1, 2]));
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.extend(consumer.pop());
    }
    a.join().expect("a");
    b.join().expect("b");
    expect_rest(&mut consumer, seen, [&[1, 2], &[1, 2]]);
}

/// Two producers push one item each, without a batch, over the entries of the lap before.
pub(crate) fn singles() {
    let (mut a, mut b, mut consumer) = two_producers([ONE, ONE]);
    a.push(Lane::Command, 0);
    b.push(Lane::Command, 0);
    while consumer.pop().is_some() {}
    consumer.release(|_| unreachable!("nobody wanted room"));
    let a = thread::spawn(move || a.push(Lane::Command, 1));
    let b = thread::spawn(move || b.push(Lane::Command, 1));
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.extend(consumer.pop());
    }
    a.join().expect("a");
    b.join().expect("b");
    expect_rest(&mut consumer, seen, [&[1], &[1]]);
}

/// The consumer releases a part of a range while it still takes the rest: a producer then writes to the
/// first slot of the range, with a range that is longer.
pub(crate) fn range_in_parts() {
    let (mut a, mut b, mut consumer) = two_producers([TWO, TWO]);
    a.push_all(Lane::Command, &mut vec![1, 2]);
    b.push_all(Lane::Command, &mut vec![1, 2]);
    assert_eq!(consumer.pop(), Some((0, 1)));
    let a = thread::spawn(move || {
        let room = a.room();
        assert!(room <= 2);
        a.push_all(Lane::Command, &mut [3, 4][..room].to_vec());
        room
    });
    let mut seen = vec![(0, 1)];
    for _ in 0..2 {
        consumer.release(|_| unreachable!("nobody wanted room"));
        seen.extend(consumer.pop());
    }
    consumer.release(|_| unreachable!("nobody wanted room"));
    let pushed = a.join().expect("a");
    expect_rest(&mut consumer, seen, [&[1, 2, 3, 4][..2 + pushed], &[1, 2]]);
}

/// A batch of both lanes is claimed at once and published in parts; each lane gets its own room back.
pub(crate) fn lanes_of_a_batch() {
    let quota = Quota { commands: 1, replies: 1 };
    let (mut a, mut b, mut consumer) = two_producers([quota, quota]);
    let fill = |producer: &mut Producer<u32>| {
        producer.push_batch(&mut vec![(Lane::Reply, 1), (Lane::Command, 2)]);
    };
    fill(&mut a);
    let b = thread::spawn(move || fill(&mut b));
    let mut seen = vec![consumer.pop().expect("pushed before")];
    consumer.release(|_| unreachable!("nobody wanted room"));
    assert_eq!(a.room(), 0, "a reply gives no room for commands");
    seen.extend(consumer.pop());
    consumer.release(|_| unreachable!("nobody wanted room"));
    assert_eq!(a.room(), 1);
    seen.extend(consumer.pop());
    b.join().expect("b");
    expect_rest(&mut consumer, seen, [&[1, 2], &[1, 2]]);
}

/// The slot that a producer claims was emptied before a release that *another* producer has seen: it
/// learns of it through the claim of the other.
pub(crate) fn claims_of_others() {
    let (mut a, mut b, mut consumer) = two_producers([ONE, ONE]);
    push(&mut a, [1]);
    push(&mut b, [1]);
    // `a` has room from here on, for the slot of its own first item.
    assert_eq!(consumer.pop(), Some((0, 1)));
    consumer.release(|_| unreachable!("nobody wanted room"));
    let a = thread::spawn(move || push(&mut a, [2]));
    let b = thread::spawn(move || {
        let has_room = b.room() > 0;
        if has_room {
            push(&mut b, [2]);
        }
        has_room
    });
    // If `b` is first to claim now, `a` writes where this entry was.
    let mut seen = vec![(0, 1)];
    seen.extend(consumer.pop());
    consumer.release(|_| unreachable!("nobody wanted room"));
    a.join().expect("a");
    let sent_b = if b.join().expect("b") { [1, 2].as_slice() } else { &[1] };
    expect_rest(&mut consumer, seen, [&[1, 2], sent_b]);
}

/// A producer never sees more room than it has, and sees all of it once the consumer is done.
pub(crate) fn room_is_never_more_than_the_truth() {
    // Not a loom type: in a model one thread runs at a time, so this is the truth at each moment.
    static POPPED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let popped = || POPPED.load(std::sync::atomic::Ordering::Relaxed);
    POPPED.store(0, std::sync::atomic::Ordering::Relaxed);
    let (mut a, mut b, mut consumer) = two_producers([TWO, ONE]);
    push(&mut a, [1, 2]);
    push(&mut b, [1]);
    let reader = thread::spawn(move || {
        let (room, truth) = (a.room(), popped());
        assert!(room <= truth, "room for {room}, {truth} popped");
        if room > 0 {
            push(&mut a, [3]);
            let (room_left, truth) = (a.room(), popped());
            assert!(room_left < truth, "room for {room_left}, {truth} popped, 1 pushed");
        }
        (a, usize::from(room > 0))
    });
    for expected in [(0, 1), (0, 2)] {
        assert_eq!(consumer.pop(), Some(expected));
        POPPED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        consumer.release(|_| unreachable!("nobody wanted room"));
    }
    let (a, pushed) = reader.join().expect("reader");
    assert_eq!((a.room(), b.room()), (2 - pushed, 0));
}

/// A producer without room sleeps until the consumer's release names it.
pub(crate) fn want_room() {
    let (mut producers, mut consumer) = ring(&[ONE]);
    let mut producer = producers.pop().expect("one quota, one producer");
    push(&mut producer, [1]);
    let token = Arc::new(Token::new());
    let sleeper = {
        let token = Arc::clone(&token);
        thread::spawn(move || {
            assert!(producer.room() <= 1);
            if !producer.want_room() {
                while producer.is_waiting() {
                    token.wait();
                }
                assert_eq!(producer.room(), 1);
            }
            push(&mut producer, [2]);
        })
    };
    assert_eq!(consumer.pop(), Some((0, 1)));
    consumer.release(|_| token.wake());
    sleeper.join().expect("sleeper");
    assert_eq!(consumer.pop(), Some((0, 2)));
}

/// Twice in a row; the consumer sleeps likewise until there is something to pop.
pub(crate) fn want_room_again() {
    let (mut producers, mut consumer) = ring(&[ONE]);
    let mut producer = producers.pop().expect("one quota, one producer");
    push(&mut producer, [1]);
    let (released, published) = (Arc::new(Token::new()), Arc::new(Token::new()));
    let sleeper = {
        let (released, published) = (Arc::clone(&released), Arc::clone(&published));
        thread::spawn(move || {
            for item in [2, 3] {
                // Not once: a release may answer the second wish with the room that item 2 took.
                while producer.room() == 0 && !producer.want_room() {
                    released.wait();
                }
                push(&mut producer, [item]);
                published.wake();
            }
        })
    };
    for item in [1, 2, 3] {
        while consumer.is_empty() {
            published.wait();
        }
        assert_eq!(consumer.pop(), Some((0, item)));
        consumer.release(|_| released.wake());
    }
    sleeper.join().expect("sleeper");
}

/// The consumer goes while a producer pushes: each item is dropped once (loom counts its `Arc`s).
pub(crate) fn drop_of_unpopped() {
    let (mut a, mut b, mut consumer) = two_producers([TWO, ONE]);
    let item = Arc::new(());
    push(&mut a, [Arc::clone(&item)]);
    push(&mut b, [Arc::clone(&item)]);
    assert!(consumer.pop().is_some());
    let late = Arc::clone(&item);
    let pusher = thread::spawn(move || push(&mut a, [late]));
    drop(b);
    drop(consumer);
    pusher.join().expect("pusher");
    assert_eq!(Arc::strong_count(&item), 1);
}

/// A reader sees a counter grow and never fall. The reader is the spawned thread: loom finds the race
/// of a load with the stores before it, but not that of a load-and-store with the loads before it.
pub(crate) fn counter_grows() {
    let counter = Arc::new(Counter::new());
    let reader = {
        let counter = Arc::clone(&counter);
        thread::spawn(move || {
            let (first, second) = (counter.load(), counter.load());
            assert!(first <= second && [0, 1, 3].contains(&first) && [0, 1, 3].contains(&second));
        })
    };
    counter.add(1);
    counter.add(2);
    reader.join().expect("reader");
    counter.set(7);
    assert_eq!(counter.load(), 7);
}
