//! The few frames that a floor says before it is measured.

use crate::commands::bench::generator::{FLOOR_ACK, FLOOR_WINDOW, PUBLISHER_AGENT, floor_channel};
use multibeam_wire::{
    Direction, Encoder, Features, Generation, Inbound, Part, Parts, Payload, Position, Seq, Subscribed,
    Welcome, WindowUnit,
};
use std::io;

/// What a client is for, as far as a floor cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Publisher,
    /// `user`: of its topic `user.{user}.msg`.
    Subscriber {
        user: Option<usize>,
    },
}

/// One client's handshake.
pub(super) struct Greeting {
    inbound: Inbound,
    encoder: Encoder,
    heartbeat_interval_ms: u32,
}

impl Greeting {
    pub(super) fn new(heartbeat_interval_ms: u32) -> Self {
        Self { inbound: Inbound::new(Direction::ToNode), encoder: Encoder::new(), heartbeat_interval_ms }
    }

    /// Takes what a client sent and appends what it is told. A role ends the handshake.
    ///
    /// # Errors
    /// It is none of the generator's clients.
    pub(super) fn handle(&mut self, bytes: &[u8], answer: &mut Vec<u8>) -> io::Result<Option<Role>> {
        self.inbound.push(bytes);
        let mut role = None;
        while let Some(frame) = self.inbound.next_frame().map_err(io::Error::other)? {
            match frame.payload {
                Payload::Hello(hello) => {
                    let welcome = Welcome {
                        features: Features::COMPACT,
                        window_unit: WindowUnit::DEFAULT,
                        heartbeat_interval_ms: self.heartbeat_interval_ms,
                        generation: Generation(1),
                        session: 1,
                        requests_in_flight_max: u32::MAX,
                        leads: true,
                    };
                    self.encoder.encode(&Payload::Welcome(welcome), Seq(0), Seq(0), FLOOR_WINDOW, answer);
                    self.encoder.agree_compact();
                    if hello.agent == PUBLISHER_AGENT {
                        role = Some(Role::Publisher);
                    }
                }
                Payload::Subscribe(subscribe) => {
                    let user = subscribe.topic.split('.').nth(1).and_then(|user| user.parse().ok());
                    let from = Position::new(1, 0);
                    let channel = floor_channel(user.unwrap_or(0) as u64);
                    let parts = [Part { channel, partition: 0, from, head: from, count: 0, gap: false }];
                    let told = Subscribed { subscription: subscribe.subscription, parts: Parts::new(&parts) };
                    self.encoder.encode(&Payload::Subscribed(told), Seq(0), FLOOR_ACK, FLOOR_WINDOW, answer);
                    role = Some(Role::Subscriber { user });
                }
                Payload::Ack(_) | Payload::Heartbeat => {}
                Payload::Publish(_)
                | Payload::Delivery(_)
                | Payload::WindowUpdate
                | Payload::Welcome(_)
                | Payload::Subscribed(_)
                | Payload::Unsubscribe(_)
                | Payload::Gap(_)
                | Payload::Error(_)
                | Payload::GoAway(_)
                | Payload::Reject(_)
                | Payload::Bye(_) => {
                    return Err(io::Error::other("a client of a floor says HELLO and SUBSCRIBE"));
                }
            }
        }
        Ok(role)
    }
}

/// HEARTBEAT as a node sends it in the steady state.
pub(super) fn heartbeat() -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.agree_compact();
    encoder.encode(&Payload::Heartbeat, Seq(0), FLOOR_ACK, FLOOR_WINDOW, &mut Vec::new());
    let mut bytes = Vec::new();
    encoder.encode(&Payload::Heartbeat, Seq(0), FLOOR_ACK, FLOOR_WINDOW, &mut bytes);
    bytes
}
