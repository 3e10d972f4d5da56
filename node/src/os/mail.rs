//! The mesh of rings, as mail.

use crate::epoll::Doorbell;
use crate::kernel::Mail;
use crate::platform::RuntimeMail;
use multibeam_proto::Command;
use multibeam_rings::{Endpoint, Lane, Quota, Wake, mesh};
use std::sync::Arc;
use tokio::sync::Notify;

/// How a thread of the node is woken.
#[derive(Debug)]
pub enum Bell {
    /// A shard sleeps in epoll.
    Shard(Doorbell),
    /// The runtime sleeps in a select.
    Runtime(Arc<Notify>),
}

impl Wake for Bell {
    fn wake(&self) {
        match self {
            Self::Shard(doorbell) => doorbell.ring(),
            Self::Runtime(notify) => notify.notify_one(),
        }
    }
}

/// The mailboxes of a node: one a shard, in the order of `doorbells`, and the runtime's.
#[must_use]
pub fn mailboxes(doorbells: Vec<Doorbell>, commands: usize, replies: usize) -> (Vec<RingMail>, RingMail) {
    let mut bells: Vec<Bell> = doorbells.into_iter().map(Bell::Shard).collect();
    bells.push(Bell::Runtime(Arc::new(Notify::new())));
    let quota = |_from, _to| Quota { commands, replies };
    let mut shards: Vec<_> = mesh(quota, bells).into_iter().map(RingMail).collect();
    let Some(runtime) = shards.pop() else { unreachable!("the mesh has as many endpoints as bells") };
    (shards, runtime)
}

/// One thread's mailbox.
#[derive(Debug)]
pub struct RingMail(Endpoint<Command, Bell>);

/// Threads are numbered in 16 bits; the mesh was built so.
fn index(to: usize) -> u16 {
    u16::try_from(to).unwrap_or(u16::MAX)
}

impl Mail for RingMail {
    fn room(&mut self, to: usize) -> usize {
        self.0.room(index(to))
    }

    fn want_room(&mut self, to: usize) -> bool {
        self.0.want_room(index(to))
    }

    fn push(&mut self, to: usize, command: Command) {
        let lane = if command.is_reply() { Lane::Reply } else { Lane::Command };
        self.0.push(index(to), lane, command);
    }

    fn flush(&mut self) {
        self.0.flush();
    }

    fn pop(&mut self) -> Option<(usize, Command)> {
        self.0.pop().map(|(from, command)| (usize::from(from), command))
    }

    fn drained(&mut self) {
        self.0.released();
    }

    fn is_empty(&mut self) -> bool {
        self.0.is_empty()
    }

    fn arm(&mut self) {
        self.0.arm();
    }

    /// Also takes note of granted wishes for room: whoever is awake looks at the room itself.
    fn disarm(&mut self) {
        self.0.disarm();
        while self.0.granted().is_some() {}
    }
}

impl RuntimeMail for RingMail {
    async fn rung(&mut self) {
        match self.0.wake() {
            Bell::Runtime(notify) => notify.notified().await,
            Bell::Shard(_) => unreachable!("a shard waits in epoll"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granted_room_keeps_its_owner_from_sleep_once() {
        let doorbells = vec![Doorbell::new().expect("a descriptor")];
        let (mut shards, mut runtime) = mailboxes(doorbells, 1, 1);
        let shard = &mut shards[0];
        assert_eq!(runtime.room(0), 1);
        runtime.push(0, Command::Probe { id: 1 });
        runtime.flush();
        assert_eq!(runtime.room(0), 0);
        assert!(!runtime.want_room(0));
        runtime.arm();
        assert!(runtime.is_empty());

        assert_eq!(shard.pop(), Some((1, Command::Probe { id: 1 })));
        shard.push(1, Command::Probed { id: 1 });
        shard.drained();
        assert!(!runtime.is_empty());
        runtime.disarm();
        assert_eq!((runtime.room(0), runtime.pop()), (1, None));
        runtime.arm();
        assert!(runtime.is_empty(), "it would never sleep again");
        runtime.disarm();

        shard.flush();
        assert_eq!(runtime.pop(), Some((0, Command::Probed { id: 1 })));
    }
}
