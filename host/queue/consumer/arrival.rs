//! Large jobs: each is fetched a piece at a time, and given up if a piece never arrives.

use std::time::Duration;

use super::Consumer;
use super::delivery::Delivery;
use super::in_flight::MIN_PIECE_BYTES;
use crate::queue::error::QueueError;
use crate::queue::limits::MAX_BATCH_BYTES;

/// Bytes of the first piece of a large job. Later pieces grow while they arrive in time.
const FIRST_PIECE_BYTES: usize = 1024 * 1024;

/// Wait before a piece that did not arrive is asked for again.
const PIECE_RETRY: Duration = Duration::from_millis(200);

/// How often in a row a piece may fail to arrive, while the lease can still be renewed, before the job is given up.
/// After six failures pieces are at their smallest.
pub const MAX_PIECE_TRIES: u32 = 10;

/// What became of bringing a job.
#[derive(Debug)]
pub enum Arrival {
    /// All its bytes are here.
    Whole,
    /// This host must not run it any longer.
    Stopped,
    /// A piece failed to arrive [`MAX_PIECE_TRIES`] times.
    Never(QueueError),
}

impl Consumer {
    /// Fetches the rest of a job that is too large for one message, a piece at a time. So it arrives over a slow
    /// connection, too, as long as each piece does.
    pub async fn complete(&self, delivery: &mut Delivery) -> Arrival {
        let (claim, stop) = (self.shared.claim(&delivery.queue), delivery.stop());
        let (mut piece, mut most, mut tries) = (FIRST_PIECE_BYTES, MAX_BATCH_BYTES, 0);
        let mut was_forbidden = false;
        while delivery.is_incomplete() {
            let (came, bytes) = (delivery.job.bytes.len(), delivery.job.len);
            let asked = self.shared.backend().piece(&claim, delivery.tag, came, piece);
            match stop.run_until_stopped(asked).await {
                None | Some(Ok(None)) => return Arrival::Stopped,
                Some(Ok(Some(more))) => {
                    delivery.job.bytes.extend(more);
                    (piece, tries) = ((piece * 2).min(most), 0);
                }
                Some(Err(err)) if err.is_about_access() => {
                    if !was_forbidden {
                        let queue = &delivery.queue;
                        tracing::warn!(%queue, bytes, came, %err, "a large job may not be read; trying again for as long as its lease lasts");
                        was_forbidden = true;
                    }
                    stop.run_until_stopped(self.wait_out(PIECE_RETRY)).await;
                }
                Some(Err(err)) => {
                    if self.is_reachable(delivery, &err).await {
                        tries += 1;
                        let queue = &delivery.queue;
                        tracing::warn!(%queue, bytes, came, piece, tries, %err, "a piece of a large job does not come; asking for less");
                        if tries >= MAX_PIECE_TRIES {
                            return Arrival::Never(err);
                        }
                        most = (piece / 2).max(MIN_PIECE_BYTES);
                        piece = (piece / 4).max(MIN_PIECE_BYTES);
                    }
                    stop.run_until_stopped(self.wait_out(PIECE_RETRY)).await;
                }
            }
        }
        Arrival::Whole
    }

    /// Whether the store can still be reached, so that the fault lies with this job.
    async fn is_reachable(&self, delivery: &Delivery, err: &QueueError) -> bool {
        if !err.is_on_the_way() && self.note(err) {
            return false;
        }
        let Some((_, table)) = self.table(&delivery.queue) else {
            return false;
        };
        let renewed = self.shared.renew(&table.lease).await;
        renewed.inspect_err(|err| _ = self.note(err)).is_ok()
    }
}
