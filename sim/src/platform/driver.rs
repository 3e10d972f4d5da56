//! Drives one event loop as a task: turns, release, and the wait between them. Here the sleep
//! invariant is checked, each time a loop says that it has nothing to do.

use super::SimPlatform;
use crate::random::Random;
use crate::world::Phase;
use multibeam::event_loop::{Loop, Next};
use multibeam::platform::Platform;
use multibeam_model::core::{Stat, Time};
use multibeam_model::post::Post;
use multibeam_model::{ModelKernel, invariants};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// Turns without sleep, and without a byte from or to a socket, that count as a loop that never
/// sleeps again. A clean run has a few thousand.
const AGAINS_MAX: u32 = 50_000;

/// Shortest wait: below, a deadline that is just now would turn for ever at one moment.
const WAIT_MIN: Duration = Duration::from_micros(1);

pub(super) struct Driver {
    pub(super) platform: SimPlatform,
    pub(super) index: usize,
    pub(super) wake: Rc<Notify>,
    pub(super) post: Rc<RefCell<Post>>,
    pub(super) random: Random,
}

impl Driver {
    pub(super) async fn drive(mut self, mut shard: Loop<ModelKernel>) {
        let (mut agains, mut bytes) = (0, 0);
        loop {
            // A process that stops may stop between the halves of a turn as well.
            if self.random.chance(50) {
                self.platform.run.pause.over().await;
            }
            shard.turn(self.platform.now());
            self.platform.run.pause.over().await;
            let next = self.release(&mut shard);
            self.note(&mut shard, next);
            match next {
                Next::Done => return,
                Next::Again => {
                    // A budget of two bytes a turn makes many turns of a busy socket.
                    let stats = shard.stats();
                    let moved = stats.load(Stat::BytesIn) + stats.load(Stat::BytesOut);
                    agains = if std::mem::replace(&mut bytes, moved) == moved { agains + 1 } else { 0 };
                    if agains > AGAINS_MAX {
                        let detail =
                            format!("shard {} turned {agains} times without sleep or bytes", self.index);
                        self.platform.world.fail("livelock", detail);
                        return;
                    }
                    self.again().await;
                }
                Next::Sleep(until) => {
                    agains = 0;
                    if let Err(lapse) = invariants::check_sleep(&mut shard, self.index, until) {
                        let detail = format!("shard {}: {lapse}", self.index);
                        self.platform.world.fail("sleep", detail);
                        return;
                    }
                    self.sleep(until).await;
                    self.wake_late().await;
                }
            }
        }
    }

    /// The second half of a turn; what leaves without a lease is noted for the judge (R7).
    fn release(&self, shard: &mut Loop<ModelKernel>) -> Next {
        let run = &self.platform.run;
        let sockets = Rc::clone(&run.sockets.borrow()[self.index]);
        let unleased = (!self.platform.is_led()).then(|| run.peers.borrow().sent(&sockets));
        let next = shard.release(self.platform.now());
        if let Some(before) = unleased {
            run.peers.borrow_mut().left_without_lease(before);
        }
        next
    }

    /// Others may run: preempted threads go on, or the processor is away for a while.
    async fn again(&mut self) {
        if self.random.chance(30) {
            self.post.borrow_mut().land_all();
        }
        let nap = self.platform.world.plan.host.nap_permille;
        if nap > 0 && self.random.range(0..=999) < nap {
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }

    /// The thread of a slow shard was woken and has to wait for the processor.
    async fn wake_late(&mut self) {
        let world = &self.platform.world;
        let slow = world.plan.host.slow_shard == Some(self.index) && world.phase.get() == Phase::Faults;
        if slow && self.random.chance(40) {
            let late = self.random.range(1..=world.plan.host.slow_ms);
            tokio::time::sleep(Duration::from_millis(late)).await;
        }
    }

    async fn sleep(&self, until: Option<Time>) {
        let Some(until) = until else { return self.wake.notified().await };
        let wait = self.platform.on_its_clock(until.since(self.platform.now())).max(WAIT_MIN);
        tokio::select! {
            biased;
            () = self.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// Puts the turn into the trace, and the numbers where they can be read from outside.
    fn note(&self, shard: &mut Loop<ModelKernel>, next: Next) {
        let world = &self.platform.world;
        let next = match next {
            Next::Done => 0,
            Next::Again => 1,
            Next::Sleep(None) => 2,
            Next::Sleep(Some(until)) => until.0,
        };
        let seen = self.post.borrow().seen();
        let stats = &mut self.platform.run.stats.borrow_mut()[self.index];
        stats.clear();
        stats.extend_from_slice(shard.stats().all());
        let traced = stats.len();
        stats.extend([next, seen.digest, seen.preempted, seen.room_rung]);
        let what = ["turn 0", "turn 1", "turn 2"].get(self.index).copied().unwrap_or("turn");
        world.trace.borrow_mut().record(world.time_us(), what, stats, &[]);
        stats.truncate(traced);
    }
}
