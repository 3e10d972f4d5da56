//! Why there is no connection, or why the last one ended.

use multibeam_wire::{CloseClass, CloseCode, GoAwayReason};
use std::io;

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
    /// The node answered that it holds no lease, so that this client stays where it is.
    #[error("{server} does not lead at present: it is cut off from the majority of its cluster")]
    NoLease {
        /// Which server.
        server: String,
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
            | Self::NoLease { .. }
            | Self::Protocol { .. }
            | Self::Closed => None,
        }
    }

    /// Whether trying again may help; the client does so in any case until it is closed. False where
    /// the configuration or one side's version has to change first.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoServer | Self::Closed | Self::Protocol { .. } => false,
            Self::Bye { .. } => {
                !matches!(self.close_class(), Some(CloseClass::Malformed | CloseClass::Incompatible))
            }
            Self::Unreachable { .. }
            | Self::ConnectTimeout { .. }
            | Self::HandshakeTimeout { .. }
            | Self::Lost { .. }
            | Self::Silent { .. }
            | Self::SentAway { .. }
            | Self::NoLease { .. } => true,
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
