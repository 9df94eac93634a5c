//! When the attempts ended whose settlements are under way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Settlements followed at once. More than that are under way only in an outage; which of them are followed is chance
/// then.
const PLACES: usize = 1 << 15;

/// Remembers ends by the tags of their deliveries. A tag takes the place of an older one.
#[derive(Debug)]
pub(super) struct Settling {
    places: Box<[Place]>,
    began: Instant,
}

#[derive(Debug, Default)]
struct Place {
    /// Tags count from 1.
    tag: AtomicU64,
    /// Nanoseconds since this was made.
    at_ns: AtomicU64,
}

impl Default for Settling {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_| Place::default()).collect(),
            began: Instant::now(),
        }
    }
}

impl Settling {
    /// An attempt has ended; its settlement begins.
    pub(super) fn begins(&self, tag: u64, now: Instant) {
        let place = self.place(tag);
        place.at_ns.store(self.ns(now), Ordering::Relaxed);
        place.tag.store(tag, Ordering::Release);
    }

    /// The store has taken the settlement: how long ago its attempt ended. None if there was no attempt.
    pub(super) fn ends(&self, tag: u64, now: Instant) -> Option<Duration> {
        let place = self.place(tag);
        (place.tag.load(Ordering::Acquire) == tag).then(|| {
            let began_ns = place.at_ns.load(Ordering::Relaxed);
            Duration::from_nanos(self.ns(now).saturating_sub(began_ns))
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the last digits count")]
    fn place(&self, tag: u64) -> &Place {
        &self.places[tag as usize % PLACES]
    }

    fn ns(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settlement_is_timed_if_its_attempt_was_the_last_in_its_place() {
        let (settling, now) = (Settling::default(), Instant::now());
        let later = now + Duration::from_millis(3);
        settling.begins(7, now);
        assert_eq!(settling.ends(7, later), Some(later - now));
        assert_eq!(settling.ends(8, later), None);
        settling.begins(7 + PLACES as u64, now);
        assert_eq!(settling.ends(7, later), None);
    }
}
