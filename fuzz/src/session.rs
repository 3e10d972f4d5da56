//! One shard of a node of two, driven through its public contract by bytes: clients by and against the
//! rules, the mail of the other shard, rooms, time, and sockets that take a part.
//!
//! ```text
//!   client ── frames, garbage ──► Shard ── commands ──► peer (the other shard, played here)
//!   checks ◄── staged, cut ──────       ◄── answers, appends, publishes, follows ──
//! ```
//!
//! [`World`] does what the event loop does, and checks what a loop relies on: nobody who wants to send is
//! forgotten, no command goes without room, no deadline comes closer unsaid. [`checks`] is the client's
//! side: P2, P3, P7, answers. When the bytes are over everybody becomes friendly, and then all that was
//! promised must be there.

mod bytes;
mod checks;
mod client;
mod output;
mod peer;
mod plan;
mod truth;

use bytes::Bytes;
use client::{Client, Producer};
use multibeam_proto::{Command, ConnectionId, Shard, ShardConfig, ShardId, ShardSetup, Stat, Stats, Time};
use multibeam_wire::{CloseCode, Generation};
use peer::Peer;
use std::collections::{BTreeMap, BTreeSet};
use truth::Truth;

type Check = Result<(), String>;

/// What everything is stored in.
const GENERATION: u64 = 1;
/// The thread behind the shards.
const RUNTIME: ShardId = ShardId(2);
/// Connections at a time.
const CLIENTS_MAX: usize = 4;
/// Steps of one input: a longer one tells nothing more.
const STEPS_MAX: usize = 600;
/// Rounds after the last byte in which all must come to rest.
const ROUNDS_MAX: usize = 2000;

/// What an input reached.
#[derive(Debug, Default)]
pub struct Reached {
    /// Messages that clients got.
    pub delivered: u64,
    /// What the shard counted.
    pub stats: Stats,
}

/// Runs the bytes.
///
/// # Errors
/// What was broken, as a sentence.
pub fn run(bytes: &[u8]) -> Result<Reached, String> {
    let mut bytes = Bytes::new(bytes);
    let mut world = World::new(&mut bytes);
    for _ in 0..STEPS_MAX {
        if bytes.over() {
            break;
        }
        world.step(&mut bytes)?;
        world.settle()?;
    }
    world.rest()
}

struct World {
    config: ShardConfig,
    names: plan::Names,
    shard: Shard,
    /// The lease has come or gone: it may go between making and sending as well.
    leased: bool,
    isolated: bool,
    peer: Peer,
    peer_id: ShardId,
    now: Time,
    clients: Vec<Option<Client>>,
    generations: [u32; CLIENTS_MAX],
    producers: [Producer; 3],
    truth: Truth,
    /// Those who may have output, by the shard's word.
    queued: BTreeSet<u32>,
    /// The deadline of each, as of when the shard last spoke of it.
    noted: BTreeMap<u32, Option<Time>>,
    delivered: u64,
}

impl World {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let id = ShardId(bytes.pick(2) as u16);
        let config = plan::config(bytes);
        let names = plan::Names::draw(bytes);
        let setup = ShardSetup { id, shards: 2, generation: Generation(GENERATION), seed: 7 };
        let peer_id = ShardId(1 - id.0);
        let mut shard = Shard::new(config.clone(), setup);
        shard.set_lease(true);
        Self {
            shard,
            leased: false,
            isolated: false,
            peer: Peer::new(peer_id, id, config.ring_replies),
            peer_id,
            now: Time(1_000_000),
            clients: (0..CLIENTS_MAX).map(|_| None).collect(),
            generations: [0; CLIENTS_MAX],
            producers: Default::default(),
            truth: Truth::new(std::sync::Arc::clone(&config.classes)),
            queued: BTreeSet::new(),
            noted: BTreeMap::new(),
            delivered: 0,
            config,
            names,
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) -> Check {
        let what = bytes.pick(32);
        let slot = bytes.pick(CLIENTS_MAX);
        match what {
            0 | 1 => self.open(slot, bytes),
            // Most of the time a socket can take something, and a peer answers.
            2..=5 => return self.send(&[slot], bytes, false),
            6 | 7 => return self.send(&[0, 1, 2, 3], bytes, false),
            8..=11 => return self.peer_step(bytes),
            12 => self.set_room(bytes.of(&[16, 0, 1, 2, 3])),
            13 => {
                let command = self.peer.publish(&self.names, bytes, &mut self.truth, self.now);
                self.tell(command);
            }
            14 => {
                let command = self.peer.follow(&self.names, bytes, &self.truth);
                self.tell(command);
            }
            15 => return self.pass(bytes),
            16 => match bytes.pick(64) {
                62 => self.shard.command(RUNTIME, Command::Probe { id: 1 }, self.now),
                63 => self.shard.command(RUNTIME, Command::Stop, self.now),
                51 | 52 => self.isolate(true),
                53 => self.isolate(false),
                lease @ 54..=59 => {
                    self.leased = true;
                    self.shard.set_lease(lease % 2 == 0);
                }
                _ => self.shard.tick(self.now),
            },
            _ => self.client_step(what, slot, bytes),
        }
        Ok(())
    }

    /// The runtime's word on whether the node is isolated.
    fn isolate(&mut self, isolated: bool) {
        self.isolated = isolated;
        let addresses = ["n2:7400", "n3:7400"].into_iter().map(Into::into).collect();
        let word = if isolated { Command::Isolated { addresses } } else { Command::Rejoined };
        self.shard.command(RUNTIME, word, self.now);
    }

    fn client_step(&mut self, what: usize, slot: usize, bytes: &mut Bytes<'_>) {
        let Self { clients, producers, truth, names, .. } = self;
        let Some(client) = &mut clients[slot] else { return };
        match what {
            17..=19 => client.subscribe(names, bytes, truth),
            20 => client.unsubscribe(bytes),
            21..=23 => {
                for _ in 0..bytes.of(&[1, 1, 3, 8]) {
                    client.publish(false, false, names, bytes, producers, truth);
                }
            }
            24 => client.publish(false, true, names, bytes, producers, truth),
            25 => client.publish(true, false, names, bytes, producers, truth),
            26..=28 => client.acknowledge(bytes),
            29 => client.hello(bytes),
            30 => match bytes.pick(24) {
                5 => client.misbehave(bytes),
                6 => client.rave(bytes),
                7 => client.say_bye(),
                _ => client.acknowledge(bytes),
            },
            _ => match bytes.pick(12) {
                0 => client.ending = true,
                1..=9 => client.acknowledge(bytes),
                10 => self.close(slot),
                _ => {
                    let id = client.id;
                    self.shard.close(id, CloseCode::MemoryMax);
                }
            },
        }
    }

    fn open(&mut self, slot: usize, bytes: &mut Bytes<'_>) {
        if self.clients[slot].is_some() || self.shard.stopping() {
            return;
        }
        self.generations[slot] += 1;
        let id = ConnectionId { slot: slot as u32, generation: self.generations[slot] };
        self.shard.opened(id, self.now);
        self.noted.insert(id.slot, self.shard.next_deadline(id));
        let mut client = Client::new(id, bytes);
        if !bytes.rarely(8) {
            client.hello(bytes);
        }
        self.clients[slot] = Some(client);
    }

    fn close(&mut self, slot: usize) {
        if let Some(client) = self.clients[slot].take() {
            self.delivered += client.received.delivered;
            self.shard.closed(client.id);
            self.queued.remove(&client.id.slot);
            self.noted.remove(&client.id.slot);
        }
    }

    fn set_room(&mut self, room: usize) {
        // What was sent has been taken off the ring: a peer is never asked to hold less than it has.
        self.peer.set_room(room);
        self.shard.set_room(self.peer_id, room);
        self.shard.set_room(RUNTIME, room);
    }

    fn tell(&mut self, command: Option<Command>) {
        if let Some(command) = command {
            self.shard.command(self.peer_id, command, self.now);
        }
    }

    fn peer_step(&mut self, bytes: &mut Bytes<'_>) -> Check {
        let command = self.peer.step(bytes, &mut self.truth, self.now)?;
        self.tell(command);
        Ok(())
    }

    /// Time passes, and whoever waited for it is told.
    fn pass(&mut self, bytes: &mut Bytes<'_>) -> Check {
        let ms = bytes.of(&[1, 100, 100, 400, 400, 1000, 5000, 30_000]);
        self.now = Time(self.now.0 + ms * 1000);
        for slot in 0..CLIENTS_MAX {
            let Some(client) = &self.clients[slot] else { continue };
            let (id, unread) = (client.id, !client.outgoing.is_empty());
            if self.shard.next_deadline(id).is_none_or(|at| at > self.now) {
                continue;
            }
            if self.shard.timeout(id, unread, self.now) {
                self.close(slot);
            } else if self.shard.next_deadline(id).is_some_and(|at| at <= self.now) {
                return Err(format!("{id:?} waits for what is over"));
            }
        }
        if self.shard.next_tick().is_some_and(|at| at <= self.now) {
            self.shard.tick(self.now);
            if self.shard.next_tick().is_some_and(|at| at <= self.now) {
                return Err("the shard waits for what is over".to_owned());
            }
        }
        Ok(())
    }

    /// Carries on what the last step made possible, until nothing is left; then checks everything.
    fn settle(&mut self) -> Check {
        loop {
            let mut moved = false;
            for slot in 0..CLIENTS_MAX {
                moved |= self.feed(slot);
            }
            while let Some(id) = self.shard.poll_touched() {
                self.look_at(id);
            }
            while let Some((to, command)) = self.shard.poll_command() {
                moved = true;
                if to == self.peer_id {
                    self.peer.got(command, &mut self.truth)?;
                } else if !matches!(command, Command::Probed { id: 1 }) {
                    return Err(format!("{command:?} to {to:?}"));
                }
            }
            if !moved {
                break;
            }
        }
        self.shard.check();
        for client in self.clients.iter().flatten() {
            let id = client.id;
            if self.shard.wants_to_send(id) && !self.queued.contains(&id.slot) {
                return Err(format!("{id:?} wants to send, and nobody was told"));
            }
            let remembered = self.queued.contains(&id.slot) || self.shard.is_held_back(id);
            if self.shard.has_output(id) && !remembered {
                return Err(format!("{id:?} has output for a lease, and will not be told of one"));
            }
            let (noted, next) = (self.noted.get(&id.slot).copied().flatten(), self.shard.next_deadline(id));
            if next.is_some_and(|next| noted.is_none_or(|noted| next < noted)) {
                return Err(format!("{id:?} has the deadline {next:?} instead of {noted:?}, unsaid"));
            }
        }
        Ok(())
    }

    fn look_at(&mut self, id: ConnectionId) {
        let slot = id.slot as usize;
        if self.clients[slot].as_ref().is_none_or(|client| client.id != id) {
            return;
        }
        if self.shard.wants_to_send(id) {
            self.queued.insert(id.slot);
        }
        self.shard.hold_back(id);
        self.noted.insert(id.slot, self.shard.next_deadline(id));
        let tail = self.clients[slot].as_ref().is_some_and(|client| !client.tail.is_empty());
        if self.shard.finished(id) && !tail {
            self.close(slot);
        }
    }

    /// Gives the shard what a client sent, as long as it takes any. True: it took some.
    fn feed(&mut self, slot: usize) -> bool {
        let Some(client) = &mut self.clients[slot] else { return false };
        let id = client.id;
        let deaf = client.ended || self.shard.closing(id).is_some();
        if deaf || self.shard.stalled(id).is_some() {
            return false;
        }
        let mut used = 0;
        if !client.outgoing.is_empty() {
            used = self.shard.received(id, &client.outgoing, self.now).used;
            client.taken(used, &mut self.truth, self.now);
        }
        let stuck = self.shard.stalled(id).is_some() || self.shard.closing(id).is_some();
        if client.ending && !stuck {
            client.ended = true;
            self.shard.peer_ended(id, self.now);
        }
        used > 0
    }

    /// Nobody is in the way of anybody any more.
    fn rest(mut self) -> Result<Reached, String> {
        let mut rounds = 0;
        self.shard.set_lease(true);
        loop {
            let mut moved = false;
            self.set_room(16);
            self.settle()?;
            while !self.peer.rests(&self.truth) {
                self.peer_step(&mut Bytes::new(&[]))?;
                self.settle()?;
                moved = true;
            }
            for slot in 0..CLIENTS_MAX {
                let Some(client) = &mut self.clients[slot] else { continue };
                moved |= client.catch_up() || !client.tail.is_empty();
                moved |= self.queued.contains(&(slot as u32));
                self.send(&[slot], &mut Bytes::new(&[]), true)?;
            }
            self.settle()?;
            if !moved {
                break;
            }
            rounds += 1;
            if rounds > ROUNDS_MAX {
                return Err("it never rests".to_owned());
            }
        }
        self.check_rest()
    }

    fn check_rest(mut self) -> Result<Reached, String> {
        for client in self.clients.iter().flatten() {
            let id = client.id;
            if client.received.bye || client.ended {
                continue;
            }
            if client.received.doomed || self.shard.closing(id).is_some() {
                return Err(format!("{id:?} was never told goodbye"));
            }
            if let Some(stall) = self.shard.stalled(id) {
                return Err(format!("{id:?} rests with {stall:?}"));
            }
            if client.sane() {
                client.received.check_rest(&self.truth).map_err(|error| format!("{id:?}: {error}"))?;
                client.received.check_away(self.isolated).map_err(|error| format!("{id:?}: {error}"))?;
            }
        }
        let delivered = self.clients.iter().flatten().map(|client| client.received.delivered).sum::<u64>();
        let mut stats = Stats::default();
        for stat in Stat::ALL {
            stats.add(*stat, self.shard.refresh_stats().load(*stat));
        }
        Ok(Reached { delivered: self.delivered + delivered, stats })
    }
}
