//! The input as a row of choices.

/// Bytes, then zeros for ever; 0 is what a friendly world would choose.
pub(super) struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Nothing but zeros is left.
    pub(super) const fn over(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn next(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// A number below `n`.
    pub(super) fn pick(&mut self, n: usize) -> usize {
        usize::from(self.next()) % n
    }

    /// One of these.
    pub(super) fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.pick(items.len())]
    }

    /// True in one of `n` cases, and never behind the end.
    pub(super) fn rarely(&mut self, n: usize) -> bool {
        self.pick(n) == n - 1
    }

    /// So many bytes as they are, or what is left.
    pub(super) fn raw(&mut self, count: usize) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let raw = &rest[..count.min(rest.len())];
        self.at += raw.len();
        raw
    }
}
