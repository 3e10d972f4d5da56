//! Everything a shard counts: one table for metrics, tests and documents.
//!
//! Plain numbers owned by the shard's thread; the node copies them to where others may read
//! them. A *rare state* is one that a sweep of the simulator must reach at least once.

macro_rules! stats {
    ($($(#[doc = $doc:literal])* $name:ident $metric:literal $kind:ident,)*) => {
        /// One counted thing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        pub enum Stat { $($(#[doc = $doc])* $name,)* }

        impl Stat {
            /// All of them, in the order of their indexes.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Name of the metric, without prefix and without `_total`.
            #[must_use]
            pub const fn metric(self) -> &'static str {
                match self { $(Self::$name => $metric,)* }
            }

            /// What it counts, as a sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// What kind of number it is.
            #[must_use]
            pub const fn kind(self) -> StatKind {
                match self { $(Self::$name => StatKind::$kind,)* }
            }
        }
    };
}

/// How a number behaves, and who must have seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatKind {
    /// Goes up and down.
    Gauge,
    /// Only grows.
    Count,
    /// Only grows, and a sweep of the simulator must make it grow.
    Rare,
}

stats! {
    /// Connections that are open.
    Connections "connections" Gauge,
    /// Sessions past HELLO.
    Sessions "sessions" Gauge,
    /// Topics held.
    Topics "topics" Gauge,
    /// Subscriptions held.
    Subscriptions "subscriptions" Gauge,
    /// Messages kept.
    Messages "messages" Gauge,
    /// Bytes that messages kept and their indexes reserve.
    MessageBytes "message_bytes" Gauge,
    /// Bytes reserved for half-received frames.
    ParkedBytes "parked_bytes" Gauge,
    /// Connections accepted.
    Accepted "accepted" Count,
    /// Connections closed, whatever the reason.
    Closed "closed" Count,
    /// Turns of the event loop.
    Turns "turns" Count,
    /// Turns in a row that did not sleep, at the most.
    TurnsAwakeMax "turns_awake_max" Gauge,
    /// Bytes read from sockets.
    BytesIn "bytes_in" Count,
    /// Bytes that sockets took.
    BytesOut "bytes_out" Count,
    /// Messages stored by this shard as their home.
    Stored "stored" Count,
    /// Publishes recognised as already stored.
    Duplicates "duplicates" Count,
    /// Publishes refused.
    Refused "refused" Count,
    /// Deliveries that sockets took.
    Delivered "delivered" Count,
    /// Publishes whose deadline passed.
    DeadlinePassed "deadline_passed" Count,
    /// Topics forgotten to make room for others.
    TopicsForgotten "topics_forgotten" Count,
    /// Connections refused with a farewell because descriptors ran out.
    Shed "shed" Count,
    /// Times that a shard found the node's lease gone.
    LeasesLost "leases_lost" Count,
    /// Sends taken back because the lease ran out between their making and their time.
    SendsWithdrawn "sends_withdrawn" Count,
    /// Messages dropped because of their age.
    EvictedByAge "evicted_by_age" Rare,
    /// Messages dropped because the memory for messages was used up.
    EvictedByBudget "evicted_by_budget" Rare,
    /// Clients closed because a topic overran them whose class disconnects.
    TooSlow "too_slow" Rare,
    /// Reads cut by the budget of a connection.
    ReadCut "read_cut" Rare,
    /// Accepts cut by the budget of a turn.
    AcceptCut "accept_cut" Rare,
    /// Sends put off by the budget of a turn.
    SendCut "send_cut" Rare,
    /// Accepts that found no descriptor (EMFILE, ENFILE).
    OutOfDescriptors "out_of_descriptors" Rare,
    /// Sends that found no buffer (ENOBUFS, ENOMEM).
    OutOfBuffers "out_of_buffers" Rare,
    /// Calls that a signal interrupted (EINTR).
    Interrupted "interrupted" Rare,
    /// Accepted sockets that could not be registered.
    RegisterFailed "register_failed" Rare,
    /// Events for a connection that was closed before.
    StaleEvents "stale_events" Rare,
    /// Commands for a connection or a feed that was gone when they came.
    StaleCommands "stale_commands" Rare,
    /// Peers that ended their sending half while we had output for them.
    HalfClosed "half_closed" Rare,
    /// Frames of which a socket took a part.
    HalfWritten "half_written" Rare,
    /// Work that waited because a ring had no room.
    NoRoom "no_room" Rare,
    /// Sessions that had a message and no window for it.
    WindowZero "window_zero" Rare,
    /// Gaps told to subscribers.
    Gaps "gaps" Rare,
    /// Subscriptions that began at a cursor.
    Resumed "resumed" Rare,
}

/// The numbers of one shard.
#[derive(Clone, Debug)]
pub struct Stats([u64; Stat::ALL.len()]);

impl Default for Stats {
    fn default() -> Self {
        Self([0; Stat::ALL.len()])
    }
}

impl Stats {
    /// Counts one more.
    pub fn add(&mut self, stat: Stat, n: u64) {
        self.0[stat as usize] += n;
    }

    /// Counts a gauge down.
    pub fn sub(&mut self, stat: Stat, n: u64) {
        debug_assert!(stat.kind() == StatKind::Gauge, "{stat:?} only grows");
        debug_assert!(self.0[stat as usize] >= n, "{stat:?} below zero");
        self.0[stat as usize] = self.0[stat as usize].saturating_sub(n);
    }

    /// Sets a gauge.
    pub fn set(&mut self, stat: Stat, value: u64) {
        debug_assert!(stat.kind() == StatKind::Gauge, "{stat:?} only grows");
        self.0[stat as usize] = value;
    }

    /// The number.
    #[must_use]
    pub fn load(&self, stat: Stat) -> u64 {
        self.0[stat as usize]
    }

    /// All numbers, in the order of [`Stat::ALL`].
    #[must_use]
    pub fn all(&self) -> &[u64] {
        &self.0
    }
}
