//! How long something may stay pending.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Bounds the time from the first poll that is pending to the next that is ready. The clock runs only while a poll is
/// pending: a guest that takes its time before it reads on is not timed.
pub(super) struct Patience {
    limit: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, waiting: None }
    }

    /// What was polled; none once it has been pending for too long.
    pub(super) fn bound<T>(&mut self, cx: &mut Context<'_>, polled: Poll<T>) -> Poll<Option<T>> {
        if let Poll::Ready(value) = polled {
            self.waiting = None;
            return Poll::Ready(Some(value));
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        waiting.as_mut().poll(cx).map(|()| None)
    }
}
