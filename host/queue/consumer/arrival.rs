//! Large jobs: each is brought a piece at a time, and given up if a piece of it never comes.

use std::time::Duration;

use super::Consumer;
use super::delivery::Delivery;
use super::in_flight::MIN_PIECE_BYTES;
use crate::queue::error::QueueError;
use crate::queue::limits::MAX_BATCH_BYTES;

/// Bytes of the first of the pieces that a large job comes in; those that follow grow while they come in time.
const FIRST_PIECE_BYTES: usize = 1024 * 1024;

/// Wait before a piece that did not come is asked for again.
const PIECE_RETRY: Duration = Duration::from_millis(200);

/// How often in a row a piece of a job may fail to come, although the lease can be renewed, before the job is given up.
/// Pieces are at their smallest after six.
pub const MAX_PIECE_TRIES: u32 = 10;

/// What became of bringing a job.
#[derive(Debug)]
pub enum Arrival {
    /// It is here.
    Whole,
    /// This host must not run it any longer.
    Stopped,
    /// A piece of it has failed to come [`MAX_PIECE_TRIES`] times.
    Never(QueueError),
}

impl Consumer {
    /// Brings the rest of a job that is too large to come at once, a piece at a time: however slow the connection, it comes
    /// as long as each piece does.
    pub async fn complete(&self, delivery: &mut Delivery) -> Arrival {
        let (claim, stop) = (self.shared.claim(&delivery.queue), delivery.stop());
        let (mut piece, mut most, mut tries) = (FIRST_PIECE_BYTES, MAX_BATCH_BYTES, 0);
        while delivery.is_incomplete() {
            let (came, bytes) = (delivery.job.bytes.len(), delivery.job.len);
            let asked = self.shared.backend().piece(&claim, delivery.tag, came, piece);
            match stop.run_until_stopped(asked).await {
                None | Some(Ok(None)) => return Arrival::Stopped,
                Some(Ok(Some(more))) => {
                    delivery.job.bytes.extend(more);
                    (piece, tries) = ((piece * 2).min(most), 0);
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

    /// Whether the store can be reached all the same, so that it is this job that does not come.
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
