//! Bugs that can be switched on by name in a test build, each to show that an oracle sees it.
//!
//! Without the feature `planted` every question is answered by a constant `false` and
//! nothing of this is left in the binary.

macro_rules! bugs {
    ($($(#[doc = $doc:literal])* $name:ident $label:literal,)*) => {
        /// A bug that was made, or could have been.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug { $($(#[doc = $doc])* $name,)* }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name it is switched on by.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// What is wrong, as a sentence.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// The bug of this name.
            #[must_use]
            pub fn by_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|bug| bug.name() == name)
            }
        }
    };
}

bugs! {
    /// A short write is taken for a whole one: the rest of the frame is lost.
    ShortWriteWhole "short-write-whole",
    /// A connection whose read budget is used up is not queued again.
    NoRequeueAfterReadBudget "no-requeue-after-read-budget",
    /// The ring is looked at before the doorbell is armed.
    LookBeforeArm "look-before-arm",
    /// A read that drained a socket waits for an edge, though one has told of the end behind it.
    DrainedHidesEnd "drained-hides-end",
    /// EINTR is taken for EAGAIN: an edge is awaited that never comes.
    InterruptedAsAgain "interrupted-as-again",
    /// ENOBUFS waits for an edge that never comes.
    NoBuffersWaitsForEdge "no-buffers-waits-for-edge",
    /// The name of a connection or feed is used without looking at its generation.
    StaleToken "stale-token",
    /// EMFILE is taken for an empty backlog.
    OutOfDescriptorsAsEmpty "out-of-descriptors-as-empty",
    /// A socket that can't be registered is dropped without being closed.
    RegisterLeaks "register-leaks",
    /// Room that a drain freed is not told to those who wait for it.
    RoomNotRung "room-not-rung",
    /// The peer's end closes the connection while output waits.
    EndCutsOutput "end-cuts-output",
    /// A numbered close skips the discard, so that unread input resets the connection.
    NoLinger "no-linger",
    /// A subscriber that was overrun is not told.
    GapOmitted "gap-omitted",
    /// A resumed subscription begins one message too early.
    DuplicateOnResume "duplicate-on-resume",
    /// A publish that is sent again is stored again.
    RetryStoredTwice "retry-stored-twice",
    /// Deliveries ignore the client's window.
    WindowIgnored "window-ignored",
    /// Compact headers build on frames that were staged and never taken.
    HeaderOfUnsent "header-of-unsent",
    /// A frame that has to wait, and is looked at again, counts as the last one already.
    StalledFrameCounts "stalled-frame-counts",
    /// Eviction does not raise the floor below which a topic is gone.
    FloorNotRaised "floor-not-raised",
    /// Messages go at half their age.
    AgeTooEarly "age-too-early",
    /// A message is delivered after its time to live.
    ExpiredDelivered "expired-delivered",
    /// A message whose time to live is over is left out without a word.
    ExpiredWithoutGap "expired-without-gap",
    /// A conflated delivery does not say that others were left out.
    SkippedNotSaid "skipped-not-said",
    /// All messages of a publish to many keys have the same number.
    KeyNumbersReused "key-numbers-reused",
    /// A filter's cursor is taken for one message too far.
    FilterCursorAhead "filter-cursor-ahead",
    /// An acknowledgement in the middle of a run releases the bytes of the whole.
    AckReleasesRun "ack-releases-run",
    /// A filter is not given each eighth message.
    FilterMissesMessage "filter-misses-message",
    /// A receipt names the offset behind the message's.
    ReceiptOffByOne "receipt-off-by-one",
    /// What every session follows begins anew on each connection.
    SystemNotResumed "system-not-resumed",
    /// The scan of deadlines forgets the second connection.
    DeadlineScanMissesSlot "deadline-scan-misses-slot",
    /// A client that is silent is never given up.
    HalfOpenNeverClosed "half-open-never-closed",
    /// A client that acknowledges nothing is never given up.
    AckTimeoutNever "ack-timeout-never",
    /// A client is given up after one missed heartbeat.
    HeartbeatHasty "heartbeat-hasty",
    /// A lease counts from when the answer came, not from when it was asked for.
    LeaseFromAnswer "lease-from-answer",
    /// A grant counts before its holder has the view that the voter had.
    GrantWithOldView "grant-with-old-view",
    /// A voter lets earlier runs of a node lead.
    StaleIncarnationGranted "stale-incarnation-granted",
    /// A voter that starts again has promised nothing.
    PromiseForgottenOnRestart "promise-forgotten-on-restart",
    /// A voter that starts again has forgotten by which view its promises ended.
    EndedForgottenOnRestart "ended-forgotten-on-restart",
    /// A voter that starts again does not think of what it may have granted before.
    StartIsNoGrant "start-is-no-grant",
    /// A promise counts though the last grant has not run out.
    PromiseCountsAtOnce "promise-counts-at-once",
    /// A member is taken out without asking the voters.
    TakeoverWithoutPromise "takeover-without-promise",
    /// Leadership is taken right after the voters have changed.
    TakeoverAfterVoters "takeover-after-voters",
    /// After two seconds no heartbeat is sent any more.
    HeartbeatNeverFires "heartbeat-never-fires",
    /// A peer that gives no sign of life is never found silent.
    SilenceNeverNoticed "silence-never-noticed",
    /// A node that lost its disk has the vote of the old one.
    WipedDiskKeepsItsVote "wiped-disk-keeps-its-vote",
    /// Nodes of two clusters talk to each other.
    ClustersJoined "clusters-joined",
    /// A record is changed whatever its partition_epoch is.
    CompareAndSetSkipped "compare-and-set-skipped",
    /// A vote or entry is told of before it is on the disk.
    VoteBeforeFsync "vote-before-fsync",
    /// What was staged under a lease goes out though the lease has run out since.
    ReleaseIgnoresLease "release-ignores-lease",
    /// The heartbeat of a node without a lease carries a newer acknowledgement.
    HeartbeatAcksWithoutLease "heartbeat-acks-without-lease",
    /// What was staged and taken back for want of a lease is not looked at again.
    WithdrawnSendLost "withdrawn-send-lost",
}

#[cfg(feature = "planted")]
mod switch {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Switches `bug` on for this thread, and every other one off.
    pub fn plant(bug: Option<Bug>) {
        ON.with(|on| on.set(bug));
    }

    /// Whether `bug` is switched on for this thread.
    #[must_use]
    pub fn on(bug: Bug) -> bool {
        ON.with(Cell::get) == Some(bug)
    }
}

#[cfg(not(feature = "planted"))]
mod switch {
    use super::Bug;

    /// Whether `bug` is switched on: never, in this build.
    #[must_use]
    pub const fn on(_bug: Bug) -> bool {
        false
    }
}

pub use switch::*;
