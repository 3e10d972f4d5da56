//! Entropy closed off: on a thread that is seeded, the C library's `getrandom` is a stream of
//! numbers made from the seed, for every crate in the process. Other threads get the real one.
//!
//! Hash maps of third parties draw their keys once a thread, so each seed runs on a fresh one.
#![allow(unsafe_code, reason = "it takes the place of a function of the C library")]

use std::cell::Cell;

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Seeds this thread's entropy, and checks that it took effect.
///
/// # Panics
/// When the linker chose the C library's function all the same.
pub fn seed(seed: u64) {
    STATE.with(|state| state.set(Some(seed)));
    let mut drawn = [0_u8; 8];
    // SAFETY: `drawn` is valid for writes of its length.
    let count = unsafe { libc::getrandom(drawn.as_mut_ptr().cast(), drawn.len(), 0) };
    assert_eq!(count, 8);
    assert_eq!(u64::from_ne_bytes(drawn), mix(seed.wrapping_add(STEP)), "entropy is not closed off");
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of splitmix64.
const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Takes the place of the C library's function in this process.
///
/// # Safety
/// As of getrandom(2): `buf` must be valid for writes of `len` bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn getrandom(buf: *mut libc::c_void, len: usize, flags: libc::c_uint) -> isize {
    let Some(mut state) = STATE.try_with(Cell::get).ok().flatten() else {
        // SAFETY: the caller's promise is the system call's.
        return unsafe { libc::syscall(libc::SYS_getrandom, buf, len, flags) as isize };
    };
    // SAFETY: the caller promises that `len` bytes can be written; bytes have no alignment.
    let out = unsafe { std::slice::from_raw_parts_mut(buf.cast::<std::mem::MaybeUninit<u8>>(), len) };
    for chunk in out.chunks_mut(8) {
        state = state.wrapping_add(STEP);
        for (to, from) in chunk.iter_mut().zip(mix(state).to_ne_bytes()) {
            to.write(from);
        }
    }
    let _ = STATE.try_with(|cell| cell.set(Some(state)));
    len as isize
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "the very thing that is tested")]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    #[test]
    fn a_seeded_thread_has_the_same_hash_keys_each_time() {
        let key = |seed| {
            let hash = move || {
                super::seed(seed);
                RandomState::new().hash_one(1)
            };
            std::thread::spawn(hash).join().unwrap()
        };
        assert_eq!(key(7), key(7));
        assert_ne!(key(7), key(8));
    }
}
