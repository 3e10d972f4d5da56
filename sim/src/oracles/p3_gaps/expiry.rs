//! Nothing is sent once its time to live is over.

use super::known::Known;
use crate::history::{End, Entry, What};

/// Coarseness of the times in a turn and of the time to live itself.
const COARSE_US: u64 = 5_000;

/// The first message that was sent too late, as a sentence.
///
/// It was in the node's hands no later than when it was acknowledged, and was sent no earlier than when
/// its connection last had nothing to send.
pub(super) fn judge(known: &Known<'_>, history: &[Entry]) -> Option<String> {
    history.iter().find_map(|entry| {
        let What::Sent { publish, after_us } = &entry.what else { return None };
        let asked = known.asked.get(publish)?;
        let (ended_us, End::Stored) = asked.ended? else { return None };
        let over_us = ended_us + asked.ttl_ms? * 1000 + COARSE_US;
        (*after_us > over_us).then(|| {
            format!(
                "{publish:?} was sent after {after_us} us; its time was over at {over_us} us at the latest"
            )
        })
    })
}
