//! Ranges of settings that are no limit of an attempt: the least and the most, each with its reason.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::parse_duration;

/// How far a number goes.
#[derive(Debug, Clone, Copy)]
pub struct CountRange {
    /// What is counted, for messages.
    pub what: &'static str,
    /// The least.
    pub least: u32,
    /// The most.
    pub most: u32,
    /// Why it is no less and no more.
    pub why: &'static str,
}

/// How far a time goes.
#[derive(Debug, Clone, Copy)]
pub struct TimeRange {
    /// The least.
    pub least: Duration,
    /// The most.
    pub most: Duration,
    /// Why it is no less and no more.
    pub why: &'static str,
}

/// Attempts at once on one host, and of one plugin.
pub const CONCURRENCY: CountRange = CountRange {
    what: "attempts at once",
    least: 1,
    most: 16_384,
    why: "each reserves 4 GiB of addresses, and a process has 128 TiB of them",
};

/// Attempts that one instance serves.
pub const REUSE: CountRange = CountRange {
    what: "attempts",
    least: 1,
    most: 1_000_000,
    why: "a start spread over more of them costs nothing any more",
};

/// Attempts at a job that names no `max_attempts`.
pub const ATTEMPTS: CountRange = CountRange {
    what: "attempts",
    least: 1,
    most: 1_000_000,
    why: "as far as the limit max_attempts goes",
};

impl CountRange {
    /// The number, if it goes so far.
    ///
    /// # Errors
    /// The range, and why it goes no further.
    pub fn check(&self, number: u64) -> Result<u32, String> {
        let small = u32::try_from(number).ok();
        small
            .filter(|number| (self.least..=self.most).contains(number))
            .ok_or_else(|| self.refusal())
    }

    /// Reads the number.
    ///
    /// # Errors
    /// The range, and why it goes no further.
    pub fn parse(&self, text: &str) -> Result<u32, String> {
        self.check(text.parse().map_err(|_| self.refusal())?)
    }

    fn refusal(&self) -> String {
        let Self { what, least, most, why } = self;
        format!("must be a whole number of {what} from {least} to {most}: {why}")
    }

    /// Reads a number of a manifest's, where zero is out of range.
    pub(super) fn manifest<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<NonZeroU32, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let number = self.check(number).map_err(serde::de::Error::custom)?;
        NonZeroU32::new(number).ok_or_else(|| serde::de::Error::custom(self.refusal()))
    }
}

impl TimeRange {
    /// Reads the time.
    ///
    /// # Errors
    /// When the text is no time, or is out of range: the range, and why it goes no further.
    pub fn parse(&self, text: &str) -> Result<Duration, String> {
        let time = parse_duration(text)?;
        if (self.least..=self.most).contains(&time) {
            return Ok(time);
        }
        let show = |time: Duration| format!("{:#}", jiff::SignedDuration::try_from(time).unwrap_or_default());
        Err(format!(
            "must be from {} to {}: {}",
            show(self.least),
            show(self.most),
            self.why
        ))
    }
}
