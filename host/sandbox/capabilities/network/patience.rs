//! How long something may stay pending.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Bounds the time for which something is pending. Its clock starts with a poll that is pending, stops while it is paused, and
/// begins anew once a poll is ready.
pub(in crate::sandbox::capabilities) struct Patience {
    limit: Duration,
    /// Time of the waits before.
    spent: Duration,
    /// Since when the clock runs, and the end of its time.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Patience {
    pub(in crate::sandbox::capabilities) fn new(limit: Duration) -> Self {
        Self {
            limit,
            spent: Duration::ZERO,
            waiting: None,
        }
    }

    /// Begins anew: something has moved, or what was waited for is no longer.
    pub(in crate::sandbox::capabilities) fn reset(&mut self) {
        self.waiting = None;
        self.spent = Duration::ZERO;
    }

    /// Stops the clock until the next poll that is pending: nobody waits.
    pub(in crate::sandbox::capabilities) fn pause(&mut self) {
        if let Some((since, _)) = self.waiting.take() {
            self.spent += since.elapsed();
        }
    }

    /// What was polled; none once it has been pending for too long.
    pub(in crate::sandbox::capabilities) fn bound<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<T>,
    ) -> Poll<Option<T>> {
        if let Poll::Ready(value) = polled {
            self.reset();
            return Poll::Ready(Some(value));
        }
        let left = self.limit.saturating_sub(self.spent);
        let begin = || (Instant::now(), Box::pin(sleep(left)));
        let (_, end) = self.waiting.get_or_insert_with(begin);
        end.as_mut().poll(cx).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Seconds that are left, rounded up, after a poll that is pending.
    fn left(patience: &mut Patience) -> u64 {
        let polled = patience.bound(&mut Context::from_waker(Waker::noop()), Poll::<()>::Pending);
        assert!(polled.is_pending());
        let (_, end) = patience.waiting.as_ref().expect("the clock runs");
        end.deadline().duration_since(Instant::now()).as_secs() + 1
    }

    #[tokio::test]
    async fn only_the_time_of_waits_counts_until_something_moves() {
        let mut patience = Patience::new(LIMIT);
        assert_eq!(left(&mut patience), 10);
        if let Some((since, _)) = &mut patience.waiting {
            *since -= Duration::from_secs(8);
        }
        patience.pause();
        // However long nobody waits: no clock runs.
        assert!(patience.waiting.is_none());
        assert_eq!(left(&mut patience), 2);
        patience.pause();
        let moved = patience.bound(&mut Context::from_waker(Waker::noop()), Poll::Ready(()));
        assert_eq!(moved, Poll::Ready(Some(())));
        assert_eq!(left(&mut patience), 10);
        patience.spent = LIMIT;
        patience.waiting = None;
        let spent = std::future::poll_fn(|cx| patience.bound(cx, Poll::<()>::Pending));
        assert_eq!(spent.await, None);
    }
}
