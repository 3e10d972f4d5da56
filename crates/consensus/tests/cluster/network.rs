//! Channels between nodes, which delay by 1 to 5 ms each way and can be cut, and a trace of what passed.

use multibeam_consensus::{Ask, Consensus, Unreachable};
use multibeam_wire::link::StoreId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// splitmix64.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[derive(Debug)]
struct State {
    nodes: BTreeMap<u64, Consensus>,
    cut: BTreeSet<(u64, u64)>,
    random: Random,
    began: Instant,
    trace: Vec<String>,
    extra: Duration,
    /// Kind and bytes of the last question of each kind.
    asked: BTreeMap<u16, Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Network(Arc<Mutex<State>>);

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            random: Random(seed),
            began: Instant::now(),
            trace: Vec::new(),
            extra: Duration::ZERO,
            asked: BTreeMap::new(),
        })))
    }

    pub(crate) fn attach(&self, id: u64, node: Consensus, mut asks: mpsc::Receiver<Ask>) {
        self.0.lock().unwrap().nodes.insert(id, node);
        let network = self.clone();
        tokio::spawn(async move {
            while let Some(ask) = asks.recv().await {
                tokio::spawn(network.clone().carry(id, ask));
            }
        });
    }

    pub(crate) fn detach(&self, id: u64) {
        self.0.lock().unwrap().nodes.remove(&id);
    }

    /// Nothing passes between these two, either way.
    pub(crate) fn cut(&self, one: u64, other: u64) {
        let cut = &mut self.0.lock().unwrap().cut;
        cut.extend([(one, other), (other, one)]);
    }

    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().cut.clear();
    }

    /// Each way takes so much longer.
    pub(crate) fn slow_down(&self, extra: Duration) {
        self.0.lock().unwrap().extra = extra;
    }

    pub(crate) fn trace(&self, line: String) {
        let state = &mut *self.0.lock().unwrap();
        state.trace.push(format!("{:?} {line}", state.began.elapsed()));
    }

    pub(crate) fn traced(&self) -> Vec<String> {
        self.0.lock().unwrap().trace.clone()
    }

    /// The last question of each kind that passed.
    pub(crate) fn asked(&self) -> BTreeMap<u16, Vec<u8>> {
        self.0.lock().unwrap().asked.clone()
    }

    async fn carry(self, from: u64, ask: Ask) {
        let Ask { to: StoreId(to), kind, bytes, answer } = ask;
        let there = self.way(from, to, kind, &bytes).await;
        let node = self.0.lock().unwrap().nodes.get(&to).cloned();
        let (Some(()), Some(node)) = (there, node) else {
            let _ = answer.send(Err(Unreachable));
            return;
        };
        self.0.lock().unwrap().asked.insert(kind, bytes.clone());
        let answered = match node.answer(kind, &bytes).await {
            Ok(bytes) => self.way(to, from, kind, &bytes).await.map(|()| bytes).ok_or(Unreachable),
            Err(error) => {
                self.trace(format!("{to} does not answer {from}: {error}"));
                Err(Unreachable)
            }
        };
        let _ = answer.send(answered);
    }

    async fn way(&self, from: u64, to: u64, kind: u16, bytes: &[u8]) -> Option<()> {
        let delay = {
            let state = &mut *self.0.lock().unwrap();
            let hash = bytes.iter().fold(7_u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(*byte));
            state.trace.push(format!("{:?} {from}>{to} {kind} {hash:x}", state.began.elapsed()));
            state.extra + Duration::from_millis(1 + state.random.below(5))
        };
        sleep(delay).await;
        (!self.0.lock().unwrap().cut.contains(&(from, to))).then_some(())
    }
}
