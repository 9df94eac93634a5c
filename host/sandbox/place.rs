//! On which threads an attempt runs: among those with little memory, until it grows.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

/// It waits to be taken elsewhere. Before that it is 0: among the small ones.
const WANTED: u8 = 1;

/// It runs among the large ones.
const LARGE: u8 = 2;

/// Where one attempt runs. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Place(Arc<AtomicU8>);

impl Place {
    /// Whether the attempt has grown large.
    pub(super) fn is_large(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Waits until the attempt, which waits for this, runs on the threads for large ones.
    pub(super) async fn large(&self) {
        if self.0.load(Ordering::Relaxed) == LARGE {
            return;
        }
        self.0.store(WANTED, Ordering::Relaxed);
        poll_fn(|_| match self.0.load(Ordering::Relaxed) {
            LARGE => Poll::Ready(()),
            _ => Poll::Pending,
        })
        .await;
    }

    /// Runs an attempt here until it wants to be elsewhere, and the rest of it there.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        mut attempt: Pin<Box<dyn Future<Output = T> + Send>>,
        elsewhere: Handle,
    ) -> T {
        let here = poll_fn(|cx| match attempt.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.0.load(Ordering::Relaxed) == WANTED => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        // An instance that is used again may be large already.
        if !self.is_large()
            && let Some(done) = here.await
        {
            return done;
        }
        self.0.store(LARGE, Ordering::Relaxed);
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
