//! What no election can be faster than: the disk that each entry waits for, and a round trip between processes.

use super::super::stopwatch::Stopwatch;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// Bytes of a write: a page, as the store of a node writes them.
const WRITE_BYTES: usize = 4096;

const WRITES: usize = 100;

/// Bytes of a message, as long as a short entry with its frame.
const MESSAGE_BYTES: usize = 128;

const ROUND_TRIPS: usize = 1000;

/// Times of this machine, each in rising order.
#[derive(Debug)]
pub(super) struct Floor {
    /// A page written to the nodes' disk, until that has it (`fdatasync`).
    pub(super) writes: Vec<Duration>,
    /// A message to another thread and back, over TCP on loopback.
    pub(super) round_trips: Vec<Duration>,
}

impl Floor {
    /// Takes as long as the disk needs for a hundred writes.
    ///
    /// # Errors
    /// The folder can't be written, or there is no loopback.
    pub(super) fn measure(folder: &Path) -> Result<Self, String> {
        let writes = sorted(writes(folder));
        let writes = writes.map_err(|error| format!("can't write to {}: {error}", folder.display()))?;
        let round_trips = sorted(round_trips());
        let round_trips = round_trips.map_err(|error| format!("can't use loopback: {error}"))?;
        Ok(Self { writes, round_trips })
    }
}

fn sorted(times: io::Result<Vec<Duration>>) -> io::Result<Vec<Duration>> {
    times.map(|mut times| {
        times.sort_unstable();
        times
    })
}

fn writes(folder: &Path) -> io::Result<Vec<Duration>> {
    let path = folder.join("floor");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let times = (0..WRITES).map(|number| {
        let watch = Stopwatch::start();
        file.write_all_at(&[number as u8; WRITE_BYTES], (number * WRITE_BYTES) as u64)?;
        file.sync_data()?;
        Ok(watch.elapsed())
    });
    let times = times.collect();
    std::fs::remove_file(path)?;
    times
}

fn round_trips() -> io::Result<Vec<Duration>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    let (mut other, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    other.set_nodelay(true)?;
    let echo = std::thread::spawn(move || {
        let mut message = [0; MESSAGE_BYTES];
        // Until the other end is closed.
        while other.read_exact(&mut message).and_then(|()| other.write_all(&message)).is_ok() {}
    });
    let mut message = [0; MESSAGE_BYTES];
    let times = (0..ROUND_TRIPS).map(|_| {
        let watch = Stopwatch::start();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        Ok(watch.elapsed())
    });
    let times = times.collect();
    drop(stream);
    let _ = echo.join();
    times
}
