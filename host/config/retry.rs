//! When failed attempts are made again, and how often, by plugin.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{ATTEMPTS, Limit, parse_duration};
use crate::job::{Backoff, Job, MAX_ATTEMPTS_DEFAULT, RetryWish, fraction};

/// When a failed attempt is made again, and how many are made.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// How the wait grows.
    pub policy: Backoff,
    /// The wait after the first failed attempt. A job that names no `max_attempts` has three, as with dg-queue. So
    /// that these outlast an API that is away for a minute, the two waits between them have to: 30 s and then 60 s last
    /// 72 s even where jitter takes all it may. Sidekiq, Asynq and Oban, whose jobs have twenty attempts and more,
    /// begin with about 15 s.
    #[serde(deserialize_with = "duration")]
    pub base: Duration,
    /// The longest wait; also caps what a handler asks for with `retry-after`.
    #[serde(deserialize_with = "duration")]
    pub max: Duration,
    /// By how much a wait varies, so that jobs which failed together do not come back together: 0.2 is ± 20 %.
    #[serde(deserialize_with = "share")]
    pub jitter: f64,
    /// Attempts in all at a job that names none.
    #[serde(deserialize_with = "attempts")]
    pub attempts: NonZeroU32,
    /// Attempts in all at any job, whatever it asks for: the limit `max_attempts`.
    #[serde(skip)]
    pub max_attempts: u32,
}

impl RetryPolicy {
    /// This policy, with what the job asks for in its place.
    #[must_use]
    pub fn with(&self, wish: &RetryWish) -> Self {
        Self {
            policy: wish.policy.unwrap_or(self.policy),
            base: wish.base.unwrap_or(self.base),
            max: wish.max.unwrap_or(self.max),
            jitter: wish.jitter.unwrap_or(self.jitter),
            ..*self
        }
    }

    /// Attempts in all at this job.
    #[must_use]
    pub fn attempts_of(&self, job: &Job) -> u32 {
        NonZeroU32::new(job.max_attempts)
            .unwrap_or(self.attempts)
            .get()
            .min(self.max_attempts)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            policy: Backoff::Exponential,
            base: Duration::from_secs(30),
            max: Duration::from_hours(1),
            jitter: 0.2,
            attempts: MAX_ATTEMPTS_DEFAULT,
            max_attempts: u32::try_from(Limit::MaxAttempts.spec().default).unwrap_or(u32::MAX),
        }
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn attempts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroU32, D::Error> {
    ATTEMPTS.manifest(deserializer)
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    fraction(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
