//! Whether a component's attempts touch so much memory that a pool pays for them which keeps more of it resident.
//!
//! Memory that the pool gave back to the system has to be faulted in again by the next attempt that touches it. A fault
//! costs no more than a microsecond of one core, but most of these change a mapping, and for that the kernel interrupts
//! every core on which a thread of this process runs. Memory that stays resident is written anew for each attempt instead,
//! all of it, touched or not. So what counts is how many pages attempts touch, in proportion to the memory they have.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Attempts that are looked at. The first ones of a worker meet slots that were never used, so there are some more.
const LOOKS: u32 = 24;

/// Bytes that can be written anew in the time that one fault costs the cores it interrupts. Measured on two cores; on more,
/// a fault costs more.
const BYTES_PER_FAULT: u64 = 64 * 1024;

/// The page faults of a component's first attempts.
pub(in crate::sandbox) struct Faults {
    left: AtomicU32,
    /// The fewest that one attempt took: that of a slot used before.
    least: AtomicU64,
    /// The most bytes that could have stayed resident beyond those that do anyway.
    more: AtomicUsize,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            left: AtomicU32::new(LOOKS),
            least: AtomicU64::new(u64::MAX),
            more: AtomicUsize::new(0),
        }
    }
}

impl Faults {
    /// Whether more attempts are to be looked at.
    pub(in crate::sandbox) fn are_wanted(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0
    }

    /// Notes the faults of one attempt in a fresh instance, of whose memory `more` bytes could have stayed resident. True
    /// if it was the last one to be looked at, and they had better.
    pub(in crate::sandbox) fn note(&self, faults: u64, more: usize) -> bool {
        let least = self.least.fetch_min(faults, Ordering::Relaxed).min(faults);
        let more = self.more.fetch_max(more, Ordering::Relaxed).max(more);
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left == Ok(1) && more > 0 && least.saturating_mul(BYTES_PER_FAULT) >= more as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    /// What is decided after attempts that took so many faults each.
    fn decided(faults: impl Fn(u32) -> u64, more: usize) -> bool {
        let seen = Faults::default();
        let decisions: Vec<_> = (0..LOOKS).map(|n| seen.note(faults(n), more)).collect();
        assert!(!seen.are_wanted());
        assert!(!seen.note(1_000_000, more), "it is decided once");
        let (last, earlier) = decisions.split_last().unwrap();
        assert!(earlier.iter().all(|decision| !decision));
        *last
    }

    #[test]
    fn memory_that_attempts_touch_all_over_is_kept_resident_and_memory_they_hardly_touch_is_not() {
        assert!(decided(|_| 239, 10 * MIB), "Go");
        assert!(decided(|_| 37, 2 * MIB), "JavaScript");
        assert!(!decided(|_| 12, 14 * MIB), "a large stack that is hardly used");
        assert!(!decided(|_| 500, 0), "nothing more to keep");
    }

    #[test]
    fn slots_that_were_never_used_do_not_count() {
        assert!(!decided(|n| if n == 7 { 2 } else { 700 }, 8 * MIB));
    }
}
