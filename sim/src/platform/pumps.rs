//! Between the simulated network and the model's sockets: one task each way.
//!
//! A connection is open from when it arrives, not from when the node accepts it, so that data
//! before accept exists as it does in a kernel. A socket that the node closed answers further
//! input with a reset.

use super::NodeRun;
use crate::history::What;
use crate::random::Random;
use crate::world::World;
use multibeam_model::sockets::{SocketId, Sockets};
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use turmoil::net::TcpListener;
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A connection that nobody holds and whose peer takes nothing is given up after this long,
/// as a kernel gives up after its retransmissions.
const ORPHAN_MAX: Duration = Duration::from_secs(5);

pub(super) struct Acceptor {
    pub(super) world: Rc<World>,
    pub(super) run: Rc<NodeRun>,
    pub(super) random: Random,
}

impl Acceptor {
    pub(super) async fn accept(mut self, listener: TcpListener) {
        let mut number = 0;
        loop {
            let Ok((stream, peer)) = listener.accept().await else { continue };
            let shards = self.run.sockets.borrow().len();
            // As the hash of a reuse-port group: the choice is not the node's.
            let shard = self.random.length(0..=shards - 1);
            let sockets = Rc::clone(&self.run.sockets.borrow()[shard]);
            let Some(id) = sockets.borrow_mut().connect() else {
                self.world.disturb();
                continue;
            };
            number += 1;
            self.run.peers.borrow_mut().open(number, &sockets, id, self.world.time_us());
            let (input, output) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
            let wake = (Rc::clone(&input), Rc::clone(&output));
            sockets.borrow_mut().on_change(id, move || {
                wake.0.notify_one();
                wake.1.notify_one();
            });
            let pump = |purpose: &str, change, random: &mut Random| Pump {
                world: Rc::clone(&self.world),
                run: Rc::clone(&self.run),
                sockets: Rc::clone(&sockets),
                id,
                number,
                change,
                random: Random::new(random.number(), purpose),
            };
            let (read, write) = stream.into_split();
            let inward = pump("in", input, &mut self.random);
            let outward = pump("out", output, &mut self.random);
            let count = Count::new(&self.world, peer);
            tokio::task::spawn_local(inward.inward(read));
            tokio::task::spawn_local(async move {
                let run = Rc::clone(&outward.run);
                outward.outward(write).await;
                run.peers.borrow_mut().close(number);
                drop(count);
            });
        }
    }
}

/// Counts a connection while it lives.
struct Count(Rc<World>, IpAddr);

impl Count {
    fn new(world: &Rc<World>, peer: SocketAddr) -> Self {
        *world.streams.borrow_mut().entry(peer.ip()).or_default() += 1;
        Self(Rc::clone(world), peer.ip())
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        if let Some(count) = self.0.streams.borrow_mut().get_mut(&self.1) {
            *count -= 1;
        }
    }
}

struct Pump {
    world: Rc<World>,
    run: Rc<NodeRun>,
    sockets: Rc<RefCell<Sockets>>,
    id: SocketId,
    /// Number of the connection, for the trace.
    number: u64,
    change: Rc<Notify>,
    random: Random,
}

impl Pump {
    /// Moves bytes from the network to the node.
    async fn inward(mut self, mut read: OwnedReadHalf) {
        let mut buffer = vec![0; self.world.plan.host.pump_bytes];
        let mut glimpse = [0];
        loop {
            let room = self.sockets.borrow().room(self.id);
            let (gone, destroyed) = {
                let sockets = self.sockets.borrow();
                (sockets.gone(self.id), sockets.destroyed(self.id))
            };
            if destroyed {
                return;
            }
            if gone {
                // Whatever comes for a closed socket is answered with a reset: unread bytes in
                // a dropped half are just that.
                let _ = tokio::time::timeout(ORPHAN_MAX, read.peek(&mut glimpse)).await;
                return;
            }
            if room == 0 {
                self.change.notified().await;
                continue;
            }
            let came = tokio::select! {
                biased;
                () = self.change.notified() => continue,
                came = read.peek(&mut glimpse) => came,
            };
            if self.sockets.borrow().gone(self.id) {
                continue;
            }
            let most = room.min(self.random.length(1..=buffer.len()));
            let read = match came {
                Ok(0) => Ok(0),
                Ok(_) => read.read(&mut buffer[..most]).await,
                Err(error) => Err(error),
            };
            match read {
                Ok(0) => {
                    self.note("in end", &[]);
                    self.run.peers.borrow_mut().end(self.number);
                    self.sockets.borrow_mut().end(self.id);
                    return;
                }
                Ok(count) => {
                    self.note("in", &buffer[..count]);
                    self.run.peers.borrow_mut().up(self.number, &buffer[..count], self.world.time_us());
                    let taken = self.sockets.borrow_mut().push(self.id, &buffer[..count]);
                    assert_eq!(taken, count, "the model took less than it had room for");
                }
                Err(_) => {
                    self.note("in reset", &[]);
                    self.sockets.borrow_mut().reset(self.id);
                    return;
                }
            }
        }
    }

    /// Moves bytes from the node to the network.
    async fn outward(mut self, mut write: OwnedWriteHalf) {
        loop {
            let most = self.random.length(1..=self.world.plan.host.pump_bytes);
            if self.sockets.borrow().destroyed(self.id) {
                self.note("out destroyed", &[]);
                return;
            }
            let bytes = self.sockets.borrow_mut().pull(self.id, most);
            if bytes.is_empty() {
                if self.sockets.borrow().ended(self.id) {
                    self.note("out end", &[]);
                    let _ = write.shutdown().await;
                    return self.linger(write).await;
                }
                self.run.peers.borrow_mut().dry(self.number, self.world.time_us());
                self.change.notified().await;
                continue;
            }
            self.note("out", &bytes);
            self.look(&bytes);
            if !self.write(&mut write, &bytes).await {
                self.note("out reset", &[]);
                self.sockets.borrow_mut().reset(self.id);
                return;
            }
            *self.run.pumped.borrow_mut().entry(self.number).or_default() += bytes.len() as u64;
        }
    }

    /// What the node says to the peer.
    fn look(&self, bytes: &[u8]) {
        let (now_us, knobs) = (self.world.time_us(), &self.world.plan.node);
        let messages = self.run.peers.borrow_mut().down(self.number, bytes, knobs, now_us);
        for (publish, after_us) in messages {
            if self.world.mortal.borrow().contains(&publish) {
                self.world.record(What::Sent { publish, after_us });
            }
        }
    }

    async fn write(&self, write: &mut OwnedWriteHalf, bytes: &[u8]) -> bool {
        let mut writing = std::pin::pin!(write.write_all(bytes));
        let mut orphaned = false;
        loop {
            tokio::select! {
                biased;
                written = &mut writing => return written.is_ok(),
                () = self.change.notified(), if !orphaned => {
                    if self.sockets.borrow().destroyed(self.id) {
                        return true;
                    }
                    orphaned = self.sockets.borrow().gone(self.id);
                }
                () = tokio::time::sleep(ORPHAN_MAX), if orphaned => return false,
            }
        }
    }

    /// The node has ended its half; its handle lives until it closes.
    async fn linger(self, _write: OwnedWriteHalf) {
        while !self.sockets.borrow().gone(self.id) {
            self.change.notified().await;
        }
        self.sockets.borrow_mut().release(self.id);
    }

    fn note(&self, what: &str, bytes: &[u8]) {
        self.world.trace.borrow_mut().record(self.world.time_us(), what, &[self.number, self.id.0], bytes);
    }
}
