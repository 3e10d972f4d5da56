//! What a delivery must be: the next message of its topic, whole, at a position that follows.
//!
//! A [`Body`] says by itself which message of which topic it is and when it was published; a
//! [`Chain`] is what one subscriber has seen so far. The two numberings are independent: that
//! of the generator inside the body, and that of the node around it.
//!
//! ```text
//!   body   │ number u64 │ stamp u64 │ topic u64 │ 13 words made of number and topic │   128 bytes
//! ```

use multibeam_wire::{ChannelId, Delivery, Position};

/// Bytes of each message.
pub(super) const BODY_BYTES: usize = 128;

const WORD_BYTES: usize = 8;
const WORDS: usize = BODY_BYTES / WORD_BYTES;
/// Number, stamp, topic.
const NAMED_WORDS: usize = 3;

const _: () = assert!(WORDS * WORD_BYTES == BODY_BYTES && WORDS > NAMED_WORDS);

/// What a message says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// Number among the messages of its topic, from 1.
    pub(super) number: u64,
    /// Nanoseconds on the generator's clock when it was published.
    pub(super) stamp_ns: u64,
    /// The topic's number in the generator.
    pub(super) topic: u64,
}

impl Body {
    /// The message as bytes.
    pub(super) fn to_bytes(self) -> [u8; BODY_BYTES] {
        let mut bytes = [0; BODY_BYTES];
        let named = [self.number, self.stamp_ns, self.topic].into_iter();
        for (place, word) in bytes.as_chunks_mut::<WORD_BYTES>().0.iter_mut().zip(named.chain(self.filler()))
        {
            *place = word.to_be_bytes();
        }
        bytes
    }

    /// Reads a message; `None` if a byte is not as it was written.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<WORD_BYTES>();
        let words: &[[u8; WORD_BYTES]; WORDS] = words.try_into().ok().filter(|_| rest.is_empty())?;
        let word = |at: usize| u64::from_be_bytes(words[at]);
        let body = Self { number: word(0), stamp_ns: word(1), topic: word(2) };
        words[NAMED_WORDS..]
            .iter()
            .zip(body.filler())
            .all(|(word, wanted)| *word == wanted.to_be_bytes())
            .then_some(body)
    }

    /// Differs from message to message and from word to word.
    fn filler(self) -> impl Iterator<Item = u64> {
        let start = self.number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.topic.rotate_left(32);
        (1..).map(move |word: u64| start.wrapping_add(word.wrapping_mul(0xBF58_476D_1CE4_E5B9)))
    }
}

/// What is wrong with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("a message came on channel {found}, and the subscription has {expected}")]
    Channel { expected: u32, found: u32 },
    #[error("message {expected} of topic {topic} was lost: {found} came")]
    Lost { topic: u64, expected: u64, found: u64 },
    #[error("message {found} of topic {topic} came again or too late: {expected} is next")]
    Again { topic: u64, expected: u64, found: u64 },
    #[error("message {number} of topic {expected} was to come, and one of topic {found} did")]
    Topic { expected: u64, found: u64, number: u64 },
    #[error("the body of a message is not what was published ({bytes} bytes)")]
    Garbled { bytes: usize },
    #[error("message {number} of topic {topic} has another stamp than it was published with")]
    Stamp { topic: u64, number: u64 },
    #[error("message {number} stands at {found}, which does not lie behind {last}")]
    Position { number: u64, last: Position, found: Position },
    #[error("message {number} at {at} says that it follows offset {prev}, and the last one stood at {last}")]
    Chain { number: u64, at: Position, prev: u64, last: Position },
    #[error("message {number} is marked as one that others were left out for")]
    Skipped { number: u64 },
}

/// One subscriber's place in its topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    channel: ChannelId,
    topic: u64,
    number_next: u64,
    last: Position,
    /// `last` is that of a delivery, which the next one must name; before, it is where the
    /// subscription begins, and the topic's message before it may lie anywhere up to there.
    begun: bool,
}

impl Chain {
    /// A subscription on `channel` that begins behind `from`, where `number_next` is the next message.
    pub(super) const fn new(channel: ChannelId, topic: u64, from: Position, number_next: u64) -> Self {
        Self { channel, topic, number_next, last: from, begun: false }
    }

    /// Checks a delivery and moves on behind it. `stamp_ns` is when it was published.
    ///
    /// # Errors
    /// The first thing that is wrong; the chain has not moved.
    pub(super) fn delivered(&mut self, delivery: &Delivery<'_>, stamp_ns: u64) -> Result<(), Fault> {
        if delivery.channel != self.channel {
            return Err(Fault::Channel { expected: self.channel.0, found: delivery.channel.0 });
        }
        let bytes = delivery.body.len();
        let Body { number, stamp_ns: stamped_ns, topic } =
            Body::from_bytes(delivery.body).ok_or(Fault::Garbled { bytes })?;
        if topic != self.topic {
            return Err(Fault::Topic { expected: self.topic, found: topic, number });
        }
        let expected = self.number_next;
        if number > expected {
            return Err(Fault::Lost { topic, expected, found: number });
        }
        if number < expected {
            return Err(Fault::Again { topic, expected, found: number });
        }
        if stamped_ns != stamp_ns {
            return Err(Fault::Stamp { topic, number });
        }
        self.follows(delivery, number)?;
        self.number_next += 1;
        self.last = delivery.position;
        self.begun = true;
        Ok(())
    }

    fn follows(&self, delivery: &Delivery<'_>, number: u64) -> Result<(), Fault> {
        let Delivery { position, prev, skipped, .. } = *delivery;
        let last = self.last;
        if position <= last {
            return Err(Fault::Position { number, last, found: position });
        }
        let linked = if self.begun { prev == last.offset } else { prev <= last.offset };
        if !linked || position.generation != last.generation {
            return Err(Fault::Chain { number, at: position, prev: prev.0, last });
        }
        if skipped { Err(Fault::Skipped { number }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multibeam_wire::Offset;

    const CHANNEL: ChannelId = ChannelId(7);
    const STAMP_NS: u64 = 1_000;

    fn chain() -> Chain {
        Chain::new(CHANNEL, 5, Position::new(1, 10), 1)
    }

    fn body(number: u64) -> [u8; BODY_BYTES] {
        Body { number, stamp_ns: STAMP_NS, topic: 5 }.to_bytes()
    }

    /// The partition also holds messages of other topics: offsets are 20, 22, 24, ….
    fn delivery(number: u64, body: &[u8]) -> Delivery<'_> {
        let offset = 18 + 2 * number;
        Delivery {
            channel: CHANNEL,
            position: Position::new(1, offset),
            prev: Offset(if number == 1 { 3 } else { offset - 2 }),
            skipped: false,
            topic: None,
            body,
        }
    }

    /// Gives the messages with these numbers to a new subscriber.
    fn after(numbers: &[u64]) -> Result<(), Fault> {
        let mut chain = chain();
        numbers.iter().try_for_each(|&number| chain.delivered(&delivery(number, &body(number)), STAMP_NS))
    }

    #[test]
    fn an_unbroken_stream_is_good() {
        assert_eq!(after(&[1, 2, 3, 4]), Ok(()));
    }

    #[test]
    fn a_lost_a_doubled_and_a_reordered_delivery_are_seen() {
        let lost = |expected, found| Err(Fault::Lost { topic: 5, expected, found });
        let again = |expected, found| Err(Fault::Again { topic: 5, expected, found });
        assert_eq!(after(&[2]), lost(1, 2));
        assert_eq!(after(&[1, 2, 4]), lost(3, 4));
        assert_eq!(after(&[1, 2, 2]), again(3, 2));
        assert_eq!(after(&[1, 2, 1]), again(3, 1));
        assert_eq!(after(&[1, 3, 2]), lost(2, 3));
    }

    #[test]
    fn any_flipped_bit_of_a_body_is_seen() {
        for bit in 0..8 * BODY_BYTES {
            let mut body = body(1);
            body[bit / 8] ^= 1 << (bit % 8);
            assert!(chain().delivered(&delivery(1, &body), STAMP_NS).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_body_that_is_cut_or_longer_is_seen() {
        let long = [body(1), body(2)].concat();
        for bytes in [0, 1, BODY_BYTES - 1, BODY_BYTES + 1, 2 * BODY_BYTES] {
            let fault = chain().delivered(&delivery(1, &long[..bytes]), STAMP_NS);
            assert_eq!(fault, Err(Fault::Garbled { bytes }));
        }
    }

    #[test]
    fn a_delivery_of_another_subscription_is_seen() {
        let body = Body { number: 1, stamp_ns: STAMP_NS, topic: 6 }.to_bytes();
        let fault = chain().delivered(&delivery(1, &body), STAMP_NS);
        assert_eq!(fault, Err(Fault::Topic { expected: 5, found: 6, number: 1 }));
        let body = self::body(1);
        let other = Delivery { channel: ChannelId(8), ..delivery(1, &body) };
        let fault = chain().delivered(&other, STAMP_NS);
        assert_eq!(fault, Err(Fault::Channel { expected: 7, found: 8 }));
    }

    #[test]
    fn positions_must_follow_each_other() {
        let (first, second) = (body(1), body(2));
        for (position, prev, good) in [
            (Position::new(1, 22), 20, true),
            (Position::new(1, 30), 20, true),
            (Position::new(1, 20), 19, false),
            (Position::new(1, 19), 18, false),
            (Position::new(1, 22), 21, false),
            (Position::new(1, 22), 19, false),
            (Position::new(2, 22), 20, false),
        ] {
            let mut chain = chain();
            chain.delivered(&delivery(1, &first), STAMP_NS).unwrap();
            let next = Delivery { position, prev: Offset(prev), ..delivery(2, &second) };
            assert_eq!(chain.delivered(&next, STAMP_NS).is_ok(), good, "{position} after {prev}");
        }
    }

    #[test]
    fn the_first_one_may_follow_what_came_before_the_subscription_and_nothing_later() {
        let body = body(1);
        for (prev, good) in [(0, true), (10, true), (11, false)] {
            let first = Delivery { prev: Offset(prev), ..delivery(1, &body) };
            assert_eq!(chain().delivered(&first, STAMP_NS).is_ok(), good, "{prev}");
        }
    }

    #[test]
    fn an_old_stamp_and_a_mark_of_omission_are_seen() {
        let body = body(1);
        let fault = chain().delivered(&delivery(1, &body), STAMP_NS + 1);
        assert_eq!(fault, Err(Fault::Stamp { topic: 5, number: 1 }));
        let skipped = Delivery { skipped: true, ..delivery(1, &body) };
        assert_eq!(chain().delivered(&skipped, STAMP_NS), Err(Fault::Skipped { number: 1 }));
    }
}
