//! The node's numbered frames on one connection: what the application has handled, what the
//! node was told of it, and what the node may send.
//!
//! ```text
//!   1 …… told │ told+1 …… done │ done+1 …… last
//!      acked  │ to be acked    │ open: not handled, or behind one that is not
//! ```
//!
//! An acknowledgement is due at a quarter of the window, or 500 ms after the first frame
//! became done, whichever is first; any frame sent earlier carries it.

use multibeam_wire::{CloseCode, Misbehaved, Seq, WindowUnit, flow};
use std::collections::VecDeque;

/// How long an acknowledgement waits for a frame that carries it.
const ACK_DELAY_MS_MAX: u64 = 500;

/// GAPs that are not acknowledged. They are free of credit, so that only this bounds what a
/// node can put into the queues; an honest node sends one for each stretch it evicted.
const GAPS_UNACKED_MAX: usize = 65_536;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Data { payload_bytes: u32 },
    Gap,
}

#[derive(Debug)]
struct Open {
    kind: Kind,
    done: bool,
}

/// The numbered frames of the node's side of one connection.
#[derive(Debug)]
pub(super) struct Deliveries {
    last: Seq,
    told: Seq,
    done: Seq,
    open: VecDeque<Open>,
    /// DATA above `told`: payload bytes and frames.
    unacked_bytes: u64,
    unacked_data: usize,
    unacked_gaps: usize,
    /// Of these, those up to `done`.
    done_bytes: u64,
    done_data: usize,
    done_gaps: usize,
    ack_due_ms: Option<u64>,
    unit: WindowUnit,
    window_bytes_max: u32,
    /// Bytes held for the application from earlier connections; they lower the grant.
    carried_bytes: u64,
    window_told: u16,
    /// The largest grant that the node may have understood.
    granted_bytes: u64,
}

impl Deliveries {
    pub(super) const fn new(unit: WindowUnit, window_bytes_max: u32, carried_bytes: u64) -> Self {
        Self {
            last: Seq(0),
            told: Seq(0),
            done: Seq(0),
            open: VecDeque::new(),
            unacked_bytes: 0,
            unacked_data: 0,
            unacked_gaps: 0,
            done_bytes: 0,
            done_data: 0,
            done_gaps: 0,
            ack_due_ms: None,
            unit,
            window_bytes_max,
            carried_bytes,
            window_told: 0,
            granted_bytes: 0,
        }
    }

    /// Takes over the unit that WELCOME says.
    pub(super) fn welcome(&mut self, unit: WindowUnit) {
        if self.unit != unit {
            self.granted_bytes = self.granted_bytes.max(unit.bytes(self.window_told).into());
            self.unit = unit;
        }
    }

    /// Number of the last frame received. [`Self::data`] and [`Self::gap`] take over the next one, so
    /// that a frame with another fault leaves no trace.
    pub(super) const fn last(&self) -> Seq {
        self.last
    }

    /// Takes over a DATA frame whose number was checked.
    ///
    /// # Errors
    /// [`Misbehaved::WindowExceeded`].
    pub(super) fn data(&mut self, payload_bytes: u32) -> Result<Seq, Misbehaved> {
        let in_flight_bytes = self.unacked_bytes;
        self.last = self.last.next();
        self.open.push_back(Open { kind: Kind::Data { payload_bytes }, done: false });
        self.unacked_bytes += u64::from(payload_bytes);
        self.unacked_data += 1;
        self.invariants();
        flow::within_window(self.granted_bytes, in_flight_bytes, payload_bytes.into()).map(|()| self.last)
    }

    /// Takes over a GAP frame whose number was checked.
    ///
    /// # Errors
    /// [`CloseCode::WindowExceeded`] where far too many are unacknowledged.
    pub(super) fn gap(&mut self) -> Result<Seq, CloseCode> {
        self.last = self.last.next();
        self.open.push_back(Open { kind: Kind::Gap, done: false });
        self.unacked_gaps += 1;
        self.invariants();
        if self.unacked_gaps > GAPS_UNACKED_MAX { Err(CloseCode::WindowExceeded) } else { Ok(self.last) }
    }

    /// The application has handled the frame `seq`. Frames may become done in any order; a
    /// second call for one changes nothing.
    pub(super) fn handled(&mut self, seq: Seq, now_ms: u64) {
        let Ok(index) = usize::try_from(i64::from(self.done.distance(seq)) - 1) else { return };
        assert!(index < self.open.len(), "{seq:?} was never received");
        self.open[index].done = true;
        while self.open.front().is_some_and(|front| front.done) {
            let Some(front) = self.open.pop_front() else { break };
            self.done = self.done.next();
            self.ack_due_ms.get_or_insert(now_ms + ACK_DELAY_MS_MAX);
            match front.kind {
                Kind::Data { payload_bytes } => {
                    self.done_bytes += u64::from(payload_bytes);
                    self.done_data += 1;
                }
                Kind::Gap => self.done_gaps += 1,
            }
        }
        if self.done_bytes >= u64::from(self.window_bytes_max / 4) && self.done_bytes > 0 {
            self.ack_due_ms = Some(now_ms);
        }
        self.invariants();
    }

    /// Less is held from earlier connections than before.
    pub(super) fn carried(&mut self, carried_bytes: u64) {
        assert!(carried_bytes <= self.carried_bytes);
        self.carried_bytes = carried_bytes;
    }

    /// When an acknowledgement is due that no other frame has carried.
    pub(super) const fn ack_due_ms(&self) -> Option<u64> {
        self.ack_due_ms
    }

    /// Whether the node should hear that its grant has grown.
    pub(super) fn window_update_due(&self) -> bool {
        let window = self.window();
        let grown_bytes = self.unit.bytes(window.saturating_sub(self.window_told));
        window > self.window_told && (self.window_told == 0 || grown_bytes >= self.window_bytes_max / 4)
    }

    /// What the header of a frame says that is built at this moment: `ack_seq` and `window`.
    pub(super) fn header_fields(&self) -> (Seq, u16) {
        (self.done, self.window())
    }

    /// A frame with the present [`Self::header_fields`] goes out.
    pub(super) fn told(&mut self) {
        self.told = self.done;
        self.unacked_bytes -= std::mem::take(&mut self.done_bytes);
        self.unacked_data -= std::mem::take(&mut self.done_data);
        self.unacked_gaps -= std::mem::take(&mut self.done_gaps);
        self.ack_due_ms = None;
        self.window_told = self.window();
        self.granted_bytes = self.granted_bytes.max(self.unit.bytes(self.window_told).into());
        self.invariants();
    }

    /// Never falls on one connection, since what is carried only shrinks.
    fn window(&self) -> u16 {
        let carried = u32::try_from(self.carried_bytes).unwrap_or(u32::MAX);
        self.unit.window(self.window_bytes_max.saturating_sub(carried))
    }

    pub(super) fn invariants(&self) {
        debug_assert_eq!(i64::from(self.done.distance(self.last)), self.open.len() as i64);
        assert!(self.told.distance(self.done) >= 0);
        assert!(self.done_bytes <= self.unacked_bytes);
        assert!(self.done_data + self.done_gaps <= self.unacked_data + self.unacked_gaps);
    }
}
