//! Why one request was refused while the session goes on; sent in ERROR.

/// What an error says about the request it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The request had no effect.
    Definite,
    /// The request may have had its effect; nobody can say.
    Unknown,
}

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal $label:literal,)*) => {
        /// Why a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum ErrorCode { $($(#[doc = $doc])* $name = $number,)* }

        impl ErrorCode {
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

            /// One sentence for a person.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }
        }
    };
}

error_codes! {
    /// The topic name is malformed.
    TopicInvalid = 1 "TOPIC_INVALID",
    /// The body is longer than a message may be.
    BodyTooLong = 2 "BODY_TOO_LONG",
    /// The node can't tell any more whether this number was stored; it was not stored again.
    DedupExpired = 3 "DEDUP_EXPIRED",
    /// The node holds as many topics in use as it may.
    TopicsMax = 4 "TOPICS_MAX",
    /// The session holds as many subscriptions as it may.
    SubscriptionsMax = 5 "SUBSCRIPTIONS_MAX",
    /// The session already has a subscription of this number.
    SubscriptionTaken = 6 "SUBSCRIPTION_TAKEN",
    /// The session has no subscription of this number.
    SubscriptionUnknown = 7 "SUBSCRIPTION_UNKNOWN",
    /// The cursor lies ahead of everything this node has ever stored for the topic.
    CursorAhead = 8 "CURSOR_AHEAD",
    /// The publish did not end within its deadline.
    Deadline = 9 "DEADLINE",
    /// The filter is malformed.
    FilterInvalid = 10 "FILTER_INVALID",
    /// The filter matches no class of topics that is broadcast.
    FilterMatchesNothing = 11 "FILTER_MATCHES_NOTHING",
    /// The filter covers more partitions than one subscription may.
    FilterTooWide = 12 "FILTER_TOO_WIDE",
    /// A publish to many keys needs a topic in which one segment is '*', and keys that fit there.
    KeysInvalid = 13 "KEYS_INVALID",
    /// A cursor with one position belongs to a topic, one with a position a partition to a filter.
    CursorMismatch = 14 "CURSOR_MISMATCH",
}
