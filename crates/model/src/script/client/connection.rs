//! One connection of a client: its stream, both its windows, and what may leave without a lease.

use crate::lease;
use crate::sockets::SocketId;
use multibeam_proto::Time;
use multibeam_wire::{
    ChannelId, Direction, Encoder, Frame, FrameType, Generation, Inbound, Payload, Seq, SubscriptionId,
    WindowUnit,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// Of both windows.
pub(super) const UNIT: WindowUnit = WindowUnit::SMALLEST;

/// One connection of a client.
#[derive(Debug)]
pub(in crate::script) struct Connection {
    pub(in crate::script) shard: usize,
    pub(in crate::script) socket: SocketId,
    pub(in crate::script) opened: Time,
    /// Bytes that were written and did not fit the socket yet.
    pub(in crate::script) outgoing: VecDeque<u8>,
    /// Sends nothing any more; the end follows what is outgoing.
    pub(in crate::script) ending: bool,
    pub(in crate::script) ended: bool,
    pub(super) inbound: Inbound,
    pub(super) encoder: Encoder,
    /// What the node calls our subscriptions.
    pub(super) channels: BTreeMap<ChannelId, SubscriptionId>,
    pub(super) generation: Option<Generation>,
    pub(in crate::script) bye: Option<u16>,
    pub(super) sent: Seq,
    pub(super) acked: Seq,
    /// Publishes by their frame's number.
    pub(super) publishes: VecDeque<(Seq, u64, u32)>,
    pub(super) node_window: u32,
    pub(super) received: Seq,
    /// Not yet acknowledged by us.
    pub(super) ack_owed: bool,
    pub(super) window: u16,
    /// Sum of payload bytes of all DATA received, and at our last acknowledgement.
    data_bytes: u64,
    data_limit: u64,
    /// Sums at which we said, with a window above zero, that nothing is in flight.
    empty_at: BTreeSet<u64>,
    /// Bytes of the stream that have come.
    pub(super) came: u64,
    /// Those that left the node when it held no lease.
    without_lease: Vec<Range<u64>>,
    /// The last frame was a GAP that began under a lease: what it goes with may follow, wholly or not at all.
    joined: bool,
    /// Told to go elsewhere, and not that it is to stay.
    pub(super) away: bool,
}

impl Connection {
    pub(super) fn new(shard: usize, socket: SocketId, window: u16, now: Time) -> Self {
        Self {
            shard,
            socket,
            opened: now,
            outgoing: VecDeque::new(),
            ending: false,
            ended: false,
            inbound: Inbound::new(Direction::ToClient),
            encoder: Encoder::new(),
            channels: BTreeMap::new(),
            generation: None,
            bye: None,
            sent: Seq(0),
            acked: Seq(0),
            publishes: VecDeque::new(),
            node_window: 0,
            received: Seq(0),
            ack_owed: false,
            window,
            data_bytes: 0,
            data_limit: 0,
            empty_at: BTreeSet::new(),
            came: 0,
            without_lease: Vec::new(),
            joined: false,
            away: false,
        }
    }

    /// These bytes of the stream left the node when it held no lease.
    pub(super) fn left_without_lease(&mut self, bytes: Range<u64>) {
        self.without_lease.push(bytes);
    }

    /// R7: a frame that began without a lease says nothing that only a leader may say.
    pub(super) fn check_lease(&mut self, frame: &Frame<'_>, start: u64) -> Result<(), String> {
        let led = !self.without_lease.iter().any(|bytes| bytes.contains(&start));
        let joined = self.joined;
        self.joined = (led || joined) && matches!(frame.payload, Payload::Gap(_));
        if led || joined || (lease::needs_none(&frame.payload) && frame.header.ack_seq == self.acked) {
            return Ok(());
        }
        Err(format!("R7: {frame:?} left without a lease, behind {:?}", self.acked))
    }

    /// What is being sent carries an acknowledgement and a window: remember what it allows.
    pub(super) fn granted(&mut self) {
        let window = u64::from(UNIT.bytes(self.window));
        self.data_limit = self.data_limit.max(self.data_bytes + window);
        if window > 0 {
            self.empty_at.insert(self.data_bytes);
        }
    }

    /// P7: payload bytes in flight stay within a window that was granted, or it is one frame
    /// where nothing is in flight.
    pub(super) fn check_window(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        if frame.header.frame_type != FrameType::Data {
            return Ok(());
        }
        let before = self.data_bytes;
        self.data_bytes += u64::from(frame.header.len);
        if self.data_bytes > self.data_limit && !self.empty_at.contains(&before) {
            return Err(format!("P7: {} bytes in flight, {} allowed", self.data_bytes, self.data_limit));
        }
        Ok(())
    }
}
