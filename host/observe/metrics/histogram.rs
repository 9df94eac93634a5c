//! Histograms of times and of bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::exemplars::Exemplar;
use super::sharded::Sharded;

/// What is counted beside the buckets: values above the last bound, and the sum of all.
const BEYOND: usize = 1;

/// Bounds of times, in nanoseconds: fine enough for handlers of some microseconds, wide enough for an attempt of hours.
pub(super) const TIMES: [u64; 22] = {
    const US: u64 = 1_000;
    const MS: u64 = 1_000 * US;
    const S: u64 = 1_000 * MS;
    [
        100 * US,
        250 * US,
        500 * US,
        MS,
        2_500 * US,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        250 * MS,
        500 * MS,
        S,
        2_500 * MS,
        5 * S,
        10 * S,
        25 * S,
        60 * S,
        5 * 60 * S,
        30 * 60 * S,
        3_600 * S,
        6 * 3_600 * S,
    ]
};

/// Bounds of memory, in bytes: from what the smallest handler has to the most that a 32-bit memory holds.
pub(super) const SIZES: [u64; 9] = [
    128 << 10,
    512 << 10,
    2 << 20,
    8 << 20,
    32 << 20,
    128 << 20,
    512 << 20,
    2 << 30,
    4 << 30,
];

/// How often values fell into which bucket, and their sum. `N` is the number of bounds and two.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    bounds: &'static [u64],
    numbers: Sharded<N>,
}

/// Times, in nanoseconds.
pub(super) type Times = Histogram<{ TIMES.len() + BEYOND + 1 }>;

/// Bytes.
pub(super) type Sizes = Histogram<{ SIZES.len() + BEYOND + 1 }>;

/// A histogram as it is written out.
pub(super) struct Written {
    pub(super) sum: f64,
    pub(super) count: u64,
    /// Upper bound and number of values, not cumulated; the last bound is infinite.
    pub(super) buckets: Vec<(f64, u64)>,
    /// By the places of their buckets.
    pub(super) exemplars: BTreeMap<usize, Exemplar>,
}

impl Default for Times {
    fn default() -> Self {
        Self::new(&TIMES)
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self::new(&SIZES)
    }
}

impl Times {
    pub(super) fn time(&self, took: Duration) {
        self.count(nanos(took));
    }

    /// The place of the bucket that a time falls into.
    pub(super) fn bucket(took: Duration) -> usize {
        bucket(&TIMES, nanos(took))
    }

    /// In seconds.
    pub(super) fn written(&self) -> Written {
        self.written_in(1e9)
    }
}

impl Sizes {
    pub(super) fn bytes(&self, bytes: u64) {
        self.count(bytes);
    }

    pub(super) fn written(&self) -> Written {
        self.written_in(1.0)
    }
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [u64]) -> Self {
        let numbers = Sharded::default();
        Self { bounds, numbers }
    }

    fn count(&self, value: u64) {
        self.numbers.add(bucket(self.bounds, value), 1);
        self.numbers.add(N - 1, value);
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a reader of histograms does not miss the last of fifteen digits"
    )]
    fn written_in(&self, unit: f64) -> Written {
        let numbers = self.numbers.totals();
        let (counts, sum) = (&numbers[..N - 1], numbers[N - 1]);
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / unit);
        Written {
            sum: sum as f64 / unit,
            count: counts.iter().sum(),
            buckets: bounds.chain([f64::INFINITY]).zip(counts.iter().copied()).collect(),
            exemplars: BTreeMap::new(),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn bucket(bounds: &[u64], value: u64) -> usize {
    bounds.partition_point(|bound| *bound < value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_under_the_least_bound_that_is_not_below_it() {
        let times = Times::default();
        for us in [0, 100, 101, 2_500] {
            times.time(Duration::from_micros(us));
        }
        times.time(Duration::from_hours(7));
        let written = times.written();
        assert_eq!(written.count, 5);
        let filled: Vec<_> = written.buckets.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            filled,
            [&(0.000_1, 2), &(0.000_25, 1), &(0.002_5, 1), &(f64::INFINITY, 1)]
        );
        assert!((written.sum - 25_200.002_701).abs() < 1e-6);
    }
}
