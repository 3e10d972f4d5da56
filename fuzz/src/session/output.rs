//! Output, as the event loop moves it: staged for some connections at once, sent whole or in part, what
//! is owed of a frame kept for next time.

use super::bytes::Bytes;
use super::checks::Made;
use super::{Check, World};
use multibeam_proto::{Run, Staged};
use std::ops::Range;

struct Sending {
    slot: usize,
    bytes: Range<usize>,
    run: Option<Run>,
    frames: Range<usize>,
}

impl World {
    /// Stages for these connections, and sends what the bytes say; for nobody else.
    pub(super) fn send(&mut self, slots: &[usize], bytes: &mut Bytes<'_>, all: bool) -> Check {
        let (mut out, mut frames, mut sends) = (Vec::new(), Vec::new(), Vec::new());
        for slot in slots {
            let Some(client) = &self.clients[*slot] else { continue };
            let (id, tail) = (client.id, client.tail.len());
            let bytes_max = if all { 65_536 } else { bytes.of(&[65_536, 1, 30, 100, 400]) };
            let queued = self.queued.remove(&id.slot);
            if tail == 0 && !queued {
                continue;
            }
            let before = (out.len(), frames.len());
            let mut run = None;
            if tail < bytes_max {
                let direct = tail == 0 && (all || bytes.pick(3) != 2);
                let made = self.shard.stage(id, bytes_max - tail, direct, &mut out, &mut frames, self.now);
                run = made.run;
                if made.bytes != out.len() - before.0 {
                    return Err(format!("{made:?}, but {} bytes were added", out.len() - before.0));
                }
            }
            if tail > 0 || run.is_some() || out.len() > before.0 {
                let (bytes, frames) = (before.0..out.len(), before.1..frames.len());
                sends.push(Sending { slot: *slot, bytes, run, frames });
            } else if self.shard.wants_to_send(id) {
                return Err(format!("{id:?} wants to send, and has nothing"));
            }
        }
        if self.leased && self.shard.leads() && !all && bytes.rarely(8) {
            // It is taken back, as if the sockets had taken nothing.
            self.shard.set_lease(false);
            for sending in sends {
                if let Some(client) = &self.clients[sending.slot] {
                    let (id, tail) = (client.id, !client.tail.is_empty());
                    self.look_at(id);
                    if tail {
                        self.queued.insert(id.slot);
                    }
                }
            }
            return Ok(());
        }
        for sending in sends {
            self.sent(&sending, &out, &frames, bytes, all)?;
        }
        Ok(())
    }

    /// The socket takes some of it.
    fn sent(
        &mut self,
        sending: &Sending,
        out: &[u8],
        frames: &[Staged],
        bytes: &mut Bytes<'_>,
        all: bool,
    ) -> Check {
        let Some(client) = &mut self.clients[sending.slot] else { return Ok(()) };
        let id = client.id;
        self.queued.insert(id.slot);
        let mut fresh = out[sending.bytes.clone()].to_vec();
        if let Some(run) = &sending.run {
            let run_bytes = self.shard.run_bytes(run);
            if run_bytes.len() != run.bytes {
                return Err(format!("{run:?} has {} bytes", run_bytes.len()));
            }
            fresh.extend_from_slice(run_bytes);
        }
        let total = client.tail.len() + fresh.len();
        let count = match if all { 0 } else { bytes.pick(4) } {
            0 | 1 => total,
            2 => 1 + bytes.pick(total.min(256)),
            _ => 1 + total * bytes.pick(256) / 257,
        };
        let of_tail = count.min(client.tail.len());
        let frames_max = self.config.deliveries_in_flight_max;
        let tail: Vec<u8> = client.tail.drain(..of_tail).collect();
        client.received.got(&tail, &mut self.truth, frames_max, client.tail_made)?;
        if !client.tail.is_empty() {
            return Ok(());
        }
        let taken = count - of_tail;
        let end = self.shard.commit(id, taken, &frames[sending.frames.clone()], self.now);
        if end < taken || end > fresh.len() {
            return Err(format!("{taken} of {} bytes were taken, and frames end at {end}", fresh.len()));
        }
        client.tail = fresh[taken..end].to_vec();
        client.tail_made = Made { at: self.now, led: self.shard.leads() };
        client.received.got(&fresh[..taken], &mut self.truth, frames_max, client.tail_made)?;
        self.shard.hold_back(id);
        if !self.shard.wants_to_send(id) {
            self.queued.remove(&id.slot);
        }
        self.noted.insert(id.slot, self.shard.next_deadline(id));
        Ok(())
    }
}
