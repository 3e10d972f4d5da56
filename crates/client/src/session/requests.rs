//! Our numbered frames on one connection: what the node has answered and what it lets us send.
//!
//! ```text
//!   1 …… acked │ acked+1 …… last │ last+1 …
//!       done   │    in flight    │  as far as window and request limit allow
//! ```

use super::Ticket;
use multibeam_wire::limits::REQUESTS_IN_FLIGHT_MAX;
use multibeam_wire::{Misbehaved, Seq, SubscriptionId, WindowUnit, flow};
use std::collections::VecDeque;

/// What a numbered frame asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Publish(Ticket),
    Subscribe(SubscriptionId),
    Unsubscribe,
}

#[derive(Debug)]
struct InFlight {
    request: Request,
    /// Payload bytes that count against the window; 0 for anything but DATA.
    window_bytes: u32,
}

/// The numbered frames of this side of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    last: Seq,
    acked: Seq,
    in_flight: VecDeque<InFlight>,
    bytes_in_flight: u64,
    /// The node's grant; 0 before WELCOME.
    window_bytes: u64,
    unit: Option<WindowUnit>,
    requests_max: usize,
}

impl Requests {
    pub(super) const fn new() -> Self {
        Self {
            last: Seq(0),
            acked: Seq(0),
            in_flight: VecDeque::new(),
            bytes_in_flight: 0,
            window_bytes: 0,
            unit: None,
            requests_max: REQUESTS_IN_FLIGHT_MAX,
        }
    }

    /// Number of the last frame sent.
    pub(super) const fn last(&self) -> Seq {
        self.last
    }

    /// Takes over what WELCOME says.
    pub(super) fn welcome(&mut self, unit: WindowUnit, requests_max: u32) {
        self.unit = Some(unit);
        self.requests_max =
            usize::try_from(requests_max).unwrap_or(REQUESTS_IN_FLIGHT_MAX).clamp(1, REQUESTS_IN_FLIGHT_MAX);
    }

    /// Takes over the grant in a frame's header; its `ack_seq` must have been taken before.
    pub(super) fn grant(&mut self, window: u16) {
        self.window_bytes = self.unit.map_or(0, |unit| u64::from(unit.bytes(window)));
    }

    /// Whether one more request may go, whatever its size.
    pub(super) fn room_for_request(&self) -> bool {
        self.in_flight.len() < self.requests_max
    }

    /// Whether DATA with this payload may go. While none is in flight, one of any size may.
    pub(super) const fn room_for_data(&self, payload_bytes: u32) -> bool {
        flow::fits_window(self.window_bytes, self.bytes_in_flight, payload_bytes as u64)
    }

    /// Takes the next number for a frame that is being sent.
    pub(super) fn send(&mut self, request: Request, window_bytes: u32) -> Seq {
        assert!(self.room_for_request());
        self.last = self.last.next();
        self.bytes_in_flight += u64::from(window_bytes);
        self.in_flight.push_back(InFlight { request, window_bytes });
        self.invariants();
        self.last
    }

    /// Takes over a cumulative acknowledgement and hands out what it covers, oldest first.
    ///
    /// # Errors
    /// [`Misbehaved::AckInvalid`] where it goes backwards or covers what was never sent.
    pub(super) fn acked(&mut self, ack: Seq) -> Result<Vec<Request>, Misbehaved> {
        let newly = flow::newly_acked(self.acked, ack, self.last)? as usize;
        let done: Vec<_> = self.in_flight.drain(..newly).collect();
        self.bytes_in_flight -= done.iter().map(|sent| u64::from(sent.window_bytes)).sum::<u64>();
        self.acked = ack;
        self.invariants();
        Ok(done.into_iter().map(|sent| sent.request).collect())
    }

    /// The request that `seq` numbers, if it is still in flight. It keeps counting as in
    /// flight until an acknowledgement covers it.
    ///
    /// # Errors
    /// [`Misbehaved::AckInvalid`] where nothing with that number was ever sent.
    pub(super) fn at(&self, seq: Seq) -> Result<Option<Request>, Misbehaved> {
        if seq.distance(self.last) < 0 {
            return Err(Misbehaved::AckInvalid { acked: self.acked, ack: seq, sent: self.last });
        }
        let index = usize::try_from(i64::from(self.acked.distance(seq)) - 1).ok();
        Ok(index.and_then(|index| self.in_flight.get(index)).map(|sent| sent.request))
    }

    pub(super) fn invariants(&self) {
        debug_assert_eq!(i64::from(self.acked.distance(self.last)), self.in_flight.len() as i64);
        debug_assert_eq!(
            self.bytes_in_flight,
            self.in_flight.iter().map(|sent| u64::from(sent.window_bytes)).sum::<u64>()
        );
        assert!(self.in_flight.len() <= REQUESTS_IN_FLIGHT_MAX);
    }
}
