//! The only function of a shard that blocks.

use super::EpollKernel;
use super::clock::Clock;
use super::heap;
use crate::event_loop::{Loop, Next};
use crate::kernel::Mail;
use std::time::Duration;

/// Runs a shard on the calling thread until it has stopped.
///
/// # Errors
/// The shard's epoll is broken. Its connections end with the loop.
pub fn drive_epoll<M: Mail>(event_loop: &mut Loop<EpollKernel<M>>, clock: Clock) -> std::io::Result<()> {
    loop {
        event_loop.turn(clock.now());
        let timeout = match event_loop.release(clock.now()) {
            Next::Again => Some(Duration::ZERO),
            // Sampled again: the sends of this turn took time.
            Next::Sleep(until) => {
                if event_loop.crowd_left() {
                    heap::trim();
                }
                until.map(|until| until.since(clock.now()))
            }
            Next::Done => return Ok(()),
        };
        event_loop.kernel().wait(timeout)?;
    }
}
