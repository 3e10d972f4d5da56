//! What is published and awaited, round by round.
//!
//! ```text
//!   round:  publish all that may be outstanding ─► every subscriber has got all of it
//!                                                  and every publish is acknowledged ─► next
//! ```
//!
//! Messages of a topic are numbered from 1, and those of a round have one stamp. To a node they
//! go as publishes. To a floor go the frames that a node would deliver, behind a few bytes that
//! say to whom.

use crate::commands::bench::floor::Record;
use crate::commands::bench::protocol::{Load, Plan, Target};
use crate::commands::bench::stopwatch::Stopwatch;
use crate::commands::bench::verifier::{BODY_BYTES, Body};
use multibeam_wire::{ChannelId, Delivery, Encoder, Offset, Payload, Position, Publish, Seq};

use super::client::{Client, Context};

/// Publishes that one client has outstanding, at the most: what a node allows by default.
const OUTSTANDING_PER_PUBLISHER: usize = 256;

/// Longest payload of a publish here: numbers, topic, body.
const PUBLISH_BYTES_MAX: usize = BODY_BYTES + 40;

/// The state of the load; owns no connection.
pub(super) struct Rounds {
    load: Load,
    target: Target,
    random: Random,
    /// The last number of each topic.
    numbers: Vec<u64>,
    /// Publishes of each producer so far.
    published: Vec<u64>,
    stamp_ns: u64,
    /// Deliveries that the present round waits for.
    awaited: u64,
    left: usize,
    pub(super) publishes: u64,
    started_ns: u64,
    ended_ns: u64,
    pub(super) round_trips_ns: Vec<u32>,
    /// As it is after any steady frame.
    steady: Encoder,
}

impl Rounds {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut steady = Encoder::new();
        steady.agree_compact();
        steady.encode(&Payload::Heartbeat, Seq(0), FLOOR_ACK, FLOOR_WINDOW, &mut Vec::new());
        Self {
            load: plan.load,
            target: plan.target,
            random: Random::new(plan.seed),
            numbers: Vec::new(),
            published: vec![0; publishers(plan.load)],
            stamp_ns: 0,
            awaited: 0,
            left: 0,
            publishes: 0,
            started_ns: 0,
            ended_ns: 0,
            round_trips_ns: Vec::new(),
            steady,
        }
    }

    /// There are so many topics.
    pub(super) fn grow(&mut self, topics: usize) {
        self.numbers.resize(topics, 0);
    }

    pub(super) fn topic_name(&self, topic: u64) -> String {
        match self.load {
            Load::Fanout { .. } => "bench.fan".to_owned(),
            Load::PingPong => "bench.ping".to_owned(),
            Load::Unicast { .. } | Load::Idle => format!("user.{topic}.msg"),
        }
    }

    pub(super) fn number_next(&self, topic: u64) -> u64 {
        self.numbers[topic as usize] + 1
    }

    /// Of the messages that are under way.
    pub(super) const fn stamp_ns(&self) -> u64 {
        self.stamp_ns
    }

    /// # Errors
    /// More came than was published.
    pub(super) fn delivered(&mut self, watch: &Stopwatch) -> Result<(), String> {
        self.awaited = self.awaited.checked_sub(1).ok_or("more messages came than were published")?;
        if self.awaited == 0 {
            self.ended_ns = watch.now_ns();
            if self.load == Load::PingPong {
                self.round_trips_ns.push(u32::try_from(self.ended_ns - self.stamp_ns).unwrap_or(u32::MAX));
            }
        }
        Ok(())
    }

    /// Whether whatever is sent comes back, so that nothing but messages may be sent.
    pub(super) fn is_echoed(&self) -> bool {
        (self.target, self.load) == (Target::Floor, Load::PingPong)
    }

    /// Everything that was published has reached everybody.
    pub(super) const fn is_delivered(&self) -> bool {
        self.awaited == 0
    }

    /// Why a round does not end.
    pub(super) fn missing(&self) -> String {
        match self.awaited {
            0 => "a publish is not acknowledged".to_owned(),
            awaited => format!("{awaited} deliveries are missing"),
        }
    }

    /// A turn of so many rounds begins.
    pub(super) fn begin(&mut self, rounds: usize, watch: &Stopwatch) {
        self.left = rounds;
        self.publishes = 0;
        self.started_ns = watch.now_ns();
        self.ended_ns = self.started_ns;
        self.round_trips_ns.clear();
    }

    pub(super) const fn wall_ns(&self) -> u64 {
        self.ended_ns - self.started_ns
    }

    /// Publishes the next round; `false`: there is none.
    ///
    /// # Errors
    /// A server's limits, or its connection.
    pub(super) fn publish(clients: &mut [Client], context: &mut Context) -> Result<bool, String> {
        let rounds = &mut context.rounds;
        if rounds.left == 0 {
            return Ok(false);
        }
        rounds.left -= 1;
        rounds.stamp_ns = context.watch.now_ns();
        let (outstanding, subscribers) = match rounds.load {
            Load::Fanout { subscribers, outstanding } => (outstanding, subscribers),
            Load::Unicast { outstanding, .. } => (outstanding, 1),
            Load::PingPong => (1, 1),
            Load::Idle => (0, 0),
        };
        rounds.awaited = outstanding as u64 * subscribers as u64;
        rounds.publishes += outstanding as u64;
        let publishers = rounds.published.len();
        match (rounds.target, rounds.load) {
            (Target::Floor, Load::Fanout { .. }) => {
                Self::publish_one_record(outstanding, &mut clients[0], context)
            }
            (Target::Node | Target::Floor, _) => {
                for publish in 0..outstanding {
                    let publisher = publish * publishers / outstanding;
                    Self::publish_one(publisher, &mut clients[publisher], context);
                }
            }
        }
        for client in &mut clients[..publishers] {
            client.flush()?;
        }
        Ok(true)
    }

    /// Checks the limits of the servers against the plan.
    ///
    /// # Errors
    /// In a sentence.
    pub(super) fn check_room(&self, clients: &[Client]) -> Result<(), String> {
        let outstanding = match self.load {
            Load::Fanout { outstanding, .. } | Load::Unicast { outstanding, .. } => outstanding,
            Load::PingPong => 1,
            Load::Idle => return Ok(()),
        };
        let each = outstanding.div_ceil(self.published.len());
        let mut publishers = clients.iter().take(self.published.len());
        publishers.try_for_each(|client| client.check_room(each, PUBLISH_BYTES_MAX))
    }

    fn publish_one(publisher: usize, client: &mut Client, context: &mut Context) {
        let rounds = &mut context.rounds;
        let (topic, body) = rounds.next_message(publisher);
        match rounds.target {
            Target::Node => {
                rounds.published[publisher] += 1;
                let (number, name) = (rounds.published[publisher], rounds.topic_name(topic));
                client.put_publish(Publish::new(number, &name, &body.to_bytes()), context);
            }
            Target::Floor => {
                let mut frame = Vec::with_capacity(2 * BODY_BYTES);
                rounds.put_delivery(topic, body, &mut frame);
                if !rounds.is_echoed() {
                    client.put_raw(&Record::to_one(topic, frame.len()).to_bytes());
                }
                client.put_raw(&frame);
            }
        }
    }

    /// A floor gets all of a round as one: it sends it at once to each subscriber.
    fn publish_one_record(outstanding: usize, client: &mut Client, context: &mut Context) {
        let mut frames = Vec::with_capacity(2 * BODY_BYTES * outstanding);
        for _ in 0..outstanding {
            let (topic, body) = context.rounds.next_message(0);
            context.rounds.put_delivery(topic, body, &mut frames);
        }
        client.put_raw(&Record::to_all(frames.len()).to_bytes());
        client.put_raw(&frames);
    }

    /// Each publisher has users of its own, since nothing orders the messages of two.
    fn next_message(&mut self, publisher: usize) -> (u64, Body) {
        let topic = match self.load {
            Load::Unicast { users, .. } => {
                let (publisher, publishers) = (publisher as u64, self.published.len() as u64);
                publisher + publishers * self.random.below((users as u64 - publisher).div_ceil(publishers))
            }
            Load::Fanout { .. } | Load::PingPong | Load::Idle => 0,
        };
        let number = &mut self.numbers[topic as usize];
        *number += 1;
        (topic, Body { number: *number, stamp_ns: self.stamp_ns, topic })
    }

    /// As a node would deliver it to a client in the steady state, whatever the frame's number.
    fn put_delivery(&self, topic: u64, body: Body, out: &mut Vec<u8>) {
        let delivery = Delivery {
            channel: floor_channel(topic),
            position: Position::new(1, body.number),
            prev: Offset(body.number - 1),
            skipped: false,
            topic: None,
            body: &body.to_bytes(),
        };
        let mut encoder = self.steady;
        encoder.encode(&Payload::Delivery(delivery), Seq(1), FLOOR_ACK, FLOOR_WINDOW, out);
    }
}

/// Clients that publish, all before those that follow. A ping-pong's is the same client.
pub(crate) fn publishers(load: Load) -> usize {
    match load {
        Load::Fanout { .. } | Load::PingPong => 1,
        Load::Unicast { users, outstanding } => outstanding.div_ceil(OUTSTANDING_PER_PUBLISHER).min(users),
        Load::Idle => 0,
    }
}

/// What each frame of a floor acknowledges: the SUBSCRIBE.
pub(crate) const FLOOR_ACK: Seq = Seq(1);
/// The window in each frame of a floor.
pub(crate) const FLOOR_WINDOW: u16 = 64;

/// A floor's channel for a topic: as long as a node's numbers for as many topics.
pub(crate) const fn floor_channel(topic: u64) -> ChannelId {
    ChannelId(topic as u32 + 1)
}

/// splitmix64: the same numbers for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which is not 0. The bias is below 2^-40 for what is drawn here.
    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_one_publisher_and_each_publisher_all_of_its_users() {
        for (users, outstanding) in [(1, 500), (2, 500), (7, 500), (1000, 700)] {
            let load = Load::Unicast { users, outstanding };
            let plan = Plan { servers: Vec::new(), target: Target::Node, load, seed: 7 };
            let mut rounds = Rounds::new(&plan);
            rounds.grow(users);
            let publishers = publishers(load);
            for draw in 0..20_000 {
                let (topic, body) = rounds.next_message(draw % publishers);
                assert_eq!((topic % publishers as u64, body.topic), (draw as u64 % publishers as u64, topic));
            }
            assert!(rounds.numbers.iter().all(|&number| number > 0), "{users} users");
        }
    }
}
