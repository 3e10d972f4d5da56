//! Why bytes or frames of a peer end its connection. Each kind of rejection has one close code.

use crate::close::{CloseClass, CloseCode};
use crate::ids::Seq;

/// Why a connection can only be closed: nothing behind the rejected bytes can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The bytes are no frame.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The peer speaks something that is not spoken here.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// A well-formed frame against the rules.
    #[error(transparent)]
    Misbehaved(#[from] Misbehaved),
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first two bytes are not "MB".
    #[error("the frame does not begin with \"MB\"")]
    Magic,
    /// No such frame type.
    #[error("frame type {0} is unknown")]
    UnknownType(u8),
    /// The payload does not fit its type.
    #[error("the {0} payload is malformed")]
    Payload(&'static str),
    /// More payload than is allowed at this point.
    #[error("{len} bytes of payload where {len_max} are allowed")]
    TooLong {
        /// Bytes announced.
        len: u64,
        /// Bytes allowed.
        len_max: usize,
    },
    /// A compact header with a reserved bit, a number out of range, or one that says what was
    /// implied anyway.
    #[error("the compact header is malformed")]
    CompactHeader,
}

/// A version or setting that is not spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// Another version of the protocol.
    #[error("protocol version {0} is not spoken here")]
    Version(u8),
    /// A window unit outside 16 B to 32 KiB.
    #[error("a window unit of 2^{0} bytes is not between 16 B and 32 KiB")]
    WindowUnit(u64),
}

/// Well-formed frames against the rules of `docs/PROTOCOL.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaved {
    /// A type that only the other side sends.
    #[error("{0} came from the wrong side")]
    WrongDirection(&'static str),
    /// A sequence number was skipped or repeated.
    #[error("frame number {found} came where {expected} was due", found = .found.0, expected = .expected.0)]
    SeqBroken {
        /// The number that was due.
        expected: Seq,
        /// The number that came.
        found: Seq,
    },
    /// An acknowledgement went backwards or covers what was never sent.
    #[error(
        "{ack} was acknowledged, outside of {acked} to {sent}",
        ack = .ack.0, acked = .acked.0, sent = .sent.0
    )]
    AckInvalid {
        /// What was acknowledged before.
        acked: Seq,
        /// What came.
        ack: Seq,
        /// The last number that was sent.
        sent: Seq,
    },
    /// More payload bytes were sent than the window allowed.
    #[error("{payload_bytes} bytes came on {in_flight_bytes} in flight, in a window of {window_bytes}")]
    WindowExceeded {
        /// Payload bytes in flight before.
        in_flight_bytes: u64,
        /// Payload bytes of the frame.
        payload_bytes: u64,
        /// What the window allows.
        window_bytes: u64,
    },
}

impl Rejection {
    /// The code that the connection closes with.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Malformed(Malformed::Magic) => CloseCode::BadMagic,
            Self::Malformed(Malformed::UnknownType(_)) => CloseCode::UnknownType,
            Self::Malformed(Malformed::Payload(_)) => CloseCode::BadPayload,
            Self::Malformed(Malformed::TooLong { .. }) => CloseCode::FrameTooLong,
            Self::Malformed(Malformed::CompactHeader) => CloseCode::BadCompactHeader,
            Self::Incompatible(Incompatible::Version(_)) => CloseCode::BadVersion,
            Self::Incompatible(Incompatible::WindowUnit(_)) => CloseCode::BadWindowUnit,
            Self::Misbehaved(Misbehaved::WrongDirection(_)) => CloseCode::WrongDirection,
            Self::Misbehaved(Misbehaved::SeqBroken { .. }) => CloseCode::SeqBroken,
            Self::Misbehaved(Misbehaved::AckInvalid { .. }) => CloseCode::AckInvalid,
            Self::Misbehaved(Misbehaved::WindowExceeded { .. }) => CloseCode::WindowExceeded,
        }
    }

    /// Whose act it is: the class of [`Self::close_code`].
    #[must_use]
    pub const fn class(&self) -> CloseClass {
        match self {
            Self::Malformed(_) => CloseClass::Malformed,
            Self::Incompatible(_) => CloseClass::Incompatible,
            Self::Misbehaved(_) => CloseClass::Misbehaved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_rejection_has_a_code_of_its_own_class_and_shares_it_with_none() {
        let seq = Seq(1);
        let all: &[Rejection] = &[
            Malformed::Magic.into(),
            Malformed::UnknownType(99).into(),
            Malformed::Payload("DATA").into(),
            Malformed::TooLong { len: 2, len_max: 1 }.into(),
            Malformed::CompactHeader.into(),
            Incompatible::Version(9).into(),
            Incompatible::WindowUnit(99).into(),
            Misbehaved::WrongDirection("WELCOME").into(),
            Misbehaved::SeqBroken { expected: seq, found: seq }.into(),
            Misbehaved::AckInvalid { acked: seq, ack: seq, sent: seq }.into(),
            Misbehaved::WindowExceeded { in_flight_bytes: 1, payload_bytes: 1, window_bytes: 1 }.into(),
        ];
        for rejection in all {
            assert_eq!(rejection.class(), rejection.close_code().class(), "{rejection}");
        }
        assert_eq!(all.iter().map(Rejection::close_code).collect::<BTreeSet<_>>().len(), all.len());
    }
}
