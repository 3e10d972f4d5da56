//! The `sync` module of the ring sources as they are included here: it does not pad.

#[allow(unused_imports, reason = "what the sources may ask for")]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

/// Pads nothing.
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

#[inline(always)]
pub(crate) const fn ord(_site: &'static str, ordering: Ordering) -> Ordering {
    ordering
}

#[inline(always)]
pub(crate) fn swap(_site: &'static str, flag: &AtomicBool, value: bool) -> bool {
    flag.swap(value, Ordering::Relaxed)
}

#[inline(always)]
pub(crate) fn fence(_site: &'static str, ordering: Ordering) {
    std::sync::atomic::fence(ordering);
}

#[inline(always)]
pub(crate) const fn panicking() -> bool {
    false
}

/// As in the crate.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}
