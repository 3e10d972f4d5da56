//! A session and its node, joined by calls, on a clock that the test moves.

use super::{Got, Node, TOPIC};
use multibeam_client::session::{Beside, Dial, Flow, HandoutId, Next, Notice, Ticket};
use multibeam_client::{Config, Event, Message, Publish, PublishError, Published, Session, Start};
use multibeam_wire::{Header, SubscriptionId};

/// A session and its node, joined by calls.
pub struct Rig {
    pub session: Session,
    pub node: Node,
    pub now_ms: u64,
    /// Everything that the client sent on this connection, with the time.
    pub got: Vec<(u64, Header, Got)>,
    pub outcomes: Vec<(Ticket, Result<Published, PublishError>)>,
    pub accepted: Vec<Ticket>,
    /// The session asked for the end of the connection.
    pub closing: bool,
    /// The server dialled last.
    pub server: String,
    /// Servers dialled beside a connection, with the time.
    pub beside: Vec<(u64, String)>,
    /// The node of the connection beside, and what it got.
    pub second: Option<Node>,
    pub got_beside: Vec<Got>,
    /// What the connection before the present one got last, since the client moved.
    pub got_before: Vec<Got>,
    open: bool,
}

impl Rig {
    pub fn new(config: Config) -> Self {
        Self {
            session: Session::new(config),
            node: Node::new(),
            now_ms: 0,
            got: Vec::new(),
            outcomes: Vec::new(),
            accepted: Vec::new(),
            closing: false,
            server: String::new(),
            beside: Vec::new(),
            second: None,
            got_beside: Vec::new(),
            got_before: Vec::new(),
            open: false,
        }
    }

    /// A rig whose handshake is over.
    pub fn connected(config: Config) -> Self {
        let mut rig = Self::new(config);
        rig.open();
        rig.welcome();
        rig
    }

    /// Waits for the session to dial, and opens the connection to a fresh node.
    pub fn open(&mut self) {
        let mut dial = self.session.poll_dial(self.now_ms);
        while dial == Dial::Wait {
            self.now_ms = self.session.next_deadline_ms().expect("a deadline while waiting");
            self.session.handle_timeout(self.now_ms);
            dial = self.session.poll_dial(self.now_ms);
        }
        match dial {
            Dial::Now(server) => self.server = server,
            Dial::Wait | Dial::Never => panic!("{dial:?}"),
        }
        let old = std::mem::replace(&mut self.node, Node::new());
        self.node.generation = old.generation;
        self.node.interval_ms = old.interval_ms;
        self.node.requests_max = old.requests_max;
        self.node.window = old.window;
        self.node.features = old.features;
        self.got.clear();
        self.closing = false;
        self.open = true;
        self.session.connected(self.now_ms);
        self.pump();
    }

    pub fn welcome(&mut self) {
        let bytes = self.node.welcome();
        self.say(&bytes);
    }

    pub fn lose(&mut self) {
        self.open = false;
        self.session.disconnected(None, self.now_ms);
        self.pump();
    }

    pub fn reopen(&mut self) {
        self.lose();
        self.open();
        self.welcome();
    }

    /// Hands bytes of the node to the session.
    pub fn say(&mut self, bytes: &[u8]) {
        self.session.handle_bytes(bytes, self.now_ms);
        self.pump();
    }

    /// The connection that is being dialled beside opens, to a fresh node.
    pub fn open_beside(&mut self) {
        self.second = Some(Node::new());
        self.got_beside.clear();
        self.session.beside_connected(self.now_ms);
        self.pump();
    }

    /// It answers, from a node that holds a lease or does not.
    pub fn welcome_beside(&mut self, leads: bool) {
        let node = self.second.as_mut().expect("a connection beside");
        node.leads = leads;
        let bytes = node.welcome();
        self.say_beside(&bytes);
    }

    pub fn say_beside(&mut self, bytes: &[u8]) {
        self.session.beside_bytes(bytes, self.now_ms);
        self.pump();
    }

    /// It can't be opened, or breaks.
    pub fn fail_beside(&mut self) {
        let error = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        self.session.beside_failed(&error, self.now_ms);
        self.pump();
    }

    fn pump_beside(&mut self) {
        let mut out = Vec::new();
        match self.session.poll_beside(self.now_ms, &mut out) {
            Beside::None => self.second = None,
            Beside::Dial(server) => {
                self.second = None;
                self.beside.push((self.now_ms, server));
            }
            Beside::Dialing => {}
            Beside::Open => self.hear_beside(&out),
            Beside::Close => {
                self.hear_beside(&out);
                self.second = None;
            }
            Beside::Moved => {
                let next = self.second.take().expect("a connection beside");
                let mut before = std::mem::replace(&mut self.node, next);
                self.got_before = before.receive(&out).into_iter().map(|(_, got)| got).collect();
                self.got.clear();
            }
        }
    }

    fn hear_beside(&mut self, bytes: &[u8]) {
        if let Some(node) = &mut self.second {
            self.got_beside.extend(node.receive(bytes).into_iter().map(|(_, got)| got));
        }
    }

    pub fn pump(&mut self) {
        self.pump_beside();
        let mut out = Vec::new();
        let flow = self.session.poll_output(self.now_ms, &mut out);
        self.closing |= self.open && flow == Flow::Close;
        for (header, got) in self.node.receive(&out) {
            self.got.push((self.now_ms, header, got));
        }
        while let Some(notice) = self.session.poll_notice() {
            match notice {
                Notice::PublishEnded(ticket, outcome) => self.outcomes.push((ticket, outcome)),
                Notice::PublishAccepted(ticket) => self.accepted.push(ticket),
                Notice::Readable(_) | Notice::Status => {}
            }
        }
    }

    /// Lets time pass, deadline by deadline.
    pub fn advance(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while !self.open && self.now_ms < end_ms {
            // An attempt to connect may be due, which is the test's to make.
            self.now_ms += 1;
            self.session.handle_timeout(self.now_ms);
            self.pump();
        }
        while let Some(due_ms) = self.session.next_deadline_ms().filter(|&due_ms| due_ms <= end_ms) {
            if self.closing || !self.open {
                break;
            }
            self.now_ms = self.now_ms.max(due_ms);
            self.session.handle_timeout(self.now_ms);
            self.pump();
        }
        self.now_ms = end_ms;
    }

    pub fn publish(&mut self, body: &[u8]) -> Ticket {
        self.publish_with(Publish::to(TOPIC, body))
    }

    pub fn publish_with(&mut self, publish: Publish) -> Ticket {
        let ticket = self.session.publish(publish, self.now_ms).expect("a good publish");
        self.pump();
        ticket
    }

    pub fn subscribe(&mut self, start: Start) -> SubscriptionId {
        self.subscribe_to(TOPIC, start)
    }

    pub fn subscribe_to(&mut self, topic: &str, start: Start) -> SubscriptionId {
        let id = self.session.subscribe(topic, start).expect("room for a subscription");
        self.pump();
        id
    }

    pub fn next(&mut self, id: SubscriptionId) -> Option<Event> {
        self.take(id).map(|(event, _)| event)
    }

    pub fn take(&mut self, id: SubscriptionId) -> Option<(Event, Option<HandoutId>)> {
        let next = self.session.next_event(id, self.now_ms);
        self.pump();
        match next {
            Next::Event(event, owed) => Some((event, owed)),
            Next::Wait | Next::End => None,
        }
    }

    /// The next event, which must be a message.
    #[track_caller]
    pub fn message(&mut self, id: SubscriptionId) -> Message {
        match self.next(id) {
            Some(Event::Message(message)) => message,
            other => panic!("no message but {other:?}"),
        }
    }

    /// The next event, which must be a message that owes an ack.
    #[track_caller]
    pub fn owed(&mut self, id: SubscriptionId) -> (u64, HandoutId) {
        match self.take(id) {
            Some((Event::Message(message), Some(owed))) => (message.position.offset.0, owed),
            other => panic!("no message that owes an ack but {other:?}"),
        }
    }

    pub fn ack(&mut self, id: SubscriptionId, owed: HandoutId) {
        self.session.ack(id, owed, self.now_ms);
        self.pump();
    }

    /// Numbers and retry marks of the publishes on this connection.
    pub fn publishes(&self) -> Vec<(u64, Option<u64>)> {
        let publish = |(_, _, got): &(u64, Header, Got)| match got {
            Got::Publish { number, retry_of, .. } => Some((*number, *retry_of)),
            _ => None,
        };
        self.got.iter().filter_map(publish).collect()
    }

    /// Where subscriptions began on this connection.
    pub fn starts(&self) -> Vec<Start> {
        let start = |(_, _, got): &(u64, Header, Got)| match got {
            Got::Subscribe { start, .. } => Some(start.clone()),
            _ => None,
        };
        self.got.iter().filter_map(start).collect()
    }

    /// Times at which a frame of this kind came.
    pub fn times(&self, kind: &Got) -> Vec<u64> {
        self.got.iter().filter(|(_, _, got)| got == kind).map(|(at, _, _)| *at).collect()
    }

    pub fn outcome(&self, ticket: Ticket) -> Option<Result<Published, PublishError>> {
        self.outcomes.iter().find(|(it, _)| *it == ticket).map(|(_, outcome)| outcome.clone())
    }
}
