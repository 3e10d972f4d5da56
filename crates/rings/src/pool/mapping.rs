//! Memory of the system: a region is mapped, used as bytes, and unmapped.
#![allow(unsafe_code, reason = "maps memory, and reads and writes what it mapped")]

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use std::slice;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Size of a region: that of a huge page.
pub const REGION_BYTES: usize = 2 << 20;

/// What a region is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// A page of 2 MiB out of those that the system was told to set aside (`vm.nr_hugepages`).
    Huge,
    /// The kernel was asked for a huge page and agreed to try when the memory is first touched
    /// (`transparent_hugepage` is `madvise` or `always`).
    Transparent,
    /// Pages of the usual size.
    Normal,
}

/// One region, all zero at first.
#[derive(Debug)]
pub(super) struct Mapping(NonNull<u8>);

// SAFETY: it owns its memory, as a box does.
unsafe impl Send for Mapping {}
// SAFETY: a shared reference allows reading only.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a region of the pages wanted, or of the next best. None if the system has no memory.
    pub(super) fn new(wanted: Pages) -> Option<(Self, Pages)> {
        match wanted {
            // The pages are set aside by this call, so that touching them later cannot fail.
            Pages::Huge => match map(REGION_BYTES, MapFlags::HUGETLB | MapFlags::HUGE_2MB) {
                Some(start) => Some((Self(start), Pages::Huge)),
                None => Self::new(Pages::Transparent),
            },
            Pages::Transparent => {
                let mapping = Self::aligned()?;
                let pages = if mapping.advise(Advice::LinuxHugepage) { wanted } else { Pages::Normal };
                Some((mapping, pages))
            }
            Pages::Normal => {
                let mapping = Self(map(REGION_BYTES, MapFlags::empty())?);
                // Where all memory gets huge pages unasked. A kernel that does not know them refuses.
                let _ = mapping.advise(Advice::LinuxNoHugepage);
                Some((mapping, Pages::Normal))
            }
        }
    }

    /// A region of usual pages where a huge one could be: maps twice the size, and trims both ends.
    fn aligned() -> Option<Self> {
        let start = map(2 * REGION_BYTES, MapFlags::empty())?;
        let before = start.align_offset(REGION_BYTES);
        // SAFETY: within the mapping, being less than a region.
        let region = unsafe { start.add(before) };
        unmap(start, before);
        // SAFETY: at the end of the region, within the mapping.
        unmap(unsafe { region.add(REGION_BYTES) }, REGION_BYTES - before);
        Some(Self(region))
    }

    /// Whether the system takes the advice.
    fn advise(&self, advice: Advice) -> bool {
        // SAFETY: the region is ours, and none of the advices given here changes its content.
        unsafe { madvise(self.0.as_ptr().cast::<c_void>(), REGION_BYTES, advice) }.is_ok()
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for reading, initialised, and borrowed as long as the slice is.
        unsafe { slice::from_raw_parts(self.0.as_ptr(), REGION_BYTES) }
    }

    #[inline]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, mapped for writing too, and borrowed by nobody else.
        unsafe { slice::from_raw_parts_mut(self.0.as_ptr(), REGION_BYTES) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        unmap(self.0, REGION_BYTES);
    }
}

/// Fresh memory, or none.
fn map(len: usize, flags: MapFlags) -> Option<NonNull<u8>> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the system chooses a place where nothing is.
    let start = unsafe { mmap_anonymous(null_mut(), len, access, MapFlags::PRIVATE | flags) };
    NonNull::new(start.ok()?.cast::<u8>())
}

/// Gives memory back, that the caller mapped and has no reference to.
fn unmap(start: NonNull<u8>, len: usize) {
    if len == 0 {
        return;
    }
    // SAFETY: the caller's. All callers are above.
    let result = unsafe { munmap(start.as_ptr().cast::<c_void>(), len) };
    debug_assert!(result.is_ok(), "{result:?}");
}
