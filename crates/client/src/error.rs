//! What can go wrong, by what the application can do about it. Every text is one line for a
//! person; `is_definite` says whether a request had no effect for certain, `is_retryable` whether the
//! same may succeed when it is tried again.

mod connection;
mod store;

pub use connection::ConnectionError;
pub use store::CursorStoreError;

use multibeam_wire::limits::KEY_BYTES_MAX;
use multibeam_wire::limits::KEYS_MAX;
use multibeam_wire::{ErrorCode, FilterError, Outcome, Refusal, TemplateError, TopicError};

/// The node's answer to a request that it refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail} ({})", .code.map_or("unknown code", ErrorCode::label))]
pub struct RefusalError {
    /// Why; `None` where the node is newer than this client.
    pub code: Option<ErrorCode>,
    /// Number of the code on the wire.
    pub number: u16,
    /// Whether the request may have had its effect.
    pub outcome: Outcome,
    /// The node's sentence.
    pub detail: String,
}

impl RefusalError {
    /// Whether the request certainly had no effect.
    #[must_use]
    pub const fn is_definite(&self) -> bool {
        matches!(self.outcome, Outcome::Definite)
    }

    /// Whether the same request may succeed later: the node was short of something, or of time.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self.code {
            Some(
                ErrorCode::DedupExpired
                | ErrorCode::TopicsMax
                | ErrorCode::SubscriptionsMax
                | ErrorCode::Deadline,
            ) => true,
            Some(
                ErrorCode::TopicInvalid
                | ErrorCode::BodyTooLong
                | ErrorCode::SubscriptionTaken
                | ErrorCode::SubscriptionUnknown
                | ErrorCode::CursorAhead
                | ErrorCode::FilterInvalid
                | ErrorCode::FilterMatchesNothing
                | ErrorCode::FilterTooWide
                | ErrorCode::KeysInvalid
                | ErrorCode::CursorMismatch,
            )
            | None => false,
        }
    }
}

impl From<&Refusal<'_>> for RefusalError {
    fn from(refusal: &Refusal<'_>) -> Self {
        Self {
            code: ErrorCode::from_number(refusal.code.into()),
            number: refusal.code,
            outcome: refusal.outcome,
            detail: refusal.detail.to_owned(),
        }
    }
}

/// How a publish ended that was not stored for certain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic is no name; nothing was sent.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The template and one of the keys make no topic; nothing was sent.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// No keys, or too many for one publish; nothing was sent.
    #[error("a publish to many has 1 to {KEYS_MAX} keys, this one has {count}")]
    KeyCount {
        /// How many.
        count: usize,
    },
    /// A key is too long; nothing was sent.
    #[error("a key has at most {KEY_BYTES_MAX} bytes, this one has {len}")]
    KeyTooLong {
        /// Bytes of the key.
        len: usize,
    },
    /// The body is too long; nothing was sent.
    #[error("the message has at most {len_max} bytes beside its keys, this one has {len}")]
    BodyTooLong {
        /// Bytes of the body.
        len: usize,
        /// Bytes that there is room for.
        len_max: usize,
    },
    /// The node refused it. See [`RefusalError::outcome`] for what is known of its effect.
    #[error("the publish was refused: {0}")]
    Refused(RefusalError),
    /// It was sent, and its answer did not come in time: it may or may not be stored.
    #[error("the publish was sent but not confirmed in time; it may or may not be stored")]
    Unknown,
    /// It could not be sent in time; it is not stored.
    #[error("the publish could not be sent in time; it is not stored")]
    TimedOut,
    /// Its time to live was over before it could be sent; it is not stored.
    #[error("the message's time to live was over before it could be sent; it is not stored")]
    Expired,
    /// The client was closed before it was sent; it is not stored.
    #[error("the client is closed; the message was not sent")]
    Closed,
}

impl PublishError {
    /// Whether the message is certainly not stored; of many keys, for none of them.
    #[must_use]
    pub const fn is_definite(&self) -> bool {
        match self {
            Self::Topic(_)
            | Self::Template(_)
            | Self::KeyCount { .. }
            | Self::KeyTooLong { .. }
            | Self::BodyTooLong { .. }
            | Self::TimedOut
            | Self::Expired
            | Self::Closed => true,
            Self::Refused(refusal) => refusal.is_definite(),
            Self::Unknown => false,
        }
    }

    /// Whether publishing the same again may succeed. Where the error is not
    /// [definite](Self::is_definite), the message may then be stored twice.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Topic(_)
            | Self::Template(_)
            | Self::KeyCount { .. }
            | Self::KeyTooLong { .. }
            | Self::BodyTooLong { .. }
            | Self::Expired
            | Self::Closed => false,
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::Unknown | Self::TimedOut => true,
        }
    }
}

/// Why a subscription could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The topic is no name.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The filter is none.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A topic with the cursor of a filter, or the other way round.
    #[error("a topic begins behind one position, a filter behind a position a partition")]
    CursorMismatch,
    /// The client holds as many subscriptions as it may, or has used up their numbers.
    #[error("the client holds as many subscriptions as it may")]
    TooMany,
    /// Somebody has the system messages already.
    #[error("the client's system messages are already followed")]
    SystemTaken,
    /// The cursor could not be loaded.
    #[error(transparent)]
    Store(#[from] CursorStoreError),
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

impl SubscribeError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Topic(_) | Self::Filter(_) | Self::CursorMismatch | Self::Closed => false,
            Self::TooMany | Self::SystemTaken => true,
            Self::Store(error) => error.is_retryable(),
        }
    }
}
