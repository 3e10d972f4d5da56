//! One client: its socket, its frames, and the rules of the SDK with its default settings.
//!
//! Window, compact headers, acknowledgements at a quarter of the window or after 500 ms,
//! heartbeats. What is delivered counts as handled at once. Whatever a correct node would not do
//! is an error, which ends the whole run: [`flow`] checks numbers, acknowledgements and window,
//! [`Chain`] the messages.

use super::rounds::Rounds;
use super::timers::Timers;
use crate::commands::bench::protocol::Tally;
use crate::commands::bench::stopwatch::Stopwatch;
use crate::commands::bench::verifier::Chain;
use multibeam_wire::{
    ChannelId, Decoder, Delivery, Direction, Encoder, Features, Frame, Hello, Payload, ProducerId, Publish,
    Seq, Start, Step, Subscribe, Subscribed, SubscriptionId, Welcome, WindowUnit, flow,
};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Payload bytes that a node may have in flight to a client of the SDK's default settings.
const WINDOW_BYTES: u32 = 256 * 1024;
/// Payload bytes after which an acknowledgement is due.
const ACK_BYTES: u32 = WINDOW_BYTES / 4;
/// How long an acknowledgement waits for that.
const ACK_DELAY_MS_MAX: u64 = 500;
/// Heartbeat intervals without a frame after which a server counts as dead.
const SILENT_INTERVALS_MAX: u64 = 3;

/// The one subscription of each client that has one.
const SUBSCRIPTION: SubscriptionId = SubscriptionId(1);

/// What all clients of a generator share.
pub(super) struct Context {
    pub(super) watch: Stopwatch,
    /// When the present batch of events was fetched.
    pub(super) now_ms: u64,
    /// Whether that was all of them: then nothing has come that was not read.
    pub(super) is_drained: bool,
    pub(super) tally: Tally,
    pub(super) rounds: Rounds,
    pub(super) timers: Timers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The socket is not open yet.
    Connecting,
    /// HELLO is sent.
    Greeting,
    /// WELCOME has come.
    Open,
}

/// See the module.
pub(super) struct Client {
    socket: OwnedFd,
    index: u32,
    phase: Phase,
    encoder: Encoder,
    decoder: Decoder,
    /// The start of a frame whose end has not come.
    rest: Vec<u8>,
    /// What the socket did not take.
    unsent: Vec<u8>,
    /// The topic that it follows.
    topic: Option<u64>,
    chain: Option<Chain>,
    /// Where the node's own messages come, which nobody sends here.
    system: Vec<ChannelId>,
    /// Numbered frames of the server: the last one, and the last one acknowledged.
    received: Seq,
    told: Seq,
    unacked_bytes: u32,
    ack_due_ms: Option<u64>,
    /// Our numbered frames: the last one, and the last one that is done.
    sent: Seq,
    done: Seq,
    /// Payload bytes of publishes that the server lets us have in flight, and how many frames.
    grant_bytes: u32,
    requests_max: u32,
    interval_ms: u64,
    heartbeat_at_ms: u64,
    heard_ms: u64,
}

impl Client {
    /// Begins to connect. `topic` is what it will follow.
    ///
    /// # Errors
    /// No descriptor, or no port of `source`.
    pub(super) fn connect(
        index: u32,
        server: SocketAddr,
        source: Option<IpAddr>,
        topic: Option<u64>,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM.nonblocking().cloexec(), None)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            Ok(()) | Err(_) => {}
        }
        Ok(Self {
            socket: socket.into(),
            index,
            phase: Phase::Connecting,
            encoder: Encoder::new(),
            decoder: Decoder::new(Direction::ToClient),
            rest: Vec::new(),
            unsent: Vec::new(),
            topic,
            chain: None,
            system: Vec::new(),
            received: Seq(0),
            told: Seq(0),
            unacked_bytes: 0,
            ack_due_ms: None,
            sent: Seq(0),
            done: Seq(0),
            grant_bytes: 0,
            requests_max: 0,
            interval_ms: 0,
            heartbeat_at_ms: u64::MAX,
            heard_ms: 0,
        })
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether it has all answers that it waits for before the first round.
    pub(super) fn is_ready(&self) -> bool {
        self.phase == Phase::Open && self.chain.is_some() == self.topic.is_some()
    }

    /// Whether each of its requests is done.
    pub(super) fn is_answered(&self) -> bool {
        self.done == self.sent
    }

    /// Checks that `publishes` of `payload_bytes` each may be outstanding at a time.
    ///
    /// # Errors
    /// The server's limits, in a sentence.
    pub(super) fn check_room(&self, publishes: usize, payload_bytes: usize) -> Result<(), String> {
        let Self { requests_max, grant_bytes, .. } = *self;
        if publishes > requests_max as usize || publishes * payload_bytes > grant_bytes as usize {
            return Err(format!(
                "the server lets a client have {requests_max} publishes and {grant_bytes} bytes outstanding, \
                 too few for {publishes} of {payload_bytes} bytes"
            ));
        }
        Ok(())
    }

    /// The socket can take bytes: it is open, or has room again.
    pub(super) fn writable(&mut self, agent: &str, context: &mut Context) -> Result<(), String> {
        if self.phase == Phase::Connecting {
            rustix::net::sockopt::socket_error(&self.socket)
                .and_then(|error| error)
                .map_err(|error| format!("can't connect: {}", io::Error::from(error)))?;
            self.phase = Phase::Greeting;
            self.greet(agent, context);
        }
        self.flush()
    }

    /// HELLO and SUBSCRIBE in one segment.
    fn greet(&mut self, agent: &str, context: &mut Context) {
        let hello = Hello {
            features: Features::COMPACT,
            window_unit_log2: WindowUnit::DEFAULT.log2().into(),
            producer: ProducerId(u128::from(self.index) + 1),
            agent,
            system_after: None,
        };
        self.put(&Payload::Hello(hello), context);
        if let Some(topic) = self.topic {
            let topic = context.rounds.topic_name(topic);
            let subscribe = Subscribe { subscription: SUBSCRIPTION, topic: &topic, start: Start::New };
            self.sent = self.sent.next();
            self.put(&Payload::Subscribe(subscribe), context);
        }
    }

    /// Appends a publish to what [`Self::flush`] sends.
    pub(super) fn put_publish(&mut self, publish: Publish<'_>, context: &mut Context) {
        self.sent = self.sent.next();
        self.put(&Payload::Publish(publish), context);
    }

    /// Appends bytes that stand for a publish, for a floor, and for the acknowledgement that a
    /// publish carries.
    pub(super) fn put_raw(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.told();
    }

    /// Sends an acknowledgement if there is anything to acknowledge.
    pub(super) fn acknowledge(&mut self, context: &mut Context) -> Result<(), String> {
        if self.told == self.received || context.rounds.is_echoed() {
            return Ok(());
        }
        self.put(&Payload::ACK, context);
        context.tally.acks += 1;
        self.flush()
    }

    /// A timer has come due, of which this client may since have moved the time.
    pub(super) fn ack_timer(&mut self, context: &mut Context) -> Result<(), String> {
        if self.ack_due_ms.is_some_and(|due| due <= context.now_ms) {
            self.acknowledge(context)
        } else {
            Ok(())
        }
    }

    /// As [`Self::ack_timer`]. Asks for the next one by itself.
    pub(super) fn heartbeat_timer(&mut self, context: &mut Context) -> Result<(), String> {
        let now_ms = context.now_ms;
        if self.heartbeat_at_ms <= now_ms {
            let silent = now_ms > self.heard_ms + SILENT_INTERVALS_MAX * self.interval_ms;
            if silent && context.is_drained {
                return Err(format!("the server was silent for {} ms", now_ms - self.heard_ms));
            }
            self.put(&Payload::Heartbeat, context);
            context.tally.heartbeats_sent += 1;
            self.flush()?;
        }
        context.timers.heartbeat(self.heartbeat_at_ms, self.index);
        Ok(())
    }

    /// Encodes a frame, which carries the acknowledgement of all that was received.
    fn put(&mut self, payload: &Payload<'_>, context: &mut Context) {
        let window = WindowUnit::DEFAULT.window(WINDOW_BYTES);
        self.encoder.encode(payload, self.sent, self.received, window, &mut self.unsent);
        self.told();
        if self.phase == Phase::Open {
            self.heartbeat_at_ms = context.now_ms + context.timers.jittered(self.interval_ms);
        }
    }

    /// All that was received is acknowledged.
    const fn told(&mut self) {
        self.told = self.received;
        self.unacked_bytes = 0;
        self.ack_due_ms = None;
    }

    /// Sends as much as the socket takes; an edge tells when it takes more.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        let mut sent = 0;
        while sent < self.unsent.len() {
            match rustix::net::send(&self.socket, &self.unsent[sent..], SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(format!("can't send: {}", io::Error::from(error))),
            }
        }
        if sent == self.unsent.len() {
            self.unsent.clear()
        } else {
            drop(self.unsent.drain(..sent))
        }
        Ok(())
    }

    /// Reads what there is. `ended`: the server has closed, so read on to the end.
    pub(super) fn readable(
        &mut self,
        ended: bool,
        scratch: &mut [u8],
        context: &mut Context,
    ) -> Result<(), String> {
        loop {
            match rustix::net::recv(&self.socket, &mut *scratch, RecvFlags::empty()) {
                Ok((_, 0)) => return Err("the server closed the connection".to_owned()),
                Ok((_, count)) => {
                    self.take(&scratch[..count], context)?;
                    if count < scratch.len() && !ended {
                        return Ok(());
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(format!("can't receive: {}", io::Error::from(error))),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], context: &mut Context) -> Result<(), String> {
        let deliveries = context.tally.deliveries;
        if self.rest.is_empty() {
            let used = self.frames(bytes, context)?;
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.rest);
            whole.extend_from_slice(bytes);
            let used = self.frames(&whole, context)?;
            whole.drain(..used);
            self.rest = whole;
        }
        context.tally.receives += u64::from(context.tally.deliveries > deliveries);
        if self.unacked_bytes >= ACK_BYTES { self.acknowledge(context) } else { Ok(()) }
    }

    /// Handles the whole frames and returns how many bytes they are.
    fn frames(&mut self, bytes: &[u8], context: &mut Context) -> Result<usize, String> {
        self.heard_ms = context.now_ms;
        let mut used = 0;
        while used < bytes.len() {
            match self.decoder.step(&bytes[used..]).map_err(|rejection| rejection.to_string())? {
                Step::Partial(_) => break,
                Step::Frame(frame, count) => {
                    self.frame(&frame, context)?;
                    self.decoder.advance(&frame.header);
                    used += count;
                }
            }
        }
        Ok(used)
    }

    fn frame(&mut self, frame: &Frame<'_>, context: &mut Context) -> Result<(), String> {
        let header = &frame.header;
        flow::in_order(self.received, header).map_err(|error| error.to_string())?;
        flow::newly_acked(self.done, header.ack_seq, self.sent).map_err(|error| error.to_string())?;
        self.done = header.ack_seq;
        match &frame.payload {
            Payload::Delivery(delivery) => self.delivered(delivery, frame, context),
            Payload::Subscribed(told) => self.subscribed(told, context),
            Payload::Welcome(welcome) => {
                self.welcomed(welcome, header.window, context);
                Ok(())
            }
            Payload::Heartbeat => {
                context.tally.heartbeats_received += 1;
                Ok(())
            }
            Payload::Ack(_) | Payload::WindowUpdate => Ok(()),
            Payload::Gap(gap) => Err(format!("messages up to {} were lost: {}", gap.to, gap.reason.label())),
            Payload::GoAway(_) => Err("the server sends its clients away".to_owned()),
            Payload::Bye(bye) => Err(format!("the server said BYE {}: {}", bye.code, bye.detail)),
            Payload::Reject(reject) => Err(format!("the server refused: {}: {}", reject.code, reject.detail)),
            Payload::Error(refusal) => Err(format!("a request was refused: {}", refusal.detail)),
            Payload::Publish(_) | Payload::Hello(_) | Payload::Subscribe(_) | Payload::Unsubscribe(_) => {
                Err("a frame came that no server sends".to_owned())
            }
        }
    }

    fn delivered(
        &mut self,
        delivery: &Delivery<'_>,
        frame: &Frame<'_>,
        context: &mut Context,
    ) -> Result<(), String> {
        let payload_bytes = u32::from(frame.header.len);
        flow::within_window(WINDOW_BYTES.into(), self.unacked_bytes.into(), payload_bytes.into())
            .map_err(|error| error.to_string())?;
        self.received = frame.header.seq;
        self.unacked_bytes += payload_bytes;
        if self.ack_due_ms.is_none() {
            let due_ms = context.now_ms + ACK_DELAY_MS_MAX;
            self.ack_due_ms = Some(due_ms);
            context.timers.ack(due_ms, self.index);
        }
        if self.system.contains(&delivery.channel) {
            return Ok(());
        }
        let chain = self.chain.as_mut().ok_or("a message came without a subscription")?;
        chain.delivered(delivery, context.rounds.stamp_ns()).map_err(|fault| fault.to_string())?;
        context.tally.deliveries += 1;
        context.rounds.delivered(&context.watch)
    }

    fn subscribed(&mut self, told: &Subscribed<'_>, context: &Context) -> Result<(), String> {
        if told.subscription == SubscriptionId::SYSTEM {
            self.system.extend(told.parts.iter().map(|part| part.channel));
            return Ok(());
        }
        let (Some(topic), SUBSCRIPTION, None) = (self.topic, told.subscription, &self.chain) else {
            return Err("a SUBSCRIBED came that nobody asked for".to_owned());
        };
        let part = told.parts.iter().next().ok_or("a SUBSCRIBED came without a part")?;
        self.chain = Some(Chain::new(part.channel, topic, part.from, context.rounds.number_next(topic)));
        Ok(())
    }

    fn welcomed(&mut self, welcome: &Welcome, window: u16, context: &mut Context) {
        if welcome.features.has(Features::COMPACT) {
            self.encoder.agree_compact();
            self.decoder.agree_compact();
        }
        self.grant_bytes = welcome.window_unit.bytes(window);
        self.requests_max = welcome.requests_in_flight_max;
        self.interval_ms = welcome.heartbeat_interval_ms.into();
        self.phase = Phase::Open;
        self.heartbeat_at_ms = context.now_ms + context.timers.first(self.interval_ms);
        context.timers.heartbeat(self.heartbeat_at_ms, self.index);
    }
}
