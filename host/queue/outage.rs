//! Says once that the store cannot be used, and once that it can again, whoever meets it first.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::QueueError;

/// Since when the store cannot be used; none while it can.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// Takes note of an error. False: it says nothing about the store as a whole.
    pub(super) fn note(&self, err: &QueueError) -> bool {
        if !err.is_outage() {
            return false;
        }
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_none() {
            *since = Some(Instant::now());
            tracing::error!(%err, "the store cannot be used; what runs goes on, settlements wait");
        }
        true
    }

    /// A move has been made that needs all of the store.
    pub(super) fn over(&self) {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = since {
            let seconds = since.elapsed().as_secs_f64();
            tracing::info!(
                outage_s = (seconds * 10.0).round() / 10.0,
                "the store can be used again"
            );
        }
    }
}
