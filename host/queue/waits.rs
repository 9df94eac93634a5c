//! How long jobs wait, as sums that can be added up over hosts: in buckets, and by the stages of the wait.

use std::sync::LazyLock;
use std::time::Duration;

/// Upper bounds of the buckets, in milliseconds. Between two of them there is a factor of two to six.
const BOUNDS_MS: [u64; 18] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000, 7_200_000,
];

/// Waits beyond the last bound.
const BEYOND: usize = BOUNDS_MS.len();

/// Stages of a wait: how long jobs were ready, were in lanes, and were in a host's hands, all of them together.
const STAGES: [&str; 3] = ["ready_us", "lane_us", "host_us"];

/// Sums of one queue.
pub(crate) const WAIT_SUMS: usize = BEYOND + 1 + STAGES.len();

/// What a bucket is called, before its bound in milliseconds.
const BUCKET: &str = "le_";

static NAMES: LazyLock<[String; WAIT_SUMS]> = LazyLock::new(|| {
    std::array::from_fn(|place| match place {
        ..BEYOND => format!("{BUCKET}{}", BOUNDS_MS[place]),
        BEYOND => format!("{BUCKET}inf"),
        _ => STAGES[place - BEYOND - 1].to_owned(),
    })
});

/// The names of the sums, in their order.
pub(crate) fn sum_names() -> &'static [String; WAIT_SUMS] {
    &NAMES
}

/// What a job adds to which sums: one that was fetched so long after it was due, from a lane or not, and began so long after that.
pub(crate) fn sums_of(waited: Duration, from_lane: bool, started: Duration) -> [(usize, u64); 3] {
    let all = u64::try_from((waited + started).as_millis()).unwrap_or(u64::MAX);
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let bucket = BOUNDS_MS.partition_point(|bound| *bound < all);
    let stage = BEYOND + 1 + usize::from(from_lane);
    [(bucket, 1), (stage, us(waited)), (WAIT_SUMS - 1, us(started))]
}

/// How long the jobs of one queue, or of several, waited before their attempts began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waits {
    buckets: [u64; BEYOND + 1],
    stages_us: [u64; STAGES.len()],
}

impl Waits {
    /// Adds to the sum of this name. One that another version of Kiln makes is left out.
    pub fn add(&mut self, name: &str, more: u64) {
        match NAMES.iter().position(|known| known == name) {
            Some(place) if place <= BEYOND => self.buckets[place] += more,
            Some(place) => self.stages_us[place - BEYOND - 1] += more,
            None => {}
        }
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        let sums = self.buckets.iter_mut().chain(&mut self.stages_us);
        for (sum, more) in sums.zip(other.buckets.iter().chain(&other.stages_us)) {
            *sum += more;
        }
    }

    /// Attempts that were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The wait that so much of them did not exceed, `share` from 0 to 1: within its bucket, as if waits were spread evenly there.
    /// Beyond the last bound it is that bound. None: nothing was counted.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "no bucket is so exact"
    )]
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let wanted = self.count() as f64 * share;
        let (mut below, mut from) = (0.0, 0);
        for (count, bound) in self.buckets.iter().zip(BOUNDS_MS) {
            let count = *count as f64;
            if count > 0.0 && below + count >= wanted {
                let part = ((wanted - below) / count).clamp(0.0, 1.0);
                let us = (from as f64 + (bound - from) as f64 * part) * 1e3;
                return Some(Duration::from_micros(us as u64));
            }
            (below, from) = (below + count, bound);
        }
        (self.count() > 0).then(|| Duration::from_millis(from))
    }

    /// How long a job was ready, was in lanes and was in a host's hands, in the mean.
    #[must_use]
    pub fn stages(&self) -> [Duration; 3] {
        let count = self.count().max(1);
        self.stages_us.map(|us| Duration::from_micros(us / count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(waits: &[(u64, bool, u64)]) -> Waits {
        let mut all = Waits::default();
        for (waited, from_lane, started) in waits {
            let ms = Duration::from_millis;
            for (place, more) in sums_of(ms(*waited), *from_lane, ms(*started)) {
                all.add(&sum_names()[place], more);
            }
        }
        all
    }

    #[test]
    fn percentiles_are_in_the_bucket_of_the_wait_that_is_meant_and_stages_are_means() {
        let ms = Duration::from_millis;
        let mut all = counted(&[(3, false, 1); 9]);
        all.merge(&counted(&[(600, true, 0)]));
        assert_eq!(all.count(), 10);
        let within = |share, least, most| {
            let found = all.percentile(share).unwrap();
            assert!(ms(least) < found && found <= ms(most), "{share}: {found:?}");
        };
        within(0.5, 2, 5);
        within(0.9, 2, 5);
        within(0.95, 500, 1_000);
        within(1.0, 500, 1_000);
        assert_eq!(
            all.stages(),
            [Duration::from_micros(2_700), ms(60), Duration::from_micros(900)]
        );
        assert_eq!(counted(&[(86_400_000, false, 0)]).percentile(0.5), Some(ms(7_200_000)));
        assert_eq!(Waits::default().percentile(0.5), None);
        let mut other = Waits::default();
        other.add("le_7", 1);
        assert_eq!(other, Waits::default(), "of another version");
    }
}
