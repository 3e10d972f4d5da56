//! The sleep invariant: whoever sleeps with work undone can name what will wake it.
//!
//! Checked each time a loop says `Sleep`, by comparing what it believes with what is true in
//! the model. It is the detector of lost wake-ups: a later edge would heal most of them, so
//! that clients seldom notice.

use crate::ModelKernel;
use multibeam::event_loop::{Asleep, Loop};
use multibeam_proto::Time;
use std::fmt;

/// Something will never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// Input waits, no edge is owed, and the loop would read it.
    LostReadEdge(Asleep),
    /// Output waits, no edge is owed, no retry is due, and it is not a lease that it waits for.
    LostWriteEdge(Asleep),
    /// Output waits for a lease, and nothing will make the loop look at it.
    LostLease(Asleep),
    /// A stalled connection that nothing will resume.
    StalledForEver(Asleep),
    /// Work waits for room in the ring of this thread, and nobody will be told of it.
    RoomNotRung(usize),
    /// Mail waits and nobody rang.
    LostDoorbell,
    /// Somebody waits to be accepted and nothing will make the loop look.
    LostAccept,
    /// A connection has a deadline and the loop sleeps without one.
    LostTimer,
    /// The loop holds another number of connections than the kernel has handles.
    Leak {
        /// In the loop.
        connections: usize,
        /// In the kernel.
        handles: usize,
        /// Dropped without being closed.
        dropped: usize,
    },
}

impl fmt::Display for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asleep for ever: {self:?}")
    }
}

/// Checks a loop that has just said `Sleep(until)`.
///
/// # Errors
/// The first thing that will never happen.
pub fn check_sleep(sleeper: &mut Loop<ModelKernel>, own: usize, until: Option<Time>) -> Result<(), Lapse> {
    let state = sleeper.sleeper();
    let kernel = sleeper.kernel_ref();
    let sockets = kernel.io.sockets().borrow();
    let post = kernel.mail.post().borrow();
    if post.lies_unseen(own) {
        return Err(Lapse::LostDoorbell);
    }
    if sockets.waits_unseen() && !state.stopping && (state.accept_at.is_none() || until.is_none()) {
        return Err(Lapse::LostAccept);
    }
    if let Some(at) = state.wants_room_at.iter().find(|at| !post.will_ring(own, **at)) {
        return Err(Lapse::RoomNotRung(*at));
    }
    let (connections, handles, dropped) = (state.connections, sockets.held(), sockets.leaks());
    if connections != handles || dropped > 0 {
        return Err(Lapse::Leak { connections, handles, dropped });
    }
    let mut by_token = std::collections::BTreeMap::new();
    for view in sockets.views() {
        by_token.insert(view.token, view);
    }
    for asleep in sleeper.asleep() {
        let Some(view) = by_token.get(&asleep.token) else {
            return Err(Lapse::Leak { connections, handles, dropped });
        };
        if asleep.has_unread || (asleep.awaits_read_edge && view.readable && !view.read_edge) {
            return Err(Lapse::LostReadEdge(asleep));
        }
        if asleep.has_output && !view.write_edge && asleep.send_retry.is_none() {
            if !asleep.awaits_lease {
                return Err(Lapse::LostWriteEdge(asleep));
            }
            if state.lease_at.is_none() || until.is_none() || until > state.lease_at {
                return Err(Lapse::LostLease(asleep));
            }
        }
        if asleep.stalled && !asleep.has_output && !post.moves(own) {
            return Err(Lapse::StalledForEver(asleep));
        }
        if asleep.has_deadline && until.is_none() {
            return Err(Lapse::LostTimer);
        }
    }
    Ok(())
}
