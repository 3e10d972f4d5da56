//! Numbers, strings and lists inside a payload: unsigned LEB128 varints, and length before bytes.
//!
//! A payload is written twice by the same code: into a [`Count`], which says how long it will
//! be, then into a [`Writer`], which fills exactly that many bytes. So the length stands in the
//! header before the first byte of the payload is known, and nothing is moved afterwards.

/// Why a payload could not be read. It carries no detail: the frame type says enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Longest varint: 64 bits in groups of seven.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

/// Reads a payload front to back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Unreadable> {
        let (&first, rest) = self.rest.split_first().ok_or(Unreadable)?;
        self.rest = rest;
        Ok(first)
    }

    /// A number of at most ten bytes. Only the shortest encoding is accepted, so that equal
    /// frames are equal bytes.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Unreadable> {
        let first = self.byte()?;
        if first < 0x80 { Ok(u64::from(first)) } else { self.longer_varint(first) }
    }

    fn longer_varint(&mut self, first: u8) -> Result<u64, Unreadable> {
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Unreadable);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 { Err(Unreadable) } else { Ok(value) };
            }
        }
        Err(Unreadable)
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32, Unreadable> {
        u32::try_from(self.varint()?).map_err(|_| Unreadable)
    }

    pub(crate) fn varint_u16(&mut self) -> Result<u16, Unreadable> {
        u16::try_from(self.varint()?).map_err(|_| Unreadable)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Unreadable)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Unreadable)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn bytes(&mut self, len_max: usize) -> Result<&'a [u8], Unreadable> {
        let len = usize::try_from(self.varint()?).map_err(|_| Unreadable)?;
        if len > len_max { Err(Unreadable) } else { self.take(len) }
    }

    pub(crate) fn str(&mut self, len_max: usize) -> Result<&'a str, Unreadable> {
        std::str::from_utf8(self.bytes(len_max)?).map_err(|_| Unreadable)
    }
}

/// Takes what is written: counts it or keeps it.
pub(crate) trait Sink {
    fn byte(&mut self, byte: u8);
    fn raw(&mut self, bytes: &[u8]);
    fn varint(&mut self, value: u64);

    fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }

    /// A string whose length has a limit.
    ///
    /// # Panics
    /// When it is longer: whoever builds a frame has checked what it was given.
    fn str(&mut self, text: &str, len_max: usize) {
        assert!(text.len() <= len_max, "{} bytes where {len_max} fit", text.len());
        self.bytes(text.as_bytes());
    }
}

/// Counts bytes.
#[derive(Debug, Default)]
pub(crate) struct Count(pub(crate) usize);

impl Sink for Count {
    #[inline]
    fn byte(&mut self, _: u8) {
        self.0 += 1;
    }

    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        self.0 += varint_bytes(value);
    }
}

/// Fills a slice from the front. What is written must have been counted before.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    rest: &'a mut [u8],
}

impl<'a> Writer<'a> {
    pub(crate) fn new(room: &'a mut [u8]) -> Self {
        Self { rest: room }
    }

    /// # Panics
    /// If less was written than counted.
    pub(crate) fn finish(self) {
        assert!(self.rest.is_empty(), "{} bytes were counted and not written", self.rest.len());
    }
}

impl Sink for Writer<'_> {
    #[inline]
    fn byte(&mut self, byte: u8) {
        let (first, rest) = std::mem::take(&mut self.rest).split_first_mut().expect("room as counted");
        *first = byte;
        self.rest = rest;
    }

    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        let (taken, rest) = std::mem::take(&mut self.rest).split_at_mut(bytes.len());
        taken.copy_from_slice(bytes);
        self.rest = rest;
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte((value as u8) | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }
}

/// Bytes of the shortest encoding: a seventh of its bits, rounded up.
#[inline]
pub(crate) const fn varint_bytes(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    // As exact as a division for up to 64 bits, and shorter.
    (bits * 9 + 64) / 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: u64) -> Vec<u8> {
        let mut out = vec![0; varint_bytes(value)];
        let mut writer = Writer::new(&mut out);
        writer.varint(value);
        writer.finish();
        out
    }

    #[test]
    fn varints_at_their_borders() {
        for bits in 0..64 {
            for value in [(1u64 << bits) - 1, 1 << bits, u64::MAX] {
                let out = written(value);
                assert!(out.len() <= VARINT_BYTES_MAX);
                assert_eq!(Reader::new(&out).varint(), Ok(value));
            }
        }
        for bad in [
            &[0x80, 0][..],
            &[0xff; 10],
            &[0x80; 11],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            assert_eq!(Reader::new(bad).varint(), Err(Unreadable), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn varints_come_back(value: u64) {
            let out = written(value);
            let mut count = Count::default();
            count.varint(value);
            prop_assert_eq!(out.len(), count.0);
            prop_assert_eq!(Reader::new(&out).varint(), Ok(value));
        }

        #[test]
        fn any_accepted_varint_is_the_shortest(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint() {
                let used = bytes.len() - reader.rest.len();
                prop_assert_eq!(&written(value)[..], &bytes[..used]);
            }
        }
    }
}
