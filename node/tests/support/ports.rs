//! Ports of this machine that nobody has.

use std::net::{SocketAddr, TcpListener};

/// Addresses that were free a moment ago; those of links can't be left to the system.
pub(crate) fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

/// A base port from which three nodes have free ports.
pub(crate) fn free_base() -> u16 {
    let all_free = |base: u16| {
        let ports = (0..3).flat_map(|node| [0, 1, 80].map(|port| base + 10 * node + port));
        ports.map(|port| TcpListener::bind(("127.0.0.1", port))).collect::<Result<Vec<_>, _>>().is_ok()
    };
    // Below those that the system gives to others in between.
    let own = u16::try_from(std::process::id() % 100).unwrap();
    (0..100).map(|step| 12_000 + (own + step) % 100 * 200).find(|base| all_free(*base)).unwrap()
}
