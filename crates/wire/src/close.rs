//! Numbered reasons for the end of a connection, sent in BYE.

/// Whose act a close answers to. One metric label each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseClass {
    /// Nobody's fault.
    Normal,
    /// Bytes that are no frame.
    Malformed,
    /// A version or setting that this node does not have.
    Incompatible,
    /// Well-formed frames against the rules.
    Misbehaved,
    /// A limit of this node was reached.
    Overloaded,
    /// The node's own doing.
    Ours,
}

macro_rules! close_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal $label:literal $class:ident,)*) => {
        /// Why a connection ends.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum CloseCode { $($(#[doc = $doc])* $name = $number,)* }

        impl CloseCode {
            /// All codes, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u64) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// Name in documents, logs and metrics.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// Whose act it answers to.
            #[must_use]
            pub const fn class(self) -> CloseClass {
                match self { $(Self::$name => CloseClass::$class,)* }
            }

            /// One sentence for a person.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// Place of this code in [`Self::ALL`].
            #[must_use]
            pub const fn index(self) -> usize {
                let mut at = 0;
                while at < Self::ALL.len() {
                    if Self::ALL[at] as u16 == self as u16 { return at; }
                    at += 1;
                }
                unreachable!()
            }
        }
    };
}

close_codes! {
    /// The other side is done.
    Normal = 0 "NORMAL" Normal,
    /// The first two bytes of a frame are not "MB".
    BadMagic = 100 "BAD_MAGIC" Malformed,
    /// The frame type is unknown.
    UnknownType = 101 "UNKNOWN_TYPE" Malformed,
    /// The payload does not fit its frame type.
    BadPayload = 102 "BAD_PAYLOAD" Malformed,
    /// The frame is longer than is allowed at this point.
    FrameTooLong = 103 "FRAME_TOO_LONG" Malformed,
    /// A compact header says what is implied, or has a reserved bit.
    BadCompactHeader = 104 "BAD_COMPACT_HEADER" Malformed,
    /// The protocol version is not spoken here.
    BadVersion = 200 "BAD_VERSION" Incompatible,
    /// The window unit is outside 16 B to 32 KiB.
    BadWindowUnit = 201 "BAD_WINDOW_UNIT" Incompatible,
    /// The link's other end belongs to another cluster.
    WrongCluster = 202 "WRONG_CLUSTER" Incompatible,
    /// The link's other end lacks a feature that this cluster uses.
    FeatureMissing = 203 "FEATURE_MISSING" Incompatible,
    /// A frame came before HELLO.
    HelloExpected = 300 "HELLO_EXPECTED" Misbehaved,
    /// HELLO did not come in time.
    HelloTimeout = 301 "HELLO_TIMEOUT" Misbehaved,
    /// HELLO came twice.
    HelloTwice = 302 "HELLO_TWICE" Misbehaved,
    /// A sequence number was skipped or repeated.
    SeqBroken = 303 "SEQ_BROKEN" Misbehaved,
    /// An acknowledgement went backwards or covers what was never sent.
    AckInvalid = 304 "ACK_INVALID" Misbehaved,
    /// More payload bytes were sent than the window allowed.
    WindowExceeded = 305 "WINDOW_EXCEEDED" Misbehaved,
    /// Three heartbeats were missed.
    HeartbeatTimeout = 306 "HEARTBEAT_TIMEOUT" Misbehaved,
    /// Delivered messages were not acknowledged in time.
    AckTimeout = 307 "ACK_TIMEOUT" Misbehaved,
    /// A frame came that only a node sends.
    WrongDirection = 308 "WRONG_DIRECTION" Misbehaved,
    /// A later incarnation of the link's other end is known.
    StaleIncarnation = 309 "STALE_INCARNATION" Misbehaved,
    /// The client was slower than a topic whose class disconnects those who fall behind.
    TooSlow = 310 "TOO_SLOW" Misbehaved,
    /// The node holds as many connections as it may.
    ConnectionsMax = 400 "CONNECTIONS_MAX" Overloaded,
    /// The node's memory for half-received frames is used up.
    MemoryMax = 401 "MEMORY_MAX" Overloaded,
    /// The node is out of file descriptors.
    DescriptorsMax = 402 "DESCRIPTORS_MAX" Overloaded,
    /// The node is shutting down.
    Shutdown = 500 "SHUTDOWN" Ours,
}
