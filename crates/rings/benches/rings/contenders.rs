//! The rings that compete: ours, padded and not, and those of other crates, each by its best API.
//!
//! A message is a `u64`: the producer in the top byte, below it a count. Publishing waits while the
//! ring is full; draining takes what is there and gives its room back.

use std::hint::spin_loop;
use std::ops::Range;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use disruptor::{BusySpin, Producer as _};

/// At most so many are taken before room is given back.
const DRAIN_MAX: usize = 256;

/// One producer's side.
pub(crate) trait Publish: Send {
    /// Publishes the values as one batch, or as a single message if it is one.
    fn publish(&mut self, values: Range<u64>);

    /// Of a contender that counts its claims.
    fn conflicts(&self) -> Option<Conflicts> {
        None
    }
}

/// Claims that another producer spoiled.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Conflicts {
    pub(crate) attempts: u64,
    pub(crate) failed: u64,
}

/// The consumer's side.
pub(crate) trait Drain: Send {
    /// Takes what is there, or a part of it, and returns how many.
    fn drain(&mut self, sink: impl FnMut(u64)) -> usize;
}

/// A ring, to be made anew for each turn.
pub(crate) trait Contender {
    const NAME: &'static str;
    type Publish: Publish;
    type Drain: Drain;

    /// For so many producers, with so many slots, to be fed batches of `batch`.
    fn ring(producers: usize, capacity: usize, batch: u64) -> (Vec<Self::Publish>, Self::Drain);
}

/// Our SPSC ring, whose consumer waits a moment before each look: so it does not follow so closely that
/// each look takes away the lines that the producer writes.
pub(crate) struct Patient;

/// Enough that more of them gain nothing.
const PAUSES: usize = 8;

impl Contender for Patient {
    const NAME: &'static str = "ours spsc, patient";
    type Publish = padded::SpscPublish;
    type Drain = PatientDrain;

    fn ring(producers: usize, capacity: usize, batch: u64) -> (Vec<padded::SpscPublish>, PatientDrain) {
        let (publish, drain) = padded::Spsc::ring(producers, capacity, batch.max(2));
        (publish, PatientDrain(drain))
    }
}

pub(crate) struct PatientDrain(padded::SpscDrain);

impl Drain for PatientDrain {
    #[inline]
    fn drain(&mut self, sink: impl FnMut(u64)) -> usize {
        (0..PAUSES).for_each(|_| spin_loop());
        self.0.drain(sink)
    }
}

/// Our two rings, from one or the other copy of the source.
macro_rules! ours {
    ($module:ident, $source:tt, $spsc_name:literal, $mpsc_name:literal) => {
        pub(crate) mod $module {
            use $source::{mpsc, spsc};

            use super::{Contender, DRAIN_MAX, Drain, Publish, Range, spin_loop};

            pub(crate) struct Spsc;

            pub(crate) struct SpscPublish {
                ring: spsc::Producer<u64>,
                batch: Vec<u64>,
            }

            pub(crate) struct SpscDrain {
                ring: spsc::Consumer<u64>,
                batch: Vec<u64>,
                by_one: bool,
            }

            impl Contender for Spsc {
                const NAME: &'static str = $spsc_name;
                type Publish = SpscPublish;
                type Drain = SpscDrain;

                fn ring(producers: usize, capacity: usize, batch: u64) -> (Vec<SpscPublish>, SpscDrain) {
                    assert_eq!(producers, 1);
                    let (producer, consumer) = spsc::ring(capacity);
                    let publish = SpscPublish { ring: producer, batch: Vec::new() };
                    (vec![publish], SpscDrain { ring: consumer, batch: Vec::new(), by_one: batch == 1 })
                }
            }

            impl Publish for SpscPublish {
                #[inline]
                fn publish(&mut self, values: Range<u64>) {
                    if values.end - values.start == 1 {
                        while self.ring.push(values.start).is_err() {
                            spin_loop();
                        }
                        return;
                    }
                    self.batch.extend(values);
                    while self.ring.push_batch(&mut self.batch) == 0 || !self.batch.is_empty() {
                        spin_loop();
                    }
                }
            }

            impl Drain for SpscDrain {
                #[inline]
                fn drain(&mut self, mut sink: impl FnMut(u64)) -> usize {
                    if self.by_one {
                        let items = std::iter::from_fn(|| self.ring.pop()).take(DRAIN_MAX);
                        return items.map(&mut sink).count();
                    }
                    let count = self.ring.pop_batch(&mut self.batch, DRAIN_MAX);
                    self.batch.drain(..).for_each(sink);
                    count
                }
            }

            pub(crate) struct Mpsc;

            pub(crate) struct MpscPublish {
                ring: mpsc::Producer<u64>,
                batch: Vec<u64>,
            }

            pub(crate) struct MpscDrain(mpsc::Consumer<u64>);

            impl Contender for Mpsc {
                const NAME: &'static str = $mpsc_name;
                type Publish = MpscPublish;
                type Drain = MpscDrain;

                fn ring(producers: usize, capacity: usize, _batch: u64) -> (Vec<MpscPublish>, MpscDrain) {
                    let quota = mpsc::Quota { commands: capacity / producers, replies: 0 };
                    let (producers, consumer) = mpsc::ring(&vec![quota; producers]);
                    let publish = |ring| MpscPublish { ring, batch: Vec::new() };
                    (producers.into_iter().map(publish).collect(), MpscDrain(consumer))
                }
            }

            impl Publish for MpscPublish {
                #[inline]
                fn publish(&mut self, values: Range<u64>) {
                    let count = values.end - values.start;
                    while !self.ring.has_room(count as usize) {
                        spin_loop();
                    }
                    if count == 1 {
                        self.ring.push(mpsc::Lane::Command, values.start);
                        return;
                    }
                    self.batch.extend(values);
                    self.ring.push_all(mpsc::Lane::Command, &mut self.batch);
                }
            }

            impl Drain for MpscDrain {
                #[inline]
                fn drain(&mut self, mut sink: impl FnMut(u64)) -> usize {
                    let items = std::iter::from_fn(|| self.0.pop()).take(DRAIN_MAX);
                    let count = items.map(|(_, value)| sink(value)).count();
                    self.0.release(|_| {});
                    count
                }
            }
        }
    };
}

ours!(padded, multibeam_rings, "ours spsc", "ours mpsc");
ours!(unpadded, crate, "ours spsc unpadded", "ours mpsc unpadded");

pub(crate) struct Rtrb;

pub(crate) struct RtrbDrain {
    ring: rtrb::Consumer<u64>,
    by_one: bool,
}

impl Contender for Rtrb {
    const NAME: &'static str = "rtrb";
    type Publish = rtrb::Producer<u64>;
    type Drain = RtrbDrain;

    fn ring(producers: usize, capacity: usize, batch: u64) -> (Vec<Self::Publish>, RtrbDrain) {
        assert_eq!(producers, 1);
        let (producer, consumer) = rtrb::RingBuffer::new(capacity);
        (vec![producer], RtrbDrain { ring: consumer, by_one: batch == 1 })
    }
}

impl Publish for rtrb::Producer<u64> {
    #[inline]
    fn publish(&mut self, values: Range<u64>) {
        if values.end - values.start == 1 {
            while self.push(values.start).is_err() {
                spin_loop();
            }
            return;
        }
        let count = (values.end - values.start) as usize;
        let chunk = loop {
            match self.write_chunk_uninit(count) {
                Ok(chunk) => break chunk,
                Err(_) => spin_loop(),
            }
        };
        chunk.fill_from_iter(values);
    }
}

impl Drain for RtrbDrain {
    #[inline]
    fn drain(&mut self, mut sink: impl FnMut(u64)) -> usize {
        if self.by_one {
            let items = std::iter::from_fn(|| self.ring.pop().ok()).take(DRAIN_MAX);
            return items.map(&mut sink).count();
        }
        let count = self.ring.slots().min(DRAIN_MAX);
        let chunk = self.ring.read_chunk(count).expect("as many as it said");
        chunk.into_iter().for_each(sink);
        count
    }
}

pub(crate) struct Queue;

impl Contender for Queue {
    const NAME: &'static str = "ArrayQueue";
    type Publish = Arc<ArrayQueue<u64>>;
    type Drain = Arc<ArrayQueue<u64>>;

    fn ring(producers: usize, capacity: usize, _batch: u64) -> (Vec<Self::Publish>, Self::Drain) {
        let queue = Arc::new(ArrayQueue::new(capacity));
        (vec![Arc::clone(&queue); producers], queue)
    }
}

impl Publish for Arc<ArrayQueue<u64>> {
    /// It knows no batches: one by one.
    #[inline]
    fn publish(&mut self, values: Range<u64>) {
        for value in values {
            while self.push(value).is_err() {
                spin_loop();
            }
        }
    }
}

impl Drain for Arc<ArrayQueue<u64>> {
    #[inline]
    fn drain(&mut self, sink: impl FnMut(u64)) -> usize {
        std::iter::from_fn(|| self.pop()).take(DRAIN_MAX).map(sink).count()
    }
}

/// The two flavours of `disruptor`, which have the same methods.
macro_rules! disruptor {
    ($ring:ident, $publish:ident, $drain:ident, $name:literal, $build:ident, $producer:ident, $barrier:ident) => {
        pub(crate) struct $ring;

        pub(crate) struct $publish(disruptor::$producer<u64, disruptor::SingleConsumerBarrier>);

        pub(crate) struct $drain(disruptor::EventPoller<u64, disruptor::$barrier>);

        impl Contender for $ring {
            const NAME: &'static str = $name;
            type Publish = $publish;
            type Drain = $drain;

            fn ring(producers: usize, capacity: usize, _batch: u64) -> (Vec<$publish>, $drain) {
                let (poller, builder) = disruptor::$build(capacity, || 0, BusySpin).new_event_poller();
                (disruptor_handles::$build(builder.build(), producers, $publish), $drain(poller))
            }
        }

        impl Publish for $publish {
            #[inline]
            fn publish(&mut self, values: Range<u64>) {
                if values.end - values.start == 1 {
                    self.0.publish(|event| *event = values.start);
                    return;
                }
                self.0.batch_publish((values.end - values.start) as usize, |events| {
                    events.zip(values).for_each(|(event, value)| *event = value);
                });
            }
        }

        impl Drain for $drain {
            #[inline]
            fn drain(&mut self, mut sink: impl FnMut(u64)) -> usize {
                let Ok(mut events) = self.0.take(DRAIN_MAX as u64) else { return 0 };
                (&mut events).map(|event| sink(*event)).count()
            }
        }
    };
}

/// One handle a producer: only the flavour for many can be cloned.
mod disruptor_handles {
    use disruptor::{MultiProducer, SingleConsumerBarrier, SingleProducer};

    pub(super) fn build_single_producer<P>(
        handle: SingleProducer<u64, SingleConsumerBarrier>,
        producers: usize,
        wrap: impl Fn(SingleProducer<u64, SingleConsumerBarrier>) -> P,
    ) -> Vec<P> {
        assert_eq!(producers, 1);
        vec![wrap(handle)]
    }

    pub(super) fn build_multi_producer<P>(
        handle: MultiProducer<u64, SingleConsumerBarrier>,
        producers: usize,
        wrap: impl Fn(MultiProducer<u64, SingleConsumerBarrier>) -> P,
    ) -> Vec<P> {
        (0..producers).map(|_| wrap(handle.clone())).collect()
    }
}

disruptor!(
    DisruptorOne,
    DisruptorOnePublish,
    DisruptorOneDrain,
    "disruptor single",
    build_single_producer,
    SingleProducer,
    SingleProducerBarrier
);
disruptor!(
    DisruptorMany,
    DisruptorManyPublish,
    DisruptorManyDrain,
    "disruptor multi",
    build_multi_producer,
    MultiProducer,
    MultiProducerBarrier
);
