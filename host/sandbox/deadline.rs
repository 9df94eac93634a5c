//! When an attempt started and when it has to be over.

use std::time::{Duration, Instant};

/// The time one attempt has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    started: Instant,
    limit: Duration,
}

/// What interrupts a guest that is not at fault in any other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Interrupt {
    #[error("took longer than it may")]
    TimedOut,
    #[error("used more processor time than it may")]
    OutOfCpu,
    #[error("stopped by the host")]
    Stopped,
}

impl Deadline {
    pub(super) fn start(limit: Duration) -> Self {
        Self {
            started: Instant::now(),
            limit,
        }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.elapsed())
    }

    pub(super) fn is_over(&self) -> bool {
        self.remaining().is_zero()
    }
}
