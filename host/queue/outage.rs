//! What counts as an outage, and telling of it: once when it begins, once when it is over, whoever meets it first.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::QueueError;

/// Whether the store can be used.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Since when it cannot; none while it can.
    since: Mutex<Option<Instant>>,
    over: Notify,
}

impl Outage {
    /// Takes note of an error. False: it says nothing about the store as a whole.
    pub(super) fn note(&self, err: &QueueError) -> bool {
        if !err.is_outage() {
            return false;
        }
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_none() {
            *since = Some(Instant::now());
            tracing::error!(%err, "the store cannot be used; what runs goes on, settlements wait");
        }
        true
    }

    /// A move has been made that needs all of the store.
    pub(super) fn over(&self) {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = since {
            let seconds = since.elapsed().as_secs_f64();
            tracing::info!(
                outage_s = (seconds * 10.0).round() / 10.0,
                "the store can be used again"
            );
            self.over.notify_waiters();
        }
    }

    /// Waits about that long before something is tried again, but not beyond the end of the outage: others may take over
    /// what is not settled soon.
    pub(super) async fn wait(&self, about: Duration) {
        let _ = timeout(about.mul_f64(0.5 + fastrand::f64()), self.over.notified()).await;
    }
}

/// Whether an error means that the store, as opposed to this one command, cannot be used for now.
pub(super) fn is_outage(err: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly, TryAgain};
    let server = |kind| matches!(kind, BusyLoading | ClusterDown | MasterDown | ReadOnly | TryAgain);
    match err.kind() {
        // An answer cut off in the middle cannot be read.
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::NoValidReplicasFoundBySentinel => true,
        ErrorKind::Server(kind) if server(kind) => true,
        _ => {
            let code = err.code().unwrap_or_default();
            matches!(code, "OOM" | "BUSY" | "MISCONF" | "NOREPLICAS")
                || err.detail().is_some_and(|why| why.contains("max number of clients"))
        }
    }
}
