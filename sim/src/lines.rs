//! The clients' side of the wire: each open connection of a client, frame by frame, judged as it goes
//! (P7, P8). A line is told of bytes by the stream that moves them.

use crate::frames::{Seen, Splitter, kind};
use crate::history::Failure;
use crate::oracles::p7_credit::{self, Ledger};
use crate::oracles::p8_dead_peers::{self, Silence};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

fn now_us() -> u64 {
    if !turmoil::in_simulation() {
        return 0;
    }
    turmoil::sim_elapsed().map_or(0, |elapsed| elapsed.as_micros() as u64)
}

/// All lines of a run, and what was found on them.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    opened: u64,
    open: BTreeMap<u64, Wire>,
    found: Vec<Failure>,
}

/// One connection of one client, until it is dropped.
#[derive(Debug)]
pub struct Line {
    lines: Lines,
    number: u64,
}

#[derive(Debug)]
struct Wire {
    who: String,
    up: Splitter,
    down: Splitter,
    ledger: Ledger,
    silence: Silence,
    interval_ms: Option<u64>,
    /// How long the client waits for WELCOME; `None` for one that need not keep to any time.
    handshake_ms: Option<u64>,
    /// It ends by the client's BYE.
    over: bool,
}

impl Lines {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has connected.
    #[must_use]
    pub fn open(&self, who: String, handshake_ms: Option<u64>) -> Line {
        let mut kept = self.kept();
        kept.opened += 1;
        let number = kept.opened;
        let wire = Wire {
            who,
            up: Splitter::default(),
            down: Splitter::default(),
            ledger: Ledger::default(),
            silence: Silence::new(now_us()),
            interval_ms: None,
            handshake_ms,
            over: false,
        };
        kept.open.insert(number, wire);
        Line { lines: self.clone(), number }
    }

    /// What was found since the last call: first what the lines' own time says.
    #[must_use]
    pub fn check(&self, now_us: u64) -> Vec<Failure> {
        let mut kept = self.kept();
        let Kept { open, found, .. } = &mut *kept;
        for wire in open.values() {
            let Some(handshake_ms) = wire.handshake_ms else { continue };
            if let Err(detail) = wire.silence.client_holds(wire.interval_ms, handshake_ms, now_us) {
                found.push(Failure::new(p8_dead_peers::ORACLE, format!("{} {detail}", wire.who)));
            }
        }
        std::mem::take(found)
    }
}

impl Line {
    /// The network took bytes of the client.
    pub fn up(&self, bytes: &[u8]) {
        self.with(|wire, found| {
            let Wire { who, up, ledger, silence, interval_ms, over, .. } = wire;
            up.push(bytes, |frame| {
                silence.says(frame, now_us());
                if frame.kind == kind::BYE && !std::mem::replace(over, true) {
                    let checked = silence.client_ends(frame, *interval_ms, now_us());
                    found.extend(failure(p8_dead_peers::ORACLE, who, checked));
                }
                ledger.up(frame);
            });
        });
    }

    /// The client got bytes.
    pub fn down(&self, bytes: &[u8]) {
        self.with(|wire, found| {
            let Wire { who, down, ledger, silence, interval_ms, .. } = wire;
            down.push(bytes, |frame| {
                silence.hears(frame, now_us());
                if let Some(interval) = interval_of(frame) {
                    *interval_ms = Some(interval);
                }
                found.extend(failure(p7_credit::ORACLE, who, ledger.down(frame)));
            });
        });
    }

    fn with(&self, act: impl FnOnce(&mut Wire, &mut Vec<Failure>)) {
        let mut kept = self.lines.kept();
        let Kept { open, found, .. } = &mut *kept;
        if let Some(wire) = open.get_mut(&self.number) {
            act(wire, found);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.lines.kept().open.remove(&self.number);
    }
}

fn interval_of(frame: &Seen) -> Option<u64> {
    let [_features, _unit, interval_ms] = frame.numbers().filter(|_| frame.kind == kind::WELCOME)?;
    Some(interval_ms)
}

fn failure(oracle: &str, who: &str, checked: Result<(), String>) -> Option<Failure> {
    let detail = checked.err()?;
    Some(Failure::new(oracle, format!("{who}, at {} us: {detail}", now_us())))
}
