//! Who decides where the model leaves a choice.

/// A choice that hurts. Each can be made where a real kernel or scheduler may make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Fault {
    /// A read returns less than is there.
    ShortRead,
    /// A send takes less than there is room for.
    ShortWrite,
    /// A call is interrupted.
    Interrupted,
    /// A send finds no buffer.
    OutOfBuffers,
    /// An accept finds no descriptor, although there is one.
    OutOfDescriptors,
    /// A connection goes away before it is accepted.
    Aborted,
    /// A socket can't be registered.
    RegisterFails,
    /// An edge without a reason.
    SpuriousEdge,
    /// An edge of a socket that was closed.
    StaleEdge,
    /// Only some of the edges are handed out.
    FewEdges,
    /// A ring reports less room than it has.
    LessRoom,
    /// A thread is preempted between claiming places in a ring and publishing them.
    Preempted,
}

impl Fault {
    /// All faults.
    pub const ALL: &[Self] = &[
        Self::ShortRead,
        Self::ShortWrite,
        Self::Interrupted,
        Self::OutOfBuffers,
        Self::OutOfDescriptors,
        Self::Aborted,
        Self::RegisterFails,
        Self::SpuriousEdge,
        Self::StaleEdge,
        Self::FewEdges,
        Self::LessRoom,
        Self::Preempted,
    ];
}

/// Makes the model's choices.
pub trait Chooser {
    /// Whether `fault` strikes here.
    fn strikes(&mut self, fault: Fault) -> bool;

    /// A number below `n`, which is at least 1.
    fn below(&mut self, n: usize) -> usize;
}

/// Chooses what a friendly kernel would.
#[derive(Clone, Copy, Debug, Default)]
pub struct Benign;

impl Chooser for Benign {
    fn strikes(&mut self, _fault: Fault) -> bool {
        false
    }

    fn below(&mut self, n: usize) -> usize {
        n - 1
    }
}

/// Chooses by seeded random numbers, each fault with a probability of its own.
#[derive(Clone, Debug)]
pub struct Seeded {
    state: u64,
    /// Chances in 65,536, by fault.
    chances: [u16; Fault::ALL.len()],
}

impl Seeded {
    /// A chooser with no faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed, chances: [0; Fault::ALL.len()] }
    }

    /// `fault` strikes in `chance` of 65,536 cases from here on.
    pub fn chance(&mut self, fault: Fault, chance: u16) {
        self.chances[fault as usize] = chance;
    }

    /// No fault strikes any more.
    pub fn calm(&mut self) {
        self.chances = [0; Fault::ALL.len()];
    }

    /// splitmix64.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Chooser for Seeded {
    fn strikes(&mut self, fault: Fault) -> bool {
        let chance = self.chances[fault as usize];
        chance > 0 && (self.number() >> 48) < u64::from(chance)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.number() % n as u64) as usize
    }
}
