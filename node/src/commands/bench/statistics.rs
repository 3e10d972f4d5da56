//! Medians, and how sure they are.

use serde::Serialize;

/// What an interval of the median must cover, at least.
const CONFIDENCE: f64 = 0.95;

/// The middle of repeated measurements of one thing, and where the true middle may lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) median: f64,
    /// Ends of the interval that holds the true median with a probability of 95 % or more,
    /// whatever the distribution: two order statistics, by the sign test. Of fewer than six
    /// values it is the smallest and the largest, which cover less.
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) quartile_1: f64,
    pub(super) quartile_3: f64,
    pub(super) count: usize,
}

impl Summary {
    /// Of at least one value, none of them NaN.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let (first, last) = (values.first().copied()?, values.last().copied()?);
        let cut = sign_test_cut(count);
        Some(Self {
            median: quantile(&values, 0.5)?,
            low: values.get(cut).copied().unwrap_or(first),
            high: values.get(count - 1 - cut).copied().unwrap_or(last),
            quartile_1: quantile(&values, 0.25)?,
            quartile_3: quantile(&values, 0.75)?,
            count,
        })
    }
}

/// How many of `count` sorted values may be left out at each end, so that the rest covers the
/// median with [`CONFIDENCE`]: how many values lie below it is binomial, like throws of a coin, and
/// with `cut` left out the interval misses it if at most `cut` do, or all but `cut`.
fn sign_test_cut(count: usize) -> usize {
    let all = 2f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let (mut ways, mut below, mut cut) = (1.0, 1.0, 0);
    // `below`: of all sequences, those in which at most `cut` values lie below.
    while 2.0 * below / all <= 1.0 - CONFIDENCE {
        cut += 1;
        ways *= (count + 1 - cut) as f64 / cut as f64;
        below += ways;
    }
    cut.saturating_sub(1)
}

/// Of sorted values, between two of them in proportion.
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    Some(sorted[low] + (sorted[high] - sorted[low]) * (place - place.floor()))
}

/// Percentiles of times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50_ns: f64,
    pub(super) p99_ns: f64,
    pub(super) p999_ns: f64,
    pub(super) count: usize,
}

impl Percentiles {
    /// Of at least one time.
    pub(super) fn of(times_ns: impl IntoIterator<Item = u32>) -> Option<Self> {
        let mut times: Vec<f64> = times_ns.into_iter().map(f64::from).collect();
        times.sort_by(f64::total_cmp);
        let at = |share| quantile(&times, share);
        Some(Self { p50_ns: at(0.5)?, p99_ns: at(0.99)?, p999_ns: at(0.999)?, count: times.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(values: &[f64]) -> Summary {
        Summary::of(values.iter().copied()).unwrap()
    }

    #[test]
    fn the_median_does_not_depend_on_order_or_on_one_outlier() {
        assert_eq!(summary(&[3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(summary(&[4.0, 1.0, 3.0, 2.0]).median, 2.5);
        assert_eq!(summary(&[1.0, 1e9, 1.0, 1.0, 1.0]).median, 1.0);
        assert!(Summary::of([]).is_none());
    }

    /// From tables of the sign test: which order statistics bound the median with 95 %.
    #[test]
    fn the_interval_is_that_of_the_sign_test() {
        for (count, cut) in
            [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (11, 1), (12, 2), (15, 3), (20, 5), (25, 7)]
        {
            assert_eq!(sign_test_cut(count), cut, "{count}");
        }
        let values: Vec<f64> = (1..=15).map(f64::from).collect();
        let Summary { median, low, high, .. } = summary(&values);
        assert_eq!((median, low, high), (8.0, 4.0, 12.0));
    }

    #[test]
    fn the_interval_covers_the_median_as_often_as_it_says() {
        // 2^count sequences, each by which of its values lie below the median.
        for count in 6..=16_u32 {
            let cut = sign_test_cut(count as usize) as u32;
            let outside = (0..1_u32 << count).filter(|below| {
                let below = below.count_ones();
                below <= cut || below >= count - cut
            });
            let covered = 1.0 - outside.count() as f64 / f64::from(1_u32 << count);
            assert!(covered >= CONFIDENCE, "{count}: {covered}");
        }
    }

    #[test]
    fn quartiles_and_percentiles_lie_between_values() {
        let Summary { quartile_1, quartile_3, count, .. } = summary(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!((quartile_1, quartile_3, count), (2.0, 4.0, 5));
        let percentiles = Percentiles::of(0..=1000).unwrap();
        assert_eq!((percentiles.p50_ns, percentiles.p99_ns, percentiles.p999_ns), (500.0, 990.0, 999.0));
        assert!(Percentiles::of([]).is_none());
    }
}
