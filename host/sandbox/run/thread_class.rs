//! On which threads an attempt runs: on those for light attempts, until it takes much memory or much processor time; from
//! then on on those for heavy ones, which have a lower priority.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

/// It runs on the threads for light attempts.
const LIGHT: u8 = 0;

/// It still does, and moves once it waits or yields.
const LEAVING: u8 = 1;

/// It runs on the threads for heavy attempts.
const HEAVY: u8 = 2;

/// Where one attempt runs. Clones are the same attempt's.
#[derive(Clone, Default)]
pub(in crate::sandbox) struct ThreadClass(Arc<AtomicU8>);

impl ThreadClass {
    /// Has the attempt move to the threads for heavy ones once it next waits or yields.
    pub(in crate::sandbox) fn leave(&self) {
        // Fails only where the attempt runs there already, or is about to.
        let _ = self
            .0
            .compare_exchange(LIGHT, LEAVING, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Moves the attempt that awaits this to the threads for heavy ones, and resolves once it runs there.
    pub(in crate::sandbox) async fn left(&self) {
        self.leave();
        poll_fn(|_| match self.0.load(Ordering::Relaxed) {
            HEAVY => Poll::Ready(()),
            _ => Poll::Pending,
        })
        .await;
    }

    /// Sets on which threads the next attempt in the same instance begins.
    pub(in crate::sandbox) fn begin(&self, heavy: bool) {
        self.0.store(if heavy { HEAVY } else { LIGHT }, Ordering::Relaxed);
    }

    /// Runs an attempt on this thread until it has to move, and the rest of it `elsewhere`.
    pub(in crate::sandbox) async fn run<T: Send + 'static>(
        &self,
        mut attempt: Pin<Box<dyn Future<Output = T> + Send>>,
        elsewhere: Handle,
    ) -> T {
        let here = poll_fn(|cx| match attempt.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.0.load(Ordering::Relaxed) == LEAVING => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        // An instance that is used again may be heavy already.
        if self.0.load(Ordering::Relaxed) == LIGHT
            && let Some(done) = here.await
        {
            return done;
        }
        self.0.store(HEAVY, Ordering::Relaxed);
        let there = AbortOnDropHandle::new(elsewhere.spawn(attempt));
        match there.await {
            Ok(done) => done,
            Err(err) => match err.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The threads are shut down, and this one's with them.
                Err(_) => std::future::pending().await,
            },
        }
    }
}
