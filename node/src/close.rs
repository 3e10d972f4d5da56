//! Why a connection was closed, and whether that reason may lose output.

use multibeam_wire::CloseCode;

/// Why a connection ended. One metric label each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// We closed it, and said why in BYE.
    Numbered(CloseCode),
    /// The peer ended its sending half, and was told all it had asked for.
    PeerEnded,
    /// The connection was reset, or broke.
    PeerReset,
    /// The kernel would not watch it.
    RegisterFailed,
}

const UNNUMBERED: [CloseReason; 3] =
    [CloseReason::PeerEnded, CloseReason::PeerReset, CloseReason::RegisterFailed];
const COUNT: usize = CloseCode::ALL.len() + UNNUMBERED.len();

const fn all() -> [CloseReason; COUNT] {
    let mut all = [CloseReason::PeerEnded; COUNT];
    let mut at = 0;
    while at < COUNT {
        all[at] = if at < CloseCode::ALL.len() {
            CloseReason::Numbered(CloseCode::ALL[at])
        } else {
            UNNUMBERED[at - CloseCode::ALL.len()]
        };
        at += 1;
    }
    all
}

impl CloseReason {
    /// All reasons, in the order of [`CloseReason::index`].
    pub const ALL: &[Self] = &all();

    /// Name in logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Numbered(code) => code.label(),
            Self::PeerEnded => "PEER_ENDED",
            Self::PeerReset => "PEER_RESET",
            Self::RegisterFailed => "REGISTER_FAILED",
        }
    }

    /// Place in [`CloseReason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        let unnumbered = CloseCode::ALL.len();
        match self {
            Self::Numbered(code) => code.index(),
            Self::PeerEnded => unnumbered,
            Self::PeerReset => unnumbered + 1,
            Self::RegisterFailed => unnumbered + 2,
        }
    }

    /// Whether output may be thrown away with the connection, although time to flush it was
    /// left: where the peer takes nothing any more, it can't be otherwise.
    #[must_use]
    pub const fn may_lose_output(self) -> bool {
        match self {
            Self::Numbered(_) | Self::PeerEnded => false,
            Self::PeerReset | Self::RegisterFailed => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_know_their_place() {
        for (at, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), at, "{reason:?}");
        }
    }
}
