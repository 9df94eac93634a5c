//! The store's clock, as heartbeats measure it.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// A smaller difference is ignored: it may be the time that the answer was on its way.
const NOTICED: SignedDuration = SignedDuration::from_millis(250);

/// By how much the store's clock is ahead of this machine's, or behind it.
#[derive(Debug, Default)]
pub(super) struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    /// The store answered that its clock showed `at`, at some time between `asked` and `answered`.
    pub(super) fn heard(&self, at: Timestamp, asked: Timestamp, answered: Timestamp) {
        let way = answered.duration_since(asked).abs() / 2;
        let ahead = at.duration_since(asked + way);
        let noticed = ahead.abs() > NOTICED + way;
        let ahead_ms = if noticed { ahead.as_millis() } else { 0 };
        self.ahead_ms
            .store(i64::try_from(ahead_ms).unwrap_or(0), Ordering::Relaxed);
    }

    /// The time now, by the store's clock.
    pub(super) fn now(&self) -> Timestamp {
        let (now, ahead_ms) = (Timestamp::now(), self.ahead_ms.load(Ordering::Relaxed));
        now.saturating_add(SignedDuration::from_millis(ahead_ms)).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_ahead_or_behind_is_followed_and_the_way_of_an_answer_is_not_taken_for_one() {
        let (clock, asked) = (Clock::default(), Timestamp::now());
        let ms = SignedDuration::from_millis;
        let off_ms = |store: i64, way: i64| {
            clock.heard(asked + ms(store), asked, asked + ms(way));
            clock.ahead_ms.load(Ordering::Relaxed)
        };
        assert_eq!(off_ms(120_001, 2), 120_000);
        assert_eq!(off_ms(-119_999, 2), -120_000);
        assert_eq!(off_ms(240, 0), 0);
        assert_eq!(off_ms(900, 1_000), 0);
        assert_eq!(off_ms(3_500, 1_000), 3_000);
        let ahead = clock.now().duration_since(Timestamp::now());
        assert!((ahead - ms(3_000)).abs() < ms(500), "{ahead:#}");
    }
}
