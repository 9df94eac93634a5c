//! On which threads an attempt runs: among those that take little, until it takes much memory or much time.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

/// It runs among the light ones.
const LIGHT: u8 = 0;

/// It is to go on elsewhere.
const LEAVING: u8 = 1;

/// It runs among the heavy ones.
const HEAVY: u8 = 2;

/// Where one attempt runs. Clones share it.
#[derive(Clone, Default)]
pub(in crate::sandbox) struct ThreadClass(Arc<AtomicU8>);

impl ThreadClass {
    /// Has the attempt go on among the heavy ones from where it next waits.
    pub(in crate::sandbox) fn leave(&self) {
        // Where it is there already, nothing changes.
        let _ = self
            .0
            .compare_exchange(LIGHT, LEAVING, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Waits until the attempt, which waits for this, runs among the heavy ones.
    pub(in crate::sandbox) async fn left(&self) {
        self.leave();
        poll_fn(|_| match self.0.load(Ordering::Relaxed) {
            HEAVY => Poll::Ready(()),
            _ => Poll::Pending,
        })
        .await;
    }

    /// Where the next attempt in the same instance begins.
    pub(in crate::sandbox) fn begin(&self, heavy: bool) {
        self.0.store(if heavy { HEAVY } else { LIGHT }, Ordering::Relaxed);
    }

    /// Runs an attempt here until it is to leave, and the rest of it elsewhere.
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
