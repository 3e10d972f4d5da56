//! The `sync` module of the ring sources as they are included here: that of the crate, without padding.

#[path = "../../src/sync.rs"]
#[allow(dead_code, unused_imports, reason = "the whole source is included, and a part used")]
mod padding;

pub(crate) use padding::*;

/// Pads nothing: it hides the one that does.
#[derive(Debug)]
pub(crate) struct CachePadded<T>(T);

impl<T> CachePadded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> std::ops::Deref for CachePadded<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}
