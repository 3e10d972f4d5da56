//! A run of a cluster as spans of time: what each node and each client was, and what the network did to them.
//!
//! A `Recorder` looks on from outside, at what the oracles look at, so that a run is the same with one and
//! without; [`Timeline::svg`] draws what it kept.
//!
//! ```text
//!   faults ─────────┐
//!   nodes, clients ─┴─► Recorder ─► Timeline ─► SVG
//! ```

mod picture;
mod recorder;
mod svg;

pub(super) use recorder::Recorder;

use crate::history::Failure;

/// What was recorded of one run. Times are simulated, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// The seed.
    pub seed: u64,
    /// When the run ended; also when its failures were found.
    pub end_ms: u64,
    /// When faults ended.
    pub healed_ms: Option<u64>,
    /// A node each, then a client each.
    pub tracks: Vec<Track>,
    /// Faults of the network, by their beginnings.
    pub faults: Vec<NetworkFault>,
    /// More faults than [`FAULTS_MAX`] began.
    pub faults_left_out: bool,
    /// What went wrong, most telling first.
    pub failures: Vec<Failure>,
}

/// Spans kept of one node or client. A run of 60 s has some 300 of a node that is restarted all the time; 2,000 are a
/// picture of half a megabyte, and a browser shows seven such nodes still at ease.
pub const SPANS_MAX: usize = 2_000;

/// Faults of the network that are kept, a row each. A seed's plan has at most nine faults; a plan written by
/// hand may have any number.
pub const FAULTS_MAX: usize = 60;

/// One node or client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// The name of its host, or of the client.
    pub name: String,
    /// What a node's clock shows of a second, in microseconds; a client has none.
    pub rate_ppm: Option<u64>,
    /// What it was, in the order of the ends.
    pub spans: Vec<Span>,
    /// What it was at the end of the run, by lane.
    pub last: Vec<State>,
    /// From when on nothing more was kept.
    pub full_ms: Option<u64>,
}

/// What a node or client was for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "what, and from when until when")]
pub struct Span {
    pub state: State,
    pub from_ms: u64,
    pub until_ms: u64,
}

/// What a node or client can be; of each [`Lane`] one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its process runs and does not serve yet.
    Starting,
    /// Its process serves.
    Up,
    /// Its process stands still, from when it next does something.
    Paused,
    /// Its process was asked to stop and has not ended yet.
    Stopping,
    /// There is no process.
    Down(Why),
    /// Its disk gives errors.
    DiskFails,
    /// By its own clock its lease holds.
    Leased,
    /// It knows that it is isolated.
    Isolated,
    /// Its present run is a member of the view that it has.
    Member(Epoch),
    /// It has a view, and its present run is no member of it.
    Outside(Epoch),
    /// It has no vote in the consensus.
    Learns(Term),
    /// It has a vote in the consensus, and does not lead.
    Follows(Term),
    /// It is a candidate for the consensus' leadership.
    Stands(Term),
    /// It leads the consensus, as far as it knows.
    Leads(Term),
    /// A client that is served by that node, as far as it knows.
    Served(&'static str),
    /// A client that was told that its node serves nobody.
    Stale(&'static str),
    /// A client that has waited for the end of a publish for [`WAITS_MS`] or longer.
    Waits,
}

/// Publishes that end earlier are not drawn.
pub const WAITS_MS: u64 = 500;

/// Number of a view.
pub type Epoch = u64;

/// Number of a term of the consensus.
pub type Term = u64;

/// Why there is no process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each stands for the fault of the same name")]
pub enum Why {
    Killed,
    PowerLost,
    Wiped,
    Stopped,
    /// By itself: its disk failed, or it found that it can't go on.
    Ended,
}

/// What is drawn on one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "see the states")]
pub enum Lane {
    Process,
    Disk,
    Lease,
    View,
    Consensus,
    Session,
    Publish,
}

impl State {
    /// Where it is drawn.
    #[must_use]
    pub const fn lane(self) -> Lane {
        match self {
            Self::Starting | Self::Up | Self::Paused | Self::Stopping | Self::Down(_) => Lane::Process,
            Self::DiskFails => Lane::Disk,
            Self::Leased | Self::Isolated => Lane::Lease,
            Self::Member(_) | Self::Outside(_) => Lane::View,
            Self::Learns(_) | Self::Follows(_) | Self::Stands(_) | Self::Leads(_) => Lane::Consensus,
            Self::Served(_) | Self::Stale(_) => Lane::Session,
            Self::Waits => Lane::Publish,
        }
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Starting => "starts".to_owned(),
            Self::Up => "up".to_owned(),
            Self::Paused => "paused".to_owned(),
            Self::Stopping => "stops".to_owned(),
            Self::Down(Why::Killed) => "down: killed".to_owned(),
            Self::Down(Why::PowerLost) => "down: power lost".to_owned(),
            Self::Down(Why::Wiped) => "down: disk wiped".to_owned(),
            Self::Down(Why::Stopped) => "down: stopped".to_owned(),
            Self::Down(Why::Ended) => "down: ended by itself".to_owned(),
            Self::DiskFails => "disk fails".to_owned(),
            Self::Leased => "holds its lease".to_owned(),
            Self::Isolated => "knows it is isolated".to_owned(),
            Self::Member(epoch) => format!("member, epoch {epoch}"),
            Self::Outside(epoch) => format!("no member, epoch {epoch}"),
            Self::Learns(term) => format!("no vote, term {term}"),
            Self::Follows(term) => format!("follows, term {term}"),
            Self::Stands(term) => format!("candidate, term {term}"),
            Self::Leads(term) => format!("leads, term {term}"),
            Self::Served(node) => format!("at {node}"),
            Self::Stale(node) => format!("stale at {node}"),
            Self::Waits => "a publish has no end".to_owned(),
        }
    }
}

/// Something that the network did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFault {
    /// What, and to whom, in a few words.
    pub words: String,
    /// Of which kind.
    pub kind: Network,
    /// Somebody was there to feel it when it began.
    pub hit: bool,
    /// When it began.
    pub from_ms: u64,
    /// When it ended.
    pub until_ms: u64,
}

/// Kinds of faults of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Nothing passes, either way.
    Apart,
    /// Nothing passes one way.
    OneWay,
    /// What passes is held back until the end.
    Held,
    /// What passes takes long.
    Slow,
}
