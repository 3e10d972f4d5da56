//! From times to places.

use std::fmt;

/// Tenths of a pixel: whole numbers give the same bytes everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tenths(pub(super) u64);

impl fmt::Display for Tenths {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

/// Less can't be seen.
const BAR_TENTHS_MIN: u64 = 8;

/// Pixels between two labels, at the least.
const TICK_WIDTH: u64 = 44;

/// A stretch of time, from left to right. Places are in pixels, both ends of the time in it.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) left: u64,
    pub(super) width: u64,
    pub(super) from_ms: u64,
    pub(super) until_ms: u64,
}

impl Axis {
    /// Where a time is; one outside is at the end.
    pub(super) fn x(&self, at_ms: u64) -> Tenths {
        let at_ms = at_ms.clamp(self.from_ms, self.until_ms) - self.from_ms;
        Tenths(self.left * 10 + at_ms * self.width * 10 / (self.until_ms - self.from_ms))
    }

    pub(super) fn shows(&self, at_ms: u64) -> bool {
        (self.from_ms..=self.until_ms).contains(&at_ms)
    }

    /// Where a span begins, and how wide it is; `None` for one outside.
    pub(super) fn place(&self, from_ms: u64, until_ms: u64) -> Option<(Tenths, Tenths)> {
        if until_ms < self.from_ms || from_ms > self.until_ms {
            return None;
        }
        let (left, right) = (self.x(from_ms), self.x(until_ms));
        Some((left, Tenths((right.0 - left.0).max(BAR_TENTHS_MIN))))
    }

    /// Times to write at the axis, in words.
    pub(super) fn ticks(&self) -> Vec<(u64, String)> {
        let span = self.until_ms - self.from_ms;
        let apart = |step: u64| step * self.width >= TICK_WIDTH * span;
        let steps = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000];
        let step = steps.into_iter().find(|step| apart(*step)).unwrap_or(60_000);
        let words = |at_ms: u64| match step {
            ..1_000 => format!("{}.{} s", at_ms / 1000, at_ms / 100 % 10),
            _ => format!("{} s", at_ms / 1000),
        };
        let first = self.from_ms.div_ceil(step);
        (first..).map(|n| n * step).take_while(|at| *at <= self.until_ms).map(|at| (at, words(at))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_places() {
        let axis = Axis { left: 100, width: 1_000, from_ms: 2_000, until_ms: 4_000 };
        assert_eq!(axis.x(3_001).to_string(), "600.5");
        assert_eq!(axis.place(1_000, 3_000), Some((Tenths(1_000), Tenths(5_000))));
        assert_eq!(axis.place(3_000, 3_000), Some((Tenths(6_000), Tenths(BAR_TENTHS_MIN))));
        assert_eq!(axis.place(0, 1_999), None);
        let ticks: Vec<String> = axis.ticks().into_iter().map(|(_, words)| words).collect();
        assert_eq!(ticks[..2], ["2.0 s", "2.1 s"]);
        assert_eq!(ticks.len(), 21);
    }
}
