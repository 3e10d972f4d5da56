//! Real threads: nothing lost, order kept, sleepers woken; and items dropped once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use multibeam_rings::mpsc::ring;
use multibeam_rings::{Counter, Endpoint, Lane, Quota, Wake, mesh};

const SENDERS: u16 = 3;
const ITEMS: u64 = 100_000;
/// Any sleep of the test is shorter, unless a wake-up is lost.
const SLEEP_MAX: Duration = Duration::from_secs(20);

/// Keeps one token, like an eventfd.
#[derive(Debug, Default)]
struct Token {
    given: Mutex<bool>,
    changed: Condvar,
}

impl Token {
    fn wait(&self) {
        let given = self.given.lock().expect("nobody panics with the lock");
        let (mut given, timeout) = self
            .changed
            .wait_timeout_while(given, SLEEP_MAX, |given| !*given)
            .expect("nobody panics with the lock");
        assert!(!timeout.timed_out(), "a wake-up was lost");
        *given = false;
    }
}

impl Wake for Token {
    fn wake(&self) {
        *self.given.lock().expect("nobody panics with the lock") = true;
        self.changed.notify_one();
    }
}

type Mail = Endpoint<u64, Arc<Token>>;

/// The end of a turn. Returns whether it slept.
fn sleep_if_idle(end: &mut Mail) -> bool {
    end.flush();
    end.arm();
    let sleeps = end.is_empty();
    if sleeps {
        end.wake().wait();
    }
    end.disarm();
    sleeps
}

/// Takes the replies that are there: to every 64th item, in order. Returns how many there were so far.
fn take_replies(end: &mut Mail, mut answered: u64) -> u64 {
    while let Some((_, reply)) = end.pop() {
        assert_eq!(reply, answered * 64);
        answered += 1;
    }
    answered
}

/// Sends all its items, and waits for the replies. Returns how often it ran out of room.
fn send(mut end: Mail, to: u16) -> u64 {
    let (mut asked, mut answered, mut waits) = (0, 0, 0);
    for item in 0..ITEMS {
        let is_request = item % 64 == 0;
        // A request is made only if the one slot for its reply is free.
        while is_request && asked > answered {
            sleep_if_idle(&mut end);
            answered = take_replies(&mut end, answered);
        }
        if end.room(to) == 0 && !end.want_room(to) {
            waits += 1;
            while end.granted() != Some(to) {
                sleep_if_idle(&mut end);
                answered = take_replies(&mut end, answered);
            }
        }
        end.push(to, Lane::Command, item);
        asked += u64::from(is_request);
    }
    end.flush();
    while asked > answered {
        sleep_if_idle(&mut end);
        answered = take_replies(&mut end, answered);
    }
    waits
}

#[test]
fn three_senders_lose_nothing_and_keep_their_order() {
    let quota = |_, _| Quota { commands: 50, replies: 1 };
    let wakes = (0..=SENDERS).map(|_| Arc::new(Token::default())).collect();
    let mut ends: Vec<Mail> = mesh(quota, wakes);
    let mut receiver = ends.pop().expect("the last one receives");
    let to = receiver.index();
    let senders: Vec<_> = ends.into_iter().map(|end| thread::spawn(move || send(end, to))).collect();

    let mut expected = [0; SENDERS as usize];
    let (mut received, mut sleeps) = (0, 0_u64);
    while received < u64::from(SENDERS) * ITEMS {
        while let Some((from, item)) = receiver.pop() {
            assert_eq!(item, expected[usize::from(from)], "from {from}");
            expected[usize::from(from)] += 1;
            received += 1;
            if item % 64 == 0 {
                receiver.push(from, Lane::Reply, item);
            }
        }
        if received < u64::from(SENDERS) * ITEMS {
            sleeps += u64::from(sleep_if_idle(&mut receiver));
        }
    }
    receiver.flush();
    let waits: u64 = senders.into_iter().map(|sender| sender.join().expect("a sender")).sum();
    assert!(waits > 0 && sleeps > 0, "{waits} waits for room, {sleeps} sleeps: not what this test is for");
}

/// Counts its drops.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn unpopped_items_are_dropped_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let quota = Quota { commands: 4, replies: 2 };
    let (mut producers, mut consumer) = ring(&[quota, quota]);
    let mut push = |by: usize, count| {
        let item = || (Lane::Command, Dropped(Arc::clone(&drops)));
        producers[by].push_batch(&mut std::iter::repeat_with(item).take(count).collect());
    };
    push(0, 4);
    push(1, 4);
    // Past the end of the 16 slots, so that what is left wraps.
    for _ in 0..8 {
        drop(consumer.pop());
    }
    consumer.release(|_| unreachable!("nobody wanted room"));
    push(1, 4);
    push(0, 3);
    drop(consumer.pop());
    assert_eq!(drops.load(Ordering::Relaxed), 9);
    drop(consumer);
    // The consumer is gone; there is room left still.
    push(0, 1);
    assert_eq!(drops.load(Ordering::Relaxed), 9, "producers keep the ring alive");
    drop(producers);
    assert_eq!(drops.load(Ordering::Relaxed), 16);
}

#[test]
fn collected_items_are_dropped_with_their_endpoint() {
    let drops = Arc::new(AtomicUsize::new(0));
    let wakes = vec![Arc::new(Token::default()), Arc::new(Token::default())];
    let mut ends = mesh(|_, _| Quota { commands: 32, replies: 1 }, wakes);
    for _ in 0..20 {
        ends[0].push(1, Lane::Command, Dropped(Arc::clone(&drops)));
    }
    drop(ends[1].pop());
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    drop(ends);
    assert_eq!(drops.load(Ordering::Relaxed), 20, "16 were flushed, 4 collected");
}

#[test]
fn counter_is_read_from_another_thread() {
    let counter = Counter::new();
    thread::scope(|scope| {
        scope.spawn(|| (0..1000).for_each(|_| counter.add(2)));
        let mut last = 0;
        for _ in 0..1000 {
            let value = counter.load();
            assert!(value >= last && value.is_multiple_of(2));
            last = value;
        }
    });
    assert_eq!(counter.load(), 2000);
    counter.set(5);
    assert_eq!(counter.load(), 5);
}
