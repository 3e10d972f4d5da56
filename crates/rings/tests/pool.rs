//! The buffer pool against a `Vec` for each buffer; and what it takes of the system, and returns.

use multibeam_rings::pool::{BUFFER_BYTES_MAX, Buffer, Pages, Pool, REGION_BYTES, bytes_reserved};
use proptest::prelude::*;

/// What a test does; indexes are taken modulo what there is.
#[derive(Debug, Clone)]
enum Act {
    Take(usize),
    Give(usize),
    /// Fills a buffer up to so many parts in 256 of its capacity.
    Fill(usize, usize),
    /// Makes a part of one buffer's content, from such parts in 256 on, that of another.
    Copy(usize, usize, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = prop_oneof![0..200_usize, 0..5000_usize, 60_000..=BUFFER_BYTES_MAX];
    prop_oneof![
        4 => bytes.prop_map(Act::Take),
        3 => any::<usize>().prop_map(Act::Give),
        3 => (any::<usize>(), 0..=256_usize).prop_map(|(buffer, part)| Act::Fill(buffer, part)),
        2 => (any::<usize>(), 0..=256_usize, any::<usize>()).prop_map(|(from, part, to)| Act::Copy(from, part, to)),
    ]
}

/// A pool, the buffers that are out, and what their content must be.
struct Model {
    pool: Pool,
    bytes_max: usize,
    out: Vec<(Buffer, Vec<u8>)>,
    filled: u8,
}

impl Model {
    fn new(bytes_max: usize) -> Self {
        Self { pool: Pool::new(bytes_max, Pages::Normal), bytes_max, out: Vec::new(), filled: 0 }
    }

    fn act(&mut self, act: &Act) {
        let count = self.out.len();
        match *act {
            Act::Take(capacity) => self.take(capacity),
            Act::Give(index) if count > 0 => {
                let (buffer, _) = self.out.swap_remove(index % count);
                self.pool.give(buffer);
            }
            Act::Fill(index, part) if count > 0 => {
                let (buffer, content) = &mut self.out[index % count];
                self.filled = self.filled.wrapping_add(1);
                *content = vec![self.filled; self.pool.capacity(buffer) * part / 256];
                self.pool.set_len(buffer, content.len());
                self.pool.bytes_mut(buffer).copy_from_slice(content);
            }
            Act::Copy(from, part, to) if count > 1 && from % count != to % count => {
                let Ok([from, to]) = self.out.get_disjoint_mut([from % count, to % count]) else { return };
                let start = from.1.len() * part / 256;
                let end = from.1.len().min(start + self.pool.capacity(&to.0));
                self.pool.copy(&from.0, start..end, &mut to.0);
                to.1 = from.1[start..end].to_vec();
            }
            Act::Give(_) | Act::Fill(..) | Act::Copy(..) => {}
        }
    }

    fn take(&mut self, capacity: usize) {
        let before = self.pool.reserved();
        let counts = bytes_reserved(capacity).expect("a class");
        let Some(buffer) = self.pool.take(capacity) else {
            let is_full = before + counts > self.bytes_max;
            assert!(is_full || self.pool.mapped() >= self.bytes_max, "refused for no reason");
            return;
        };
        assert!(before + counts <= self.bytes_max);
        assert!(self.pool.capacity(&buffer) == counts && counts >= capacity && buffer.is_empty());
        self.out.push((buffer, Vec::new()));
    }

    /// Contents are kept, which they are not if buffers overlap; sums are right, and bounds kept.
    fn check(&self) {
        for (buffer, content) in &self.out {
            assert!(self.pool.bytes(buffer) == content);
        }
        let reserved = self.out.iter().map(|(buffer, _)| self.pool.capacity(buffer)).sum();
        assert_eq!(self.pool.reserved(), reserved);
        assert!(self.pool.mapped() <= self.bytes_max + 2 * REGION_BYTES);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn buffers_keep_what_is_theirs(
        bytes_max in prop_oneof![0..300_000_usize, 0..10_000_000_usize],
        acts in proptest::collection::vec(act(), 0..250),
    ) {
        let mut model = Model::new(bytes_max);
        for act in &acts {
            model.act(act);
            model.check();
        }
        for (buffer, _) in model.out.drain(..) {
            model.pool.give(buffer);
        }
        prop_assert_eq!(model.pool.reserved(), 0);
        prop_assert!(model.pool.mapped() <= REGION_BYTES);
    }
}

#[test]
fn nothing_is_mapped_before_it_is_used_nor_beyond_the_bound() {
    let mut pool = Pool::new(3 * BUFFER_BYTES_MAX, Pages::Normal);
    assert_eq!((pool.mapped(), pool.reserved()), (0, 0));
    assert!(pool.take(BUFFER_BYTES_MAX + 1).is_none() && pool.take(usize::MAX).is_none());
    let all: Vec<_> = std::iter::from_fn(|| pool.take(BUFFER_BYTES_MAX)).collect();
    assert_eq!((all.len(), pool.mapped()), (3, REGION_BYTES));
    assert!(pool.take(0).is_none(), "the smallest counts too");
    all.into_iter().for_each(|buffer| pool.give(buffer));
    assert!(pool.take(0).is_some());
}

#[test]
fn what_can_be_reserved_is_there_if_nothing_was_given_back() {
    // As many as the bound allows, of all classes in turn: no chunk is left that would have been needed.
    let mut pool = Pool::new(10 * REGION_BYTES, Pages::Normal);
    let sizes = (0..12).map(|class| 68 << class).cycle();
    let (mut out, mut refused) = (Vec::new(), 0);
    for size in sizes {
        match pool.take(size) {
            Some(buffer) => out.push(buffer),
            None => {
                assert!(pool.reserved() + size > 10 * REGION_BYTES, "{size} more than {}", pool.reserved());
                refused += 1;
            }
        }
        if refused == 24 {
            break;
        }
    }
    assert!(pool.reserved() > 10 * REGION_BYTES - 68);
}

#[test]
fn the_memory_of_a_burst_goes_back() {
    let mut pool = Pool::new(256 << 20, Pages::Normal);
    let steady: Vec<_> = (0..100).map(|_| pool.take(40).expect("room")).collect();
    assert_eq!(pool.mapped(), REGION_BYTES);
    let before = resident_bytes();
    let mut burst: Vec<_> = (0..40_000).map(|_| pool.take(1000).expect("room")).collect();
    for buffer in &mut burst {
        pool.set_len(buffer, 1000);
        pool.bytes_mut(buffer).fill(7);
    }
    let peak = pool.mapped();
    assert!(peak >= 40_000 * 1000 && resident_bytes() >= before + 40_000_000);
    // Half of it stays, and a quarter more of that, and one region.
    let rest = burst.split_off(20_000);
    rest.into_iter().for_each(|buffer| pool.give(buffer));
    assert!(pool.mapped() < peak * 3 / 4 && pool.mapped() > peak / 2, "{} of {peak}", pool.mapped());
    burst.into_iter().for_each(|buffer| pool.give(buffer));
    assert_eq!(pool.mapped(), 2 * REGION_BYTES, "that in use, and one more");
    // Other tests run beside this one, and touch far less.
    assert!(resident_bytes() <= before + 20_000_000, "{} after {before}", resident_bytes());
    steady.into_iter().for_each(|buffer| pool.give(buffer));
    assert_eq!((pool.mapped(), pool.reserved()), (REGION_BYTES, 0));
}

#[test]
fn a_load_that_goes_up_and_down_maps_nothing() {
    let mut pool = Pool::new(64 << 20, Pages::Normal);
    let steady: Vec<_> = (0..200).map(|_| pool.take(BUFFER_BYTES_MAX).expect("room")).collect();
    let mapped = pool.mapped();
    let places = |pool: &mut Pool| {
        let wave: Vec<_> = (0..30).map(|_| pool.take(BUFFER_BYTES_MAX).expect("room")).collect();
        let places: Vec<_> = wave.iter().map(|buffer| format!("{buffer:?}")).collect();
        wave.into_iter().for_each(|buffer| pool.give(buffer));
        places
    };
    let first = places(&mut pool);
    let kept = pool.mapped();
    assert!(kept > mapped, "the wave's regions are kept");
    assert_eq!((places(&mut pool), pool.mapped()), (first, kept));
    steady.into_iter().for_each(|buffer| pool.give(buffer));
}

#[test]
fn each_kind_of_pages_holds_bytes() {
    for wanted in [Pages::Huge, Pages::Transparent, Pages::Normal] {
        let mut pool = Pool::new(REGION_BYTES, wanted);
        let mut buffer = pool.take(BUFFER_BYTES_MAX).expect("room");
        pool.set_len(&mut buffer, BUFFER_BYTES_MAX);
        pool.bytes_mut(&mut buffer).fill(0xa5);
        assert!(pool.bytes(&buffer).iter().all(|byte| *byte == 0xa5));
        // Which one it is, is the system's choice; it is never a better one than was wanted.
        println!("{wanted:?} wanted: {:?}", pool.pages());
        assert!(wanted != Pages::Normal || pool.pages() == Pages::Normal);
        assert!(wanted != Pages::Transparent || pool.pages() != Pages::Huge);
        pool.give(buffer);
    }
}

#[test]
fn a_buffer_is_eight_bytes_even_if_there_is_none() {
    assert_eq!(size_of::<Option<Buffer>>(), 8);
}

/// What the process has in memory.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
    let pages: usize =
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4096
}
