//! Every structure between threads of the system, hard and with its results checked: what a sanitizer
//! runs (`just tsan`), and, short, one of the tests. Its argument says how many times as long.
//!
//! The standard library is not instrumented, and the sanitizer does not know fences. So this is not under
//! libtest, whose channel would be reported; nothing here relies on a `Mutex`; and what threads share is
//! dropped by `main` after it has joined them, since the last `Arc` to go says so by a fence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use multibeam_rings::mpsc::{self, Lane, Quota};
use multibeam_rings::pool::{Buffer, Pages, Pool};
use multibeam_rings::{CachePadded, Counter, Endpoint, Wake, mesh, snapshot, spsc};

/// Runs so many times as long as it must, and returns how many things arrived.
type Part = fn(u64) -> u64;

fn main() {
    let times = std::env::args().nth(1).and_then(|times| times.parse().ok()).unwrap_or(1);
    let parts: [(&str, Part); 6] = [
        ("spsc", of_spsc),
        ("mpsc", of_mpsc),
        ("mailbox", of_mailbox),
        ("counter", of_counter),
        ("snapshot", of_snapshot),
        ("pool", of_pool),
    ];
    for (name, part) in parts {
        println!("{name}: {} things arrived", part(times));
    }
}

/// A payload that is written by one thread and read by another without an atomic.
fn item(producer: u16, number: u64) -> Box<(u16, u64)> {
    Box::new((producer, number))
}

/// Checks that the items of each producer come in their order.
struct Arrivals(Vec<u64>);

impl Arrivals {
    fn of(producers: u16) -> Self {
        Self(vec![0; usize::from(producers)])
    }

    fn take(&mut self, (producer, number): (u16, u64)) {
        let next = &mut self.0[usize::from(producer)];
        assert_eq!(number, *next, "from {producer}");
        *next += 1;
    }

    fn count(&self) -> u64 {
        self.0.iter().sum()
    }
}

fn of_spsc(times: u64) -> u64 {
    let items = 100_000 * times;
    let (mut producer, mut consumer) = spsc::ring(8);
    let pushing = thread::spawn(move || {
        let (mut number, mut batch) = (0, Vec::new());
        while number < items || !batch.is_empty() {
            // One by one and in batches, in turn.
            if number % 64 < 32 && batch.is_empty() {
                let mut next = item(0, number);
                while let Err(back) = producer.push(next) {
                    thread::yield_now();
                    next = back;
                }
                number += 1;
                continue;
            }
            while batch.len() < 5 && number < items {
                batch.push(item(0, number));
                number += 1;
            }
            if producer.push_batch(&mut batch) == 0 {
                thread::yield_now();
            }
        }
        producer
    });
    let (mut arrivals, mut batch) = (Arrivals::of(1), Vec::new());
    while arrivals.count() < items {
        if arrivals.count() % 64 < 32 {
            batch.extend(consumer.pop());
        } else {
            consumer.pop_batch(&mut batch, 6);
        }
        if batch.is_empty() {
            thread::yield_now();
        }
        batch.drain(..).for_each(|item| arrivals.take(*item));
    }
    let _producer = pushing.join().expect("the producer");
    assert!(consumer.is_empty());
    arrivals.count()
}

fn of_mpsc(times: u64) -> u64 {
    const PRODUCERS: u16 = 3;
    let items = 50_000 * times;
    let quota = Quota { commands: 5, replies: 0 };
    let (producers, mut consumer) = mpsc::ring(&[quota; PRODUCERS as usize]);
    let push = move |(index, mut producer): (u16, mpsc::Producer<Box<(u16, u64)>>)| {
        let (mut number, mut batch) = (0, Vec::new());
        while number < items {
            let room = producer.room() as u64;
            let size = (1 + number % 4).min(room).min(items - number);
            batch.extend((number..number + size).map(|number| (Lane::Command, item(index, number))));
            producer.push_batch(&mut batch);
            number += size;
            if size == 0 {
                thread::yield_now();
            }
        }
        producer
    };
    let pushing: Vec<_> =
        (0..).zip(producers).map(|producer| thread::spawn(move || push(producer))).collect();
    let mut arrivals = Arrivals::of(PRODUCERS);
    while arrivals.count() < u64::from(PRODUCERS) * items {
        match consumer.pop() {
            Some((from, item)) => {
                assert_eq!(from, item.0);
                arrivals.take(*item);
            }
            None => thread::yield_now(),
        }
        if arrivals.count().is_multiple_of(3) {
            consumer.release(|_| unreachable!("nobody wanted room"));
        }
    }
    let _producers: Vec<_> = pushing.into_iter().map(|pushing| pushing.join().expect("a producer")).collect();
    arrivals.count()
}

/// Keeps one token, like an eventfd.
#[derive(Debug, Default)]
struct Token(AtomicBool);

impl Token {
    fn wait(&self) {
        for naps in 0..60_000 {
            if self.0.swap(false, Ordering::Acquire) {
                return;
            }
            if naps < 100 {
                thread::yield_now();
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
        panic!("a wake-up was lost");
    }
}

impl Wake for Token {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}

type Mail = Endpoint<Box<(u16, u64)>, Arc<Token>>;

/// Each participant sends to each, out of little room, and sleeps whenever it has nothing to do.
fn of_mailbox(times: u64) -> u64 {
    const PARTICIPANTS: u16 = 3;
    let items = 10_000 * times;
    let quota = |_, _| Quota { commands: 3, replies: 1 };
    let ends: Vec<Mail> = mesh(quota, (0..PARTICIPANTS).map(|_| Arc::default()).collect());
    let threads: Vec<_> = ends.into_iter().map(|end| thread::spawn(move || correspond(end, items))).collect();
    let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a participant")).collect();
    ends.iter().map(|(_, count)| count).sum()
}

/// Sends so many items to each participant and takes as many of each. Returns how many came.
fn correspond(mut end: Mail, items: u64) -> (Mail, u64) {
    let participants = end.participants();
    let mut arrivals = Arrivals::of(participants);
    let mut sent = vec![0; usize::from(participants)];
    let expected = u64::from(participants) * items;
    while arrivals.count() < expected || sent.iter().any(|sent| *sent < items) {
        let mut is_idle = true;
        while let Some((from, item)) = end.pop() {
            assert_eq!(from, item.0);
            arrivals.take(*item);
            is_idle = false;
        }
        while end.granted().is_some() {}
        for to in 0..participants {
            let sent = &mut sent[usize::from(to)];
            while *sent < items && end.room(to) > 0 {
                end.push(to, Lane::Command, item(end.index(), *sent));
                *sent += 1;
                is_idle = false;
            }
            if *sent < items && end.room(to) == 0 && end.want_room(to) {
                is_idle = false;
            }
        }
        end.flush();
        if is_idle {
            end.arm();
            if end.is_empty() {
                end.wake().wait();
            }
            end.disarm();
        }
    }
    end.flush();
    (end, arrivals.count())
}

fn of_counter(times: u64) -> u64 {
    let counts = 500_000 * times;
    let counters = Arc::new(CachePadded::new([Counter::new(), Counter::new()]));
    let (adding, setting) = (Arc::clone(&counters), Arc::clone(&counters));
    let adding = thread::spawn(move || (0..counts).for_each(|_| adding[0].add(1)));
    let setting = thread::spawn(move || (0..counts).for_each(|count| setting[1].set(count + 1)));
    let mut seen = [0; 2];
    while seen != [counts; 2] {
        let now = [counters[0].load(), counters[1].load()];
        assert!(seen[0] <= now[0] && seen[1] <= now[1], "{now:?} after {seen:?}");
        seen = now;
        thread::yield_now();
    }
    adding.join().expect("who adds");
    setting.join().expect("who sets");
    counters[0].load() + counters[1].load()
}

/// A value on the heap, to be read without an atomic and freed by whoever comes last.
struct Value(Box<[u64; 4]>);

impl Value {
    fn new(number: u64) -> Self {
        Self(Box::new([number; 4]))
    }

    fn number(&self) -> u64 {
        assert!(self.0.iter().all(|number| *number == self.0[0]), "a torn value");
        self.0[0]
    }
}

fn of_snapshot(times: u64) -> u64 {
    const READERS: usize = 2;
    let values = 5_000 * times;
    let (mut publisher, readers) = snapshot::cell(Value::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let read = {
        let over = Arc::clone(&over);
        move |readers: snapshot::Readers<Value>| {
            let (reader, mut seen) = (readers.register(), 0);
            while !over.load(Ordering::Relaxed) {
                let promised = reader.version();
                let value = reader.load();
                assert_eq!(value.number(), value.version());
                assert!(value.version() >= promised.max(seen));
                seen = value.version();
            }
        }
    };
    let reading: Vec<_> = (0..READERS)
        .map(|_| {
            let (read, readers) = (read.clone(), readers.clone());
            thread::spawn(move || read(readers))
        })
        .collect();
    for number in 1..=values {
        let mut value = Value::new(number);
        while let Err(refused) = publisher.publish(value) {
            thread::yield_now();
            value = refused;
        }
        if number % 16 == 0 {
            // A reader comes and goes.
            drop(readers.register());
        }
    }
    over.store(true, Ordering::Relaxed);
    reading.into_iter().for_each(|reading| reading.join().expect("a reader"));
    publisher.reclaim();
    assert_eq!((publisher.retired(), publisher.current().number()), (0, values));
    values
}

/// A pool on its way between two threads, with the buffer that is out, and how often it was exchanged.
type Luggage = (Pool, Option<Buffer>, u64);

/// Both threads give the buffer back that the other one filled, and fill another.
fn of_pool(times: u64) -> u64 {
    let rounds = 2_000 * times;
    let (mut there, mut at_other) = spsc::ring(1);
    let (mut back, mut at_main) = spsc::ring(1);
    let turns = move |from: &mut spsc::Consumer<Luggage>, to: &mut spsc::Producer<Luggage>| {
        for _ in 0..rounds {
            let luggage = loop {
                match from.pop() {
                    Some(luggage) => break luggage,
                    None => thread::yield_now(),
                }
            };
            assert!(to.push(exchange(luggage)).is_ok());
        }
    };
    assert!(there.push((Pool::new(1 << 20, Pages::Normal), None, 0)).is_ok());
    let other = thread::spawn(move || {
        turns(&mut at_other, &mut back);
        (at_other, back)
    });
    turns(&mut at_main, &mut there);
    let (mut at_other, _back) = other.join().expect("the other");
    at_other.pop().map_or(0, |(_, _, exchanged)| exchanged)
}

fn exchange((mut pool, held, exchanged): Luggage) -> Luggage {
    if let Some(held) = held {
        assert!(pool.bytes(&held).iter().all(|byte| u64::from(*byte) == exchanged % 251));
        pool.give(held);
    }
    let exchanged = exchanged + 1;
    let mut next = pool.take(1 + exchanged as usize * 97 % 9000).expect("room");
    let capacity = pool.capacity(&next);
    pool.set_len(&mut next, capacity);
    pool.bytes_mut(&mut next).fill((exchanged % 251) as u8);
    (pool, Some(next), exchanged)
}
