//! The node, its clients and time, moved by the script.

use super::bytes::Bytes;
use super::client::{Client, TOPICS};
use super::truth::Truth;
use super::{Outcome, SCRIPT_BYTES_MAX};
use crate::chooser::Chooser;
use crate::invariants::check_sleep;
use crate::post::{ModelMail, Post};
use crate::sockets::{Caps, Sockets};
use crate::{ModelIo, ModelKernel, classes_keeping};
use multibeam::event_loop::{Loop, LoopLimits, Next};
use multibeam::kernel::Mail;
use multibeam::lease::LeaseCell;
use multibeam::metrics::ShardMetrics;
use multibeam_proto::{Command, ConnectionId, Shard, ShardConfig, ShardId, ShardSetup, Stat, Time};
use multibeam_wire::{Generation, Start};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Clients of a script, at the most.
const CLIENTS_MAX: usize = 6;
/// Turns after the script's end before a loop that never rests is reported.
const TURNS_MAX: usize = 200_000;

struct Thread {
    shard: Loop<ModelKernel>,
    sockets: Rc<RefCell<Sockets>>,
    next: Next,
}

/// Everything there is.
pub(super) struct World {
    script: Rc<RefCell<Bytes>>,
    now: Time,
    config: ShardConfig,
    limits: LoopLimits,
    caps: Caps,
    quotas: (usize, usize),
    threads: Vec<Thread>,
    runtime: ModelMail,
    lease: LeaseCell,
    /// Times that the script decided about it.
    lease_steps: usize,
    /// Shards that were told that the node is isolated.
    isolated: Vec<bool>,
    /// Clients come and go all the time.
    churn: bool,
    /// A thread that the scheduler neglects: what others ask of it takes long.
    sleepy: Option<usize>,
    generation: u64,
    clients: Vec<Client>,
    truth: Truth,
    outcome: Outcome,
    turns: usize,
}

impl World {
    pub(super) fn new(script: &[u8]) -> Self {
        let script = Rc::new(RefCell::new(Bytes::new(script)));
        let pick = |n: usize| script.borrow_mut().pick(n);
        // 0 chooses the roomy setting, so that a short script is an easy world.
        let shards = [2, 1, 3, 2][pick(4)];
        let caps = Caps {
            rx_bytes: [4096, 1, 7, 64][pick(4)],
            tx_bytes: [4096, 1, 7, 64][pick(4)],
            backlog: 8,
            descriptors: [64, 2, 3][pick(3)],
        };
        let config = ShardConfig {
            heartbeat_interval: [Duration::from_secs(100_000), Duration::from_secs(5)][pick(2)],
            ack_timeout: Duration::from_secs(100_000),
            hello_timeout: Duration::from_secs(100_000),
            publish_deadline: Duration::from_secs(50_000),
            goaway_spread: Duration::from_secs(1),
            publish_window_bytes: [64 * 1024, 16, 64][pick(3)],
            requests_in_flight_max: [256, 1, 2][pick(3)],
            deliveries_in_flight_max: [4096, 2][pick(2)],
            topics_max: [16, 3][pick(2)],
            classes: classes_keeping([64, 1, 2][pick(3)]),
            messages_bytes_max: [1 << 20, 40_000][pick(2)],
            producers_max: 16,
            ring_replies: [64, 1, 2][pick(3)],
            command_batch: [16, 1][pick(2)],
            subscriptions_max: 16,
        };
        let limits = LoopLimits {
            read_budget: [65_536, 2, 40][pick(3)],
            read_chunk: [65_536, 2, 20][pick(3)],
            accept_budget: [64, 1][pick(2)],
            shed_budget: [16, 1][pick(2)],
            send_budget: [256, 1, 2][pick(3)],
            send_bytes: [65_536, 1, 40][pick(3)],
            stage_bytes: [1 << 20, 1][pick(2)],
            command_budget: [1024, 1][pick(2)],
            connections_max: [64, 2][pick(2)],
            ..LoopLimits::default()
        };
        let sleepy = [None, Some(0), Some(1), Some(2)][pick(4)];
        let churn = pick(4) == 3;
        let quotas = ([64, 1, 2][pick(3)], config.ring_replies);
        let post = Post::new(shards + 1, quotas.0, quotas.1, chooser(&script));
        let mut world = Self {
            runtime: ModelMail::new(post, shards),
            script,
            now: Time(1_000_000),
            lease: LeaseCell::unlimited(),
            lease_steps: 0,
            isolated: Vec::new(),
            config,
            limits,
            caps,
            quotas,
            threads: Vec::new(),
            churn,
            sleepy,
            generation: 0,
            clients: Vec::new(),
            truth: Truth::default(),
            outcome: Outcome::default(),
            turns: 0,
        };
        world.start(shards);
        world
    }

    /// Starts the node, in a new generation.
    fn start(&mut self, shards: usize) {
        self.generation += 1;
        let post = Post::new(shards + 1, self.quotas.0, self.quotas.1, chooser(&self.script));
        self.runtime = ModelMail::new(Rc::clone(&post), shards);
        self.threads = (0..shards)
            .map(|id| {
                let sockets = Rc::new(RefCell::new(Sockets::new(self.caps, chooser(&self.script))));
                let kernel =
                    ModelKernel::new(ModelIo::new(Rc::clone(&sockets)), ModelMail::new(Rc::clone(&post), id));
                let setup = ShardSetup {
                    id: ShardId(id as u16),
                    shards: shards as u16,
                    generation: Generation(self.generation),
                    seed: 7,
                };
                let shard = Shard::new(self.config.clone(), setup);
                let shard =
                    Loop::new(kernel, shard, self.limits.clone(), ShardMetrics::new(), self.lease.clone());
                Thread { shard, sockets, next: Next::Again }
            })
            .collect();
        self.isolated = vec![false; shards];
    }

    fn pick(&self, n: usize) -> usize {
        self.script.borrow_mut().pick(n)
    }

    pub(super) fn run(mut self) -> Result<Outcome, String> {
        for _ in 0..SCRIPT_BYTES_MAX {
            if self.script.borrow().over() {
                break;
            }
            self.step()?;
        }
        self.rest()?;
        self.audit()?;
        self.stop()?;
        self.collect();
        Ok(self.outcome)
    }

    /// One step of the script.
    fn step(&mut self) -> Result<(), String> {
        let threads = self.threads.len();
        match self.pick(16) {
            0..=2 => self.bustle()?,
            3 | 4 => {
                let mut at = self.pick(threads);
                if Some(at) == self.sleepy && self.pick(16) != 0 {
                    at = (at + 1) % threads;
                }
                if self.has_cause(at) {
                    self.turn(at)?;
                }
            }
            // A turn without a cause is legal.
            5 => self.turn(self.pick(threads))?,
            6 => self.connect(),
            7..=9 => self.client_acts()?,
            10 | 11 => {
                let max = self.pick(64) + 1;
                self.exchange(max)?;
            }
            12 => self.pass(Duration::from_millis([1, 20, 150, 1100][self.pick(4)])),
            13 => self.runtime.post().borrow_mut().land_all(),
            14 => self.probe(),
            _ => match self.pick(8) {
                7 => self.restart(),
                4..=6 => self.lease_step(),
                _ => {}
            },
        }
        Ok(())
    }

    /// The node's lease comes or goes.
    fn lease_step(&mut self) {
        self.lease_steps += 1;
        let isolated = self.pick(4);
        if isolated >= 2 {
            self.isolate(isolated == 2);
        }
        match self.pick(4) {
            0 => self.lease.set(Time(u64::MAX)),
            1 => self.lease.set(self.now + Duration::from_millis([1, 20, 150, 1100][self.pick(4)])),
            2 => self.lease.set(Time(0)),
            // For so long that there is nothing left to say but that one is there.
            _ => {
                self.lease.set(Time(0));
                self.pass(Duration::from_secs(4));
                for client in &mut self.clients {
                    client.beat();
                }
            }
        }
    }

    /// The runtime says so to those shards whose ring has room.
    fn isolate(&mut self, isolated: bool) {
        for at in 0..self.threads.len() {
            if self.runtime.room(at) > 0 {
                self.isolated[at] = isolated;
                let addresses = ["n2:7400"].into_iter().map(Into::into).collect();
                let word = if isolated { Command::Isolated { addresses } } else { Command::Rejoined };
                self.runtime.push(at, word);
            }
        }
        self.runtime.flush();
    }

    /// Between the halves of a turn the thread is stopped for a while, or the lease goes.
    fn between_halves(&mut self) {
        if self.lease.until() == Time(u64::MAX) {
            return;
        }
        match self.pick(8) {
            5 | 6 => self.pass(Duration::from_millis([1, 20, 150, 1100][self.pick(4)])),
            7 => self.lease.set(Time(0)),
            _ => {}
        }
    }

    /// Everybody does a little, but for the thread that is neglected.
    fn bustle(&mut self) -> Result<(), String> {
        for _ in 0..4 {
            self.exchange(256)?;
            for at in 0..self.threads.len() {
                if Some(at) != self.sleepy && self.has_cause(at) {
                    self.turn(at)?;
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self) {
        let which = self.pick(CLIENTS_MAX);
        if which >= self.clients.len() {
            let friendly = self.pick(8) != 7;
            self.clients.push(Client::new(self.clients.len() as u32 + 1, friendly));
        }
        let which = which.min(self.clients.len() - 1);
        self.connect_client(which);
    }

    fn connect_client(&mut self, which: usize) {
        if self.clients[which].connection.is_some() {
            return;
        }
        let at = match self.sleepy {
            // Those who ask it are elsewhere.
            Some(sleepy) if self.threads.len() > 1 => (sleepy + 1) % self.threads.len(),
            Some(_) | None => self.pick(self.threads.len()),
        };
        let window = [1024, 1, 4, 0][self.pick(4)];
        let Some(socket) = self.threads[at].sockets.borrow_mut().connect() else { return };
        let turn = self.pick(4);
        self.clients[which].connected(at, socket, window, turn, self.now);
    }

    fn reset(&mut self, which: usize) {
        if let Some(connection) = &self.clients[which].connection {
            self.threads[connection.shard].sockets.borrow_mut().reset(connection.socket);
            self.clients[which].disconnected();
        }
    }

    fn client_acts(&mut self) -> Result<(), String> {
        if self.clients.is_empty() {
            return Ok(());
        }
        let which = self.pick(self.clients.len());
        if !self.clients[which].friendly {
            let bytes: Vec<u8> = (0..=self.pick(40)).map(|_| self.script.borrow_mut().next()).collect();
            // Half of them begin like a frame.
            let framed = [&b"MB\x01"[..], &bytes].concat();
            self.clients[which].rave(if bytes[0].is_multiple_of(2) { &framed } else { &bytes });
            return Ok(());
        }
        let topic = self.pick(TOPICS.len());
        let act = self.pick(16);
        match act.max(if self.churn { act * 2 } else { 0 }).min(15) {
            0..=6 => {
                for _ in 0..=self.pick(4) {
                    let bytes = [12, 40, 200, 12][self.pick(4)];
                    self.clients[which].publish(topic, bytes);
                }
            }
            7..=9 => {
                let start = [Start::New, Start::Last][self.pick(2)];
                self.clients[which].subscribe(topic, start);
            }
            10 | 11 => {
                let window = [1024, 0, 1, 8][self.pick(4)];
                self.clients[which].set_window(window);
            }
            12 => self.clients[which].end(),
            13 => self.reset(which),
            _ => {
                self.reset(which);
                self.connect_client(which);
            }
        }
        self.clients[which].act();
        Ok(())
    }

    /// Bytes move between all clients and their sockets, up to `max` each way.
    fn exchange(&mut self, max: usize) -> Result<bool, String> {
        let mut moved = false;
        for client in &mut self.clients {
            client.act();
            let Some(connection) = &mut client.connection else { continue };
            let mut sockets = self.threads[connection.shard].sockets.borrow_mut();
            let socket = connection.socket;
            let count = max.min(connection.outgoing.len());
            let chunk: Vec<u8> = connection.outgoing.iter().take(count).copied().collect();
            let taken = sockets.push(socket, &chunk);
            connection.outgoing.drain(..taken);
            moved |= taken > 0;
            if connection.ending && connection.outgoing.is_empty() && !connection.ended {
                connection.ended = true;
                sockets.end(socket);
                moved = true;
            }
            let bytes = sockets.pull(socket, max);
            let (over, destroyed) = (sockets.ended(socket), sockets.destroyed(socket));
            let (opened, token) = (connection.opened, sockets.token(socket));
            let watched = token.is_some();
            drop(sockets);
            moved |= !bytes.is_empty();
            let (shard, token) = (connection.shard, token);
            client.got(&bytes, &mut self.truth)?;
            for (seq, topic) in client.fresh_acks.drain(..) {
                let partition = self.config.classes.partition_of(TOPICS[topic]);
                let home = usize::from(self.config.classes.home(partition, self.threads.len() as u16).0);
                let Some(token) = token else { continue };
                let id = ConnectionId { slot: token.slot(), generation: token.generation() };
                if home != shard && !self.runtime.post().borrow().answered(shard, id, seq) {
                    return Err(format!(
                        "P1: frame {seq} of {id:?} was acknowledged before {home} had stored it"
                    ));
                }
            }
            if over || destroyed {
                if over {
                    client.check_end()?;
                }
                let told = client.connection.as_ref().is_some_and(|connection| connection.bye.is_some());
                let in_time = self.now < opened + self.limits.linger;
                if destroyed && watched && !told && in_time {
                    return Err(format!("P9: client {} was reset instead of being told", client.id));
                }
                client.disconnected();
                moved = true;
            }
        }
        Ok(moved)
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn probe(&mut self) {
        let to = self.pick(self.threads.len());
        if self.runtime.room(to) > 0 && self.probes_awaited() == 0 {
            self.runtime.push(to, Command::Probe { id: 1 });
            self.runtime.flush();
        }
        self.take_runtime_mail();
    }

    /// The runtime never owes itself more than one reply, like the real one.
    fn probes_awaited(&self) -> usize {
        usize::from(self.runtime.post().borrow().moves(self.threads.len()))
    }

    fn take_runtime_mail(&mut self) {
        while self.runtime.pop().is_some() {}
        self.runtime.drained();
    }

    /// The node dies and comes back in its next generation.
    fn restart(&mut self) {
        self.collect();
        self.outcome.restarts += 1;
        for client in &mut self.clients {
            client.disconnected();
        }
        self.start(self.threads.len());
    }

    /// Whether a sleeping thread has been given a reason to wake.
    fn has_cause(&self, at: usize) -> bool {
        let thread = &self.threads[at];
        match thread.next {
            Next::Again => true,
            Next::Sleep(until) => {
                thread.sockets.borrow().has_edges()
                    || self.runtime.post().borrow().rung(at)
                    || until.is_some_and(|until| until <= self.now)
            }
            Next::Done => false,
        }
    }

    fn turn(&mut self, at: usize) -> Result<(), String> {
        if self.threads[at].next == Next::Done {
            return Ok(());
        }
        self.turns += 1;
        let thread = &mut self.threads[at];
        thread.shard.turn(self.now);
        self.between_halves();
        let sent = self.sent(at);
        let thread = &mut self.threads[at];
        thread.next = thread.shard.release(self.now);
        if !self.lease.holds(self.now) {
            for (which, before) in sent {
                let after = self.threads[at].sockets.borrow().sent(self.clients[which].socket());
                self.clients[which].without_lease(before..after);
            }
        }
        let thread = &mut self.threads[at];
        if let Next::Sleep(until) = thread.next {
            check_sleep(&mut thread.shard, at, until).map_err(|lapse| format!("shard {at}: {lapse}"))?;
        }
        Ok(())
    }

    /// Bytes that the clients of a thread have been sent.
    fn sent(&self, at: usize) -> Vec<(usize, u64)> {
        let here = |client: &Client| client.connection.as_ref().is_some_and(|known| known.shard == at);
        let sockets = self.threads[at].sockets.borrow();
        let clients = self.clients.iter().enumerate().filter(|(_, client)| here(client));
        clients.map(|(which, client)| (which, sockets.sent(client.socket()))).collect()
    }

    /// Runs everything until nothing moves any more; time passes only where all sleep.
    fn settle(&mut self, patience: Duration) -> Result<(), String> {
        let give_up = self.now + patience;
        self.turns = 0;
        loop {
            self.runtime.post().borrow_mut().land_all();
            let mut moved = self.exchange(usize::MAX)?;
            for at in 0..self.threads.len() {
                while self.has_cause(at) {
                    moved = true;
                    self.turn(at)?;
                    if self.turns > TURNS_MAX {
                        return Err(format!("shard {at} never rests"));
                    }
                    if self.threads[at].next != Next::Again {
                        break;
                    }
                }
            }
            self.take_runtime_mail();
            if moved {
                continue;
            }
            let wake = self.threads.iter().filter_map(|thread| match thread.next {
                Next::Sleep(until) => until,
                Next::Again | Next::Done => None,
            });
            match wake.min() {
                Some(wake) if wake <= give_up => self.now = self.now.max(wake),
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// The world turns friendly: windows open, everybody reads, time passes.
    fn rest(&mut self) -> Result<(), String> {
        self.lease.set(Time(u64::MAX));
        for client in &mut self.clients {
            client.set_window(u16::MAX);
        }
        self.settle(Duration::from_secs(4))?;
        for client in &self.clients {
            client.check_rest(&self.truth)?;
            client.check_away(|shard| self.isolated[shard])?;
        }
        Ok(())
    }

    /// Somebody who was not there before reads every topic from its beginning: whatever was
    /// acknowledged in this generation and is not evicted must be there.
    fn audit(&mut self) -> Result<(), String> {
        let room = self.clients.iter().filter(|client| client.connection.is_some()).count();
        if room + 1 > self.limits.connections_max.min(self.caps.descriptors)
            || self.config.topics_max < TOPICS.len()
        {
            return Ok(());
        }
        let mut auditor = Client::new(1000, true);
        let Some(socket) = self.threads[0].sockets.borrow_mut().connect() else { return Ok(()) };
        auditor.connected(0, socket, u16::MAX, 0, self.now);
        for topic in 0..TOPICS.len() {
            let start = Start::After(multibeam_wire::Position::new(self.generation, 0));
            auditor.subscribe(topic, start);
        }
        for topic in 0..TOPICS.len() {
            auditor.publish(topic, 12);
        }
        self.clients.push(auditor);
        self.settle(Duration::from_secs(4))?;
        for client in &self.clients {
            client.check_rest(&self.truth)?;
        }
        let Some(auditor) = self.clients.last() else { return Ok(()) };
        if let Some(connection) = &auditor.connection
            && connection.bye.is_none()
            && let Some(unseen) = auditor.acked.iter().find(|id| !self.truth.knows(**id))
        {
            return Err(format!("P10: {unseen:?} was acknowledged and came to nobody"));
        }
        self.truth.check_order()
    }

    /// The node stops: everybody is told, nothing is left.
    fn stop(&mut self) -> Result<(), String> {
        self.take_runtime_mail();
        // A node stops as well without a lease.
        if !self.lease_steps.is_multiple_of(2) {
            self.lease.set(Time(0));
        }
        for at in 0..self.threads.len() {
            if self.runtime.room(at) == 0 {
                return Err(format!("shard {at} never gave its mail's room back"));
            }
            self.runtime.push(at, Command::Stop);
            self.runtime.flush();
        }
        self.runtime.arm();
        self.settle(self.limits.stop_deadline + Duration::from_secs(1))?;
        for (at, thread) in self.threads.iter().enumerate() {
            let sockets = thread.sockets.borrow();
            if thread.next != Next::Done || sockets.held() > 0 || sockets.leaks() > 0 {
                let (held, leaks) = (sockets.held(), sockets.leaks());
                return Err(format!("shard {at} stopped as {:?}, holds {held}, leaked {leaks}", thread.next));
            }
        }
        Ok(())
    }

    /// Adds up what the running node has counted.
    fn collect(&mut self) {
        for thread in &mut self.threads {
            for stat in Stat::ALL {
                let count = thread.shard.stats().load(*stat);
                self.outcome.stats.add(*stat, count);
            }
            self.outcome.calls += thread.sockets.borrow().seen().calls;
        }
        self.outcome.preempted += self.runtime.post().borrow().seen().preempted;
        self.outcome.delivered = self.clients.iter().map(|client| client.delivered).sum();
    }
}

fn chooser(script: &Rc<RefCell<Bytes>>) -> Rc<RefCell<dyn Chooser>> {
    Rc::clone(script) as Rc<RefCell<dyn Chooser>>
}
