//! The jobs of schedules: what a host asks to be pushed, and what the store knows.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Most schedules that one queue remembers.
pub const MAX_REMEMBERED_SCHEDULES: usize = 10_000;

/// How far ahead of the store's clock a last instant may be. One that is further ahead was recorded before the clock was set
/// back, and the schedule starts anew.
pub const MAX_AHEAD: Duration = Duration::from_hours(1);

/// How long the job of an instant counts as not ended, although nobody tells that it has. It may have been deleted by hand.
pub const MAX_UNENDED: Duration = Duration::from_hours(24);

/// A schedule whose instants may have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    /// What it is called.
    pub schedule: String,
    /// How long after its instants it fires.
    pub shift: SignedDuration,
    /// Whether an instant passes without a job while the job of an earlier one has not ended.
    pub skips: bool,
    /// Its instants, in their order. Without any, the store tells the last one, and begins to remember the schedule.
    pub instants: Vec<Instant>,
}

/// An instant of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instant {
    /// When, without the shift.
    pub at: Timestamp,
    /// What the wall clock shows at it, with its zone; empty: nothing that could be compared. Of two instants in a row with
    /// the same label only the first is fired.
    pub label: String,
    /// The job; none: the instant is to pass without one.
    pub job: Option<String>,
}

/// What became of a [`Firing`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fired {
    /// The last instant that was fired or has passed; of a schedule that is new, the time when it was first heard of. None:
    /// too many schedules are remembered, and this one is not.
    pub last: Option<Timestamp>,
    /// How many jobs were added.
    pub jobs: usize,
    /// How many were not, since the job of an earlier instant has not ended.
    pub skipped: usize,
}

/// The job of an instant of a schedule, by its id: `cron:NAME:INSTANT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence<'a> {
    /// The schedule.
    pub schedule: &'a str,
    /// The instant.
    pub at: Timestamp,
}

impl<'a> Occurrence<'a> {
    /// Which one a job is, by its id; none: it is of no schedule.
    #[must_use]
    pub fn of(id: &'a str) -> Option<Self> {
        let name = id.strip_prefix("cron:")?;
        // A plugin's name may have colons, an id of a schedule has none.
        let slash = name.rfind('/')?;
        let end = slash + name[slash..].find(':')?;
        let at = name[end + 1..].parse().ok()?;
        Some(Self {
            schedule: &name[..end],
            at,
        })
    }
}
