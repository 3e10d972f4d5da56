//! The network between hosts, as faults leave it. Turmoil keeps one state for each direction of a pair of hosts:
//! the end of one fault would end every other of that pair. Here they are counted, and a pair is well again once
//! the last fault of it is over.

use std::collections::BTreeMap;
use turmoil::Sim;

/// A host by its name.
type Host = &'static str;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    /// Faults that drop what one host sends to another.
    cut: BTreeMap<(Host, Host), usize>,
    /// Faults that keep back what two hosts send to each other.
    held: BTreeMap<(Host, Host), usize>,
}

impl Wires {
    /// Nothing passes between two hosts, and what is on its way is lost.
    pub(crate) fn cut(&mut self, sim: &Sim<'_>, a: Host, b: Host) {
        self.more(a, b);
        self.more(b, a);
        self.settle(sim, a, b);
    }

    /// One [`Wires::cut`] is over.
    pub(crate) fn mend(&mut self, sim: &Sim<'_>, a: Host, b: Host) {
        fewer(&mut self.cut, (a, b));
        fewer(&mut self.cut, (b, a));
        self.settle(sim, a, b);
    }

    /// Nothing passes from one host to another.
    pub(crate) fn cut_one_way(&mut self, sim: &Sim<'_>, from: Host, to: Host) {
        self.more(from, to);
        self.settle(sim, from, to);
    }

    /// One [`Wires::cut_one_way`] is over.
    pub(crate) fn mend_one_way(&mut self, sim: &Sim<'_>, from: Host, to: Host) {
        fewer(&mut self.cut, (from, to));
        self.settle(sim, from, to);
    }

    /// What two hosts send to each other waits.
    pub(crate) fn hold(&mut self, sim: &Sim<'_>, a: Host, b: Host) {
        *self.held.entry(pair(a, b)).or_default() += 1;
        self.settle(sim, a, b);
    }

    /// One [`Wires::hold`] is over. What waited arrives, if no other holds it.
    pub(crate) fn release(&mut self, sim: &Sim<'_>, a: Host, b: Host) {
        fewer(&mut self.held, pair(a, b));
        self.settle(sim, a, b);
    }

    /// Whether nothing passes, neither way.
    #[must_use]
    pub(crate) fn is_apart(&self, a: Host, b: Host) -> bool {
        self.is_cut(a, b) && self.is_cut(b, a)
    }

    fn more(&mut self, from: Host, to: Host) {
        *self.cut.entry((from, to)).or_default() += 1;
    }

    fn is_cut(&self, from: Host, to: Host) -> bool {
        self.cut.contains_key(&(from, to))
    }

    fn settle(&self, sim: &Sim<'_>, a: Host, b: Host) {
        let (there, back) = (self.is_cut(a, b), self.is_cut(b, a));
        if there && back {
            sim.partition(a, b);
            return;
        }
        if self.held.contains_key(&pair(a, b)) {
            sim.hold(a, b);
        } else {
            sim.release(a, b);
        }
        if there {
            sim.partition_oneway(a, b);
        }
        if back {
            sim.partition_oneway(b, a);
        }
    }
}

/// # Panics
/// If a fault ends that never began.
fn fewer(faults: &mut BTreeMap<(Host, Host), usize>, key: (Host, Host)) {
    let count = faults.get_mut(&key).expect("a fault that began");
    *count -= 1;
    if *count == 0 {
        faults.remove(&key);
    }
}

fn pair(a: Host, b: Host) -> (Host, Host) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;
    use turmoil::net::UdpSocket;

    /// Which of two hosts hears the other, within the next round.
    struct Heard {
        sim: Sim<'static>,
        by: Rc<RefCell<BTreeMap<Host, usize>>>,
    }

    impl Heard {
        fn new() -> Self {
            let mut builder = turmoil::Builder::new();
            builder.tick_duration(Duration::from_millis(1)).max_message_latency(Duration::from_millis(1));
            let mut sim = builder.build();
            let by = Rc::new(RefCell::new(BTreeMap::new()));
            for (name, other) in [("a", "b"), ("b", "a")] {
                let by = Rc::clone(&by);
                sim.host(name, move || {
                    let by = Rc::clone(&by);
                    async move {
                        let socket = UdpSocket::bind("0.0.0.0:9").await?;
                        let mut buffer = [0; 1];
                        loop {
                            tokio::select! {
                                _ = socket.recv_from(&mut buffer) => *by.borrow_mut().entry(name).or_default() += 1,
                                () = tokio::time::sleep(Duration::from_millis(1)) => {
                                    socket.send_to(b"x", (other, 9)).await?;
                                }
                            }
                        }
                    }
                });
            }
            Self { sim, by }
        }

        fn hears(&mut self, name: Host) -> bool {
            self.by.borrow_mut().clear();
            for _ in 0..10 {
                self.sim.step().unwrap();
            }
            self.by.borrow().contains_key(name)
        }

        /// Whether a hears b, and b hears a.
        fn both(&mut self) -> (bool, bool) {
            // What was on its way before does not count.
            self.hears("a");
            (self.hears("a"), self.hears("b"))
        }
    }

    #[test]
    fn the_end_of_one_fault_ends_no_other() {
        let (mut heard, mut wires) = (Heard::new(), Wires::default());
        assert_eq!(heard.both(), (true, true));
        wires.hold(&heard.sim, "a", "b");
        wires.cut(&heard.sim, "b", "a");
        wires.release(&heard.sim, "b", "a");
        assert_eq!(heard.both(), (false, false));
        assert!(wires.is_apart("a", "b"));
        wires.cut_one_way(&heard.sim, "a", "b");
        wires.mend(&heard.sim, "a", "b");
        assert_eq!(heard.both(), (true, false));
        assert!(!wires.is_apart("a", "b"));
        wires.hold(&heard.sim, "a", "b");
        wires.mend_one_way(&heard.sim, "a", "b");
        assert_eq!(heard.both(), (false, false));
        wires.release(&heard.sim, "a", "b");
        assert_eq!(heard.both(), (true, true));
        wires.cut(&heard.sim, "a", "b");
        wires.cut(&heard.sim, "a", "b");
        wires.mend(&heard.sim, "a", "b");
        assert_eq!(heard.both(), (false, false));
        wires.mend(&heard.sim, "a", "b");
        assert_eq!(heard.both(), (true, true));
    }
}
