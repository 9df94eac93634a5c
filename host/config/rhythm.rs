//! The instants of a schedule: by a cron pattern in a time zone, or every so often.

use std::time::Duration;

use croner::{Cron, JobType};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Longest cron pattern, in bytes. One that names every second, minute and hour comes to half of it.
const MAX_CRON_BYTES: usize = 1024;

/// The instants of a schedule. Every host computes the same ones from the same data of time zones, whenever it asks.
#[derive(Debug, Clone)]
pub(super) enum Rhythm {
    /// By the wall clock of a place.
    Cron {
        pattern: Box<Cron>,
        zone: TimeZone,
        /// Whether it names one time of day.
        is_fixed: bool,
    },
    /// The multiples of a length of time, in milliseconds, since the Unix epoch.
    Every(i64),
}

impl Rhythm {
    /// # Errors
    /// When the pattern or the zone makes no sense, or no date ever matches.
    pub(super) fn cron(pattern: &str, zone: &str) -> Result<Self, String> {
        if pattern.len() > MAX_CRON_BYTES {
            return Err(format!(
                "cron has {} bytes, at most {MAX_CRON_BYTES} are read",
                pattern.len()
            ));
        }
        let zone = TimeZone::get(zone).map_err(|_| {
            format!("there is no time zone {zone:?}; zones are named as in Europe/Berlin, America/New_York, UTC")
        })?;
        let parsed: Cron = pattern.parse().map_err(|err| format!("cron {pattern:?}: {err}"))?;
        let is_fixed = parsed.determine_job_type() == JobType::FixedTime;
        let pattern_of = Box::new(parsed);
        let rhythm = Self::Cron {
            pattern: pattern_of,
            zone,
            is_fixed,
        };
        // Not from now on: a plugin whose last instant has passed goes on to load.
        if rhythm.after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(format!("cron {pattern:?}: no date ever matches it"));
        }
        Ok(rhythm)
    }

    pub(super) fn every(period: Duration) -> Self {
        Self::Every(i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1))
    }

    /// The first instant after a time; none if there is none.
    pub(super) fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { pattern, zone, .. } => {
                let from = whole_second(time)?.to_zoned(zone.clone());
                let next = pattern.find_next_occurrence(&from, false).ok()?;
                Some(next.timestamp())
            }
            Self::Every(period_ms) => multiple(time, *period_ms, 1),
        }
    }

    /// The last instant up to a time; none if there is none.
    pub(super) fn up_to(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { pattern, zone, .. } => {
                let from = whole_second(time)?.to_zoned(zone.clone());
                let last = pattern.find_previous_occurrence(&from, true).ok()?;
                Some(last.timestamp())
            }
            Self::Every(period_ms) => multiple(time, *period_ms, 0),
        }
    }

    /// What the wall clock shows at an instant, with its zone, if this names one time of day. Two hosts that know different
    /// rules of a zone agree on it, and not on the instant.
    pub(super) fn label(&self, instant: Timestamp) -> String {
        match self {
            Self::Cron {
                zone, is_fixed: true, ..
            } => {
                let name = zone.iana_name().unwrap_or("UTC");
                format!("{}[{name}]", zone.to_datetime(instant))
            }
            Self::Cron { .. } | Self::Every(_) => String::new(),
        }
    }

    /// The zone whose clock it goes by.
    pub(super) fn zone(&self) -> TimeZone {
        match self {
            Self::Cron { zone, .. } => zone.clone(),
            Self::Every(_) => TimeZone::UTC,
        }
    }
}

/// A cron pattern knows whole seconds only.
fn whole_second(time: Timestamp) -> Option<Timestamp> {
    let ms = time.as_millisecond();
    Timestamp::from_second(ms.div_euclid(1000)).ok()
}

fn multiple(time: Timestamp, period_ms: i64, beyond: i64) -> Option<Timestamp> {
    let number = time.as_millisecond().div_euclid(period_ms) + beyond;
    Timestamp::from_millisecond(number.checked_mul(period_ms)?).ok()
}
