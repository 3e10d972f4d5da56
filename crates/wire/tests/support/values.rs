//! Numbers, strings and bodies over their whole range, their borders more often than chance would.

use proptest::collection::vec;
use proptest::prelude::*;

/// Numbers of every length, so that varints of every length occur.
pub(crate) fn number() -> BoxedStrategy<u64> {
    (any::<u64>(), 0u32..64, prop_oneof![4 => Just(None), 1 => edge().prop_map(Some)])
        .prop_map(|(bits, shift, edge)| edge.unwrap_or(bits >> shift))
        .boxed()
}

/// Where the length of a varint changes, and both ends.
fn edge() -> impl Strategy<Value = u64> {
    (0u32..10, any::<bool>()).prop_map(|(groups, below)| match groups {
        0 => u64::from(below).wrapping_neg(),
        _ => (1u64 << (7 * groups)) - u64::from(below),
    })
}

/// As [`number`], in 32 bits.
pub(crate) fn number_u32() -> BoxedStrategy<u32> {
    number().prop_map(|n| if n > u64::from(u32::MAX) { (n >> 32) as u32 } else { n as u32 }).boxed()
}

/// As [`number`], in 16 bits.
pub(crate) fn number_u16() -> BoxedStrategy<u16> {
    number().prop_map(|n| if n > u64::from(u16::MAX) { (n >> 48) as u16 } else { n as u16 }).boxed()
}

/// Any text of at most so many bytes: often none, often as long as it may be.
pub(crate) fn text(bytes_max: usize) -> BoxedStrategy<String> {
    let cut = move |mut text: String| {
        while text.len() > bytes_max {
            text.pop();
        }
        text
    };
    prop_oneof![
        1 => Just(String::new()),
        4 => vec(any::<char>(), 0..40).prop_map(move |chars| cut(chars.into_iter().collect())),
        2 => "[a-z]{1,12}(\\.[a-z]{1,12}){0,3}".prop_map(cut),
        1 => "[ -~]".prop_map(move |c| c.repeat(bytes_max)),
        1 => Just("ß".repeat(bytes_max / 2)),
    ]
    .boxed()
}

/// How many of something there are: often none, one or as many as there may be.
pub(crate) fn count(count_max: usize) -> BoxedStrategy<usize> {
    prop_oneof![3 => Just(0), 3 => Just(1), 4 => 2usize..6, 1 => Just(count_max)].boxed()
}

/// So many numbers, each above the one before it; at times up to the largest.
pub(crate) fn ascending(count: usize) -> BoxedStrategy<Vec<u32>> {
    assert!(count <= 1 << 8);
    let step = prop_oneof![3 => 1u32..4, 1 => 1u32..1 << 23];
    (number_u32(), vec(step, count), any::<bool>())
        .prop_map(|(first, steps, up_to_max)| {
            let mut last = first >> 1;
            let mut next = |step| {
                last += step;
                last
            };
            let mut numbers: Vec<u32> = steps.into_iter().map(&mut next).collect();
            if let (Some(last), true) = (numbers.last_mut(), up_to_max) {
                *last = u32::MAX;
            }
            numbers
        })
        .boxed()
}

/// Any bytes, at most so many.
pub(crate) fn body(bytes_max: usize) -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        4 => Just(Vec::new()),
        16 => vec(any::<u8>(), 1..40),
        8 => vec(any::<u8>(), 100..400),
        1 => any::<u8>().prop_map(move |byte| vec![byte; bytes_max]),
    ]
    .boxed()
}
