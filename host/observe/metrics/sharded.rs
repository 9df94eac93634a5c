//! Numbers that many threads add to and that seldom anybody reads.
//!
//! Each thread adds to a shard of its own, so that no cache line goes back and forth between cores. A reader sums the
//! shards up.

use std::array;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// Most shards. Threads beyond them share.
const MAX_SHARDS: usize = 64;

static SHARDS: LazyLock<usize> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    cores.next_power_of_two().min(MAX_SHARDS)
});

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) & (*SHARDS - 1);
}

/// `N` numbers that only grow.
#[derive(Debug)]
pub(in crate::observe) struct Sharded<const N: usize>(Box<[Shard<N>]>);

/// In cache lines that it shares with nothing else; processors fetch two at a time.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Sharded<N> {
    fn default() -> Self {
        let shard = |_| Shard(array::from_fn(|_| AtomicU64::new(0)));
        Self((0..*SHARDS).map(shard).collect())
    }
}

impl<const N: usize> Sharded<N> {
    /// Adds to the number at this place.
    pub(in crate::observe) fn add(&self, place: usize, more: u64) {
        let shard = &self.0[MINE.with(|mine| *mine)];
        shard.0[place].fetch_add(more, Ordering::Relaxed);
    }

    /// All numbers.
    pub(in crate::observe) fn totals(&self) -> [u64; N] {
        let total = |place: usize| {
            let numbers = self.0.iter().map(|shard| shard.0[place].load(Ordering::Relaxed));
            numbers.fold(0, u64::wrapping_add)
        };
        array::from_fn(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_among_threads() {
        let numbers = Sharded::<2>::default();
        thread::scope(|scope| {
            for _ in 0..2 * MAX_SHARDS {
                scope.spawn(|| (0..100).for_each(|_| numbers.add(1, 2)));
            }
        });
        assert_eq!(numbers.totals(), [0, 200 * 2 * MAX_SHARDS as u64]);
    }
}
