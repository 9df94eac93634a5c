//! When failed attempts are made again: by plugin, and what a job wants otherwise.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::parse_duration;

/// When a failed attempt is made again.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// How the wait grows.
    pub policy: Backoff,
    /// The wait after the first failed attempt.
    #[serde(deserialize_with = "duration")]
    pub base: Duration,
    /// The longest wait; also caps what a handler asks for with `retry-after`.
    #[serde(deserialize_with = "duration")]
    pub max: Duration,
    /// By how much a wait varies, so that jobs which failed together do not come back together: 0.2 is ± 20 %.
    #[serde(deserialize_with = "fraction")]
    pub jitter: f64,
}

/// What of a [`RetryPolicy`] a job wants otherwise.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryWish {
    /// How the wait grows.
    pub policy: Option<Backoff>,
    /// The wait after the first failed attempt.
    #[serde(deserialize_with = "some_duration")]
    pub base: Option<Duration>,
    /// The longest wait.
    #[serde(deserialize_with = "some_duration")]
    pub max: Option<Duration>,
    /// By how much a wait varies.
    #[serde(deserialize_with = "some_fraction")]
    pub jitter: Option<f64>,
}

impl RetryPolicy {
    /// This policy where the job wants nothing else.
    #[must_use]
    pub fn with(&self, wish: &RetryWish) -> Self {
        Self {
            policy: wish.policy.unwrap_or(self.policy),
            base: wish.base.unwrap_or(self.base),
            max: wish.max.unwrap_or(self.max),
            jitter: wish.jitter.unwrap_or(self.jitter),
        }
    }
}

/// How the wait between attempts grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// Doubles each time.
    Exponential,
    /// Grows by the base each time.
    Linear,
    /// Stays the base.
    Fixed,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            policy: Backoff::Exponential,
            base: Duration::from_secs(2),
            max: Duration::from_hours(1),
            jitter: 0.2,
        }
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn some_fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    fraction(deserializer).map(Some)
}

fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(serde::de::Error::custom("jitter must be between 0 and 1"))
    }
}
