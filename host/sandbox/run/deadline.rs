//! When an attempt started and when it has to be over.

use std::time::{Duration, Instant};

use crate::config::{Limit, Limits, Source};
use crate::job::{Job, TIMEOUT_DEFAULT};

/// How long an attempt may take, and who set it.
#[derive(Debug, Clone, Copy)]
pub(in crate::sandbox) struct TimeLimit {
    pub(in crate::sandbox) time: Duration,
    pub(in crate::sandbox) set_by: SetBy,
    /// The limit for a job that names none.
    of_plugin: Duration,
}

/// Who set a time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum SetBy {
    Job,
    Manifest,
    Host,
    /// Nobody's.
    Default,
}

impl TimeLimit {
    /// What the job names, as far as its plugin's limits allow; else what the manifest says, or the default.
    pub(in crate::sandbox) fn of(job: &Job, limits: &Limits) -> Self {
        Self::new(job.timeout(), limits)
    }

    /// The same for a start without a job.
    pub(in crate::sandbox) fn of_start(limits: &Limits) -> Self {
        Self::new(None, limits)
    }

    fn new(job_asks: Option<Duration>, limits: &Limits) -> Self {
        let (most, source) = (limits.time(Limit::Timeout), limits.bound(Limit::Timeout).source);
        let (of_plugin, by_plugin) = match source {
            Source::Manifest => (most, SetBy::Manifest),
            _ if TIMEOUT_DEFAULT < most => (TIMEOUT_DEFAULT, SetBy::Default),
            _ => (most, SetBy::Host),
        };
        let (time, set_by) = match (job_asks, source) {
            (None, _) => (of_plugin, by_plugin),
            (Some(asked), _) if asked < most => (asked, SetBy::Job),
            (Some(_), Source::Manifest) => (most, SetBy::Manifest),
            (Some(_), _) => (most, SetBy::Host),
        };
        Self {
            time,
            set_by,
            of_plugin,
        }
    }

    /// Whether the job has less time than its plugin would give it.
    pub(in crate::sandbox) fn is_short(&self) -> bool {
        self.time < self.of_plugin
    }
}

/// The time one attempt has.
#[derive(Debug, Clone, Copy)]
pub(in crate::sandbox) struct Deadline {
    started: Instant,
    limit: TimeLimit,
}

/// What interrupts a guest that is not at fault in any other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::sandbox) enum Interrupt {
    #[error("took longer than it may")]
    TimedOut,
    #[error("used more processor time than it may")]
    OutOfCpu,
    #[error("stopped from outside")]
    Stopped,
}

impl Deadline {
    pub(in crate::sandbox) fn start(limit: TimeLimit) -> Self {
        Self {
            started: Instant::now(),
            limit,
        }
    }

    pub(in crate::sandbox) fn limit(&self) -> TimeLimit {
        self.limit
    }

    pub(in crate::sandbox) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(in crate::sandbox) fn remaining(&self) -> Duration {
        self.limit.time.saturating_sub(self.elapsed())
    }

    pub(in crate::sandbox) fn is_over(&self) -> bool {
        self.remaining().is_zero()
    }
}
