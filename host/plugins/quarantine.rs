//! When a version of a plugin is set aside: too many of its attempts in a window of time trap or time out. Pure.

use std::time::Instant;

use crate::config::Quarantine;

/// Attempts of a version within a sliding window: those of the current half of it, and of the half before.
#[derive(Debug, Default)]
pub(super) struct Window {
    began: Option<Instant>,
    now: Tally,
    before: Tally,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    attempts: u32,
    faults: u32,
}

impl Window {
    /// Counts an attempt. Why the version is to be set aside, if it is.
    pub(super) fn count(&mut self, rule: &Quarantine, fault: bool, at: Instant) -> Option<String> {
        self.slide(rule, at);
        self.now.attempts = self.now.attempts.saturating_add(1);
        self.now.faults = self.now.faults.saturating_add(u32::from(fault));
        let attempts = self.now.attempts.saturating_add(self.before.attempts);
        let faults = self.now.faults.saturating_add(self.before.faults);
        let over = attempts >= rule.least_attempts && f64::from(faults) > f64::from(attempts) * rule.share;
        (fault && over)
            .then(|| format!("{faults} of its last {attempts} attempts trapped, timed out or ran out of memory"))
    }

    /// Leaves behind what is older than the window.
    fn slide(&mut self, rule: &Quarantine, at: Instant) {
        let began = *self.began.get_or_insert(at);
        let half = rule.window / 2;
        let age = at.saturating_duration_since(began);
        if age < half {
            return;
        }
        self.before = if age < rule.window { self.now } else { Tally::default() };
        self.now = Tally::default();
        self.began = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RULE: Quarantine = Quarantine {
        share: 0.5,
        window: Duration::from_secs(10),
        least_attempts: 4,
    };

    #[test]
    fn a_version_is_set_aside_once_enough_attempts_show_too_many_faults() {
        let (mut window, at) = (Window::default(), Instant::now());
        for fault in [true, true, false] {
            assert_eq!(window.count(&RULE, fault, at), None, "too few to tell");
        }
        assert!(
            window
                .count(&RULE, true, at)
                .is_some_and(|why| why.starts_with("3 of its last 4 attempts"))
        );
    }

    #[test]
    fn half_of_the_attempts_is_not_more_than_half() {
        let (mut window, at) = (Window::default(), Instant::now());
        for n in 0..1_000 {
            assert_eq!(window.count(&RULE, n % 2 == 1, at), None);
        }
    }

    #[test]
    fn faults_older_than_the_window_are_forgotten() {
        let (mut window, start) = (Window::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(window.count(&RULE, true, start), None);
        }
        let later = start + Duration::from_secs(11);
        for _ in 0..3 {
            assert_eq!(window.count(&RULE, true, later), None);
        }
        assert!(window.count(&RULE, true, later).is_some());
    }
}
