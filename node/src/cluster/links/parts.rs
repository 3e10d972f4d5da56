//! Messages that come in parts, put together again, within bounds.

use multibeam_consensus::ASK_BYTES_MAX;
use multibeam_wire::link::Part;
use std::collections::BTreeMap;

/// Bytes of all unfinished messages of a connection: two of the longest.
pub(super) const BYTES_MAX: usize = 2 * ASK_BYTES_MAX;

/// Unfinished messages of a connection.
pub(super) const MESSAGES_MAX: usize = 64;

/// A peer that sends more than anybody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Parts {
    open: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
}

impl Parts {
    /// The whole message, if this was its last part.
    pub(super) fn add(&mut self, number: u64, part: &Part<'_>) -> Result<Option<Vec<u8>>, TooMuch> {
        if !part.more && !self.open.contains_key(&number) {
            return Ok(Some(part.bytes.to_vec()));
        }
        self.bytes += part.bytes.len();
        if self.bytes > BYTES_MAX || self.open.len() >= MESSAGES_MAX {
            return Err(TooMuch);
        }
        let message = self.open.entry(number).or_default();
        message.extend_from_slice(part.bytes);
        if part.more {
            return Ok(None);
        }
        let whole = self.open.remove(&number).unwrap_or_default();
        self.bytes -= whole.len();
        Ok(Some(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_parts_make_whole_messages_within_bounds() {
        let mut parts = Parts::default();
        let part = |more, bytes| Part { more, bytes };
        assert_eq!(parts.add(1, &part(true, b"ab")), Ok(None));
        assert_eq!(parts.add(2, &part(false, b"whole")), Ok(Some(b"whole".to_vec())));
        assert_eq!(parts.add(3, &part(true, b"x")), Ok(None));
        assert_eq!(parts.add(1, &part(false, b"c")), Ok(Some(b"abc".to_vec())));
        assert_eq!((parts.bytes, parts.open.len()), (1, 1));
        let long = vec![0; 65_024];
        let ends = (0..1000).find_map(|_| parts.add(9, &part(true, &long)).err());
        assert_eq!(ends, Some(TooMuch));
        let mut parts = Parts::default();
        let ends = (0..100).find(|number| parts.add(*number, &part(true, b"")).is_err());
        assert_eq!(ends, Some(MESSAGES_MAX as u64));
    }
}
