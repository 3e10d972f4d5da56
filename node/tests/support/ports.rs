//! Ports of this machine that nobody has, and that the system gives to nobody in between.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::Mutex;

/// Below the ports that Linux gives to who asks for any (32768 to 60999, where nobody changed it).
const PORTS: Range<u16> = 12_000..32_000;
/// What a process takes at once.
const BLOCK: u16 = 200;

/// Ports of one process. Its last port is held, for others who run tests on this machine.
struct Block {
    first: u16,
    /// Given away already, from the first on.
    given: u16,
    _claim: TcpListener,
}

static BLOCKS: Mutex<Vec<Block>> = Mutex::new(Vec::new());

impl Block {
    fn claim() -> Self {
        let claim = |first: u16| {
            let claim = TcpListener::bind((Ipv4Addr::LOCALHOST, first + BLOCK - 1)).ok()?;
            Some(Block { first, given: 0, _claim: claim })
        };
        PORTS.step_by(BLOCK.into()).find_map(claim).expect("a block of ports is free")
    }

    /// One that nobody listens at, as long as there are some.
    fn next(&mut self) -> Option<SocketAddr> {
        while self.given < BLOCK - 1 {
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, self.first + self.given));
            self.given += 1;
            if TcpListener::bind(at).is_ok() {
                return Some(at);
            }
        }
        None
    }
}

/// Addresses that nobody listens at. No two calls of a process, and no two processes at a time, get the same.
pub(crate) fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let mut blocks = BLOCKS.lock().unwrap();
    let mut next = || loop {
        match blocks.iter_mut().find_map(Block::next) {
            Some(at) => return at,
            None => blocks.push(Block::claim()),
        }
    };
    (0..count).map(|_| next()).collect()
}

/// A base port from which three nodes have free ports.
pub(crate) fn free_base() -> u16 {
    let all_free = |base: u16| {
        let mut ports = (0..3).flat_map(|node| [0, 1, 80].map(|port| base + 10 * node + port));
        ports.all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
    };
    loop {
        let mut block = Block::claim();
        block.given = BLOCK;
        let base = block.first;
        BLOCKS.lock().unwrap().push(block);
        if all_free(base) {
            return base;
        }
    }
}
