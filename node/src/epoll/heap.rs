//! The process's heap, towards the system.

/// Gives the heap's free pages back to the system.
///
/// Without it glibc keeps what lies below its threshold, which grows with the largest block that was ever
/// freed, and so about half of what a crowd needed. Costs time by the size of the heap, and holds up other
/// threads that allocate meanwhile: for when a crowd has left, and not for each turn.
pub(super) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "a call without arguments that refer to anything")]
    // SAFETY: the function may be called at any time and from any thread (malloc_trim(3): MT-Safe); it
    // gives back only pages that hold no allocated block.
    unsafe {
        libc::malloc_trim(0);
    }
}
