//! What can go wrong, by what the application can do about it. Every text is one line for a
//! person.

use multibeam_wire::limits::BODY_BYTES_MAX;
use multibeam_wire::{CloseClass, CloseCode, ErrorCode, GoAwayReason, Outcome, Refusal, TopicError};
use std::io;

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
    /// The body is too long; nothing was sent.
    #[error("a message has at most {BODY_BYTES_MAX} bytes, this one has {len}")]
    BodyTooLong {
        /// Bytes of the body.
        len: usize,
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
    /// The client was closed before it was sent; it is not stored.
    #[error("the client is closed; the message was not sent")]
    Closed,
}

impl PublishError {
    /// Whether the message is certainly not stored.
    #[must_use]
    pub const fn is_definite(&self) -> bool {
        match self {
            Self::Topic(_) | Self::BodyTooLong { .. } | Self::TimedOut | Self::Closed => true,
            Self::Refused(refusal) => matches!(refusal.outcome, Outcome::Definite),
            Self::Unknown => false,
        }
    }
}

/// Why a subscription could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The topic is no name.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The client holds as many subscriptions as it may, or has used up their numbers.
    #[error("the client holds as many subscriptions as it may")]
    TooMany,
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

/// Why there is no connection, or why the last one ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// [`crate::Config::servers`] is empty.
    #[error("no server is configured")]
    NoServer,
    /// The connection could not be opened.
    #[error("can't reach {server}: {detail}")]
    Unreachable {
        /// Which server.
        server: String,
        /// Kind of the I/O error.
        kind: io::ErrorKind,
        /// Text of the I/O error.
        detail: String,
    },
    /// The connection did not open in time.
    #[error("can't reach {server}: no answer within {timeout_ms} ms")]
    ConnectTimeout {
        /// Which server.
        server: String,
        /// How long it was tried.
        timeout_ms: u64,
    },
    /// The connection opened, and nothing came that ends the handshake.
    #[error("{server} took the connection but did not answer within {timeout_ms} ms")]
    HandshakeTimeout {
        /// Which server.
        server: String,
        /// How long it was waited for.
        timeout_ms: u64,
    },
    /// The connection broke.
    #[error("the connection to {server} was lost: {detail}")]
    Lost {
        /// Which server.
        server: String,
        /// Kind of the I/O error; `UnexpectedEof` where the other side just closed.
        kind: io::ErrorKind,
        /// Text of the I/O error.
        detail: String,
    },
    /// Nothing came for three heartbeat intervals.
    #[error("{server} was silent for {silent_ms} ms; the connection was given up")]
    Silent {
        /// Which server.
        server: String,
        /// How long nothing came.
        silent_ms: u64,
    },
    /// The node ended the connection and said why.
    #[error("{server} ended the connection: {detail} ({})", label(*.number))]
    Bye {
        /// Which server.
        server: String,
        /// Number of the close code on the wire.
        number: u16,
        /// The node's sentence.
        detail: String,
    },
    /// The node asked this client to go elsewhere, and it did.
    #[error("{server} sent this client elsewhere ({})", go_away_label(*.number))]
    SentAway {
        /// Which server.
        server: String,
        /// Number of the reason on the wire.
        number: u16,
    },
    /// The node broke the protocol, and this client ended the connection.
    #[error("{server} broke the protocol: {detail} ({})", .code.label())]
    Protocol {
        /// Which server.
        server: String,
        /// Which rule it broke; it was told the same.
        code: CloseCode,
        /// What was wrong.
        detail: String,
    },
    /// The client was closed by its application.
    #[error("the client is closed")]
    Closed,
}

impl ConnectionError {
    /// Whose act the node says the end was; `None` where the node said nothing or is newer
    /// than this client.
    #[must_use]
    pub fn close_class(&self) -> Option<CloseClass> {
        match self {
            Self::Bye { number, .. } => CloseCode::from_number((*number).into()).map(CloseCode::class),
            Self::NoServer
            | Self::Unreachable { .. }
            | Self::ConnectTimeout { .. }
            | Self::HandshakeTimeout { .. }
            | Self::Lost { .. }
            | Self::Silent { .. }
            | Self::SentAway { .. }
            | Self::Protocol { .. }
            | Self::Closed => None,
        }
    }

    pub(crate) fn unreachable(server: &str, error: &io::Error) -> Self {
        Self::Unreachable { server: server.to_owned(), kind: error.kind(), detail: error.to_string() }
    }

    pub(crate) fn lost(server: &str, error: &io::Error) -> Self {
        Self::Lost { server: server.to_owned(), kind: error.kind(), detail: error.to_string() }
    }
}

fn go_away_label(number: u16) -> &'static str {
    GoAwayReason::from_number(number).map_or("unknown reason", GoAwayReason::label)
}

fn label(number: u16) -> &'static str {
    CloseCode::from_number(number.into()).map_or("unknown code", CloseCode::label)
}
