//! Sorts the ready jobs of queues in which keys take turns: each goes to the lane of its key, however many are before it.
//!
//! A fetch takes no more than can start. Behind a hundred thousand jobs of one key, the job of another would be found only
//! when these have run. So where such a job was met, all that is ready is looked at, in batches and without any place of the
//! worker. Jobs that no such limit concerns go to the lane of their plugin meanwhile, and start from there.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::faults::Faults;
use super::room::SMALL_BYTES;
use crate::queue::{Consumer, MAX_BATCH, QueueError, QueueName};
use crate::worker::Worker;

/// Sorts queues until `stop`.
pub(super) async fn sort(consumer: Arc<Consumer>, worker: Arc<Worker>, stop: CancellationToken) {
    let mut faults = Faults::new(&consumer, "sort");
    let sorting = async {
        loop {
            let queue = worker.sorting().next().await;
            match sort_queue(&consumer, &worker, &queue).await {
                Ok(()) => faults.over(),
                Err(err) => faults.wait(&err).await,
            }
        }
    };
    stop.run_until_cancelled(sorting).await;
}

/// Goes on for as long as there are jobs to be sorted among those that are ready.
async fn sort_queue(consumer: &Consumer, worker: &Worker, queue: &QueueName) -> Result<(), QueueError> {
    while !consumer.is_paused(queue) && !consumer.is_any_full(queue) {
        let deliveries = consumer.fetch_from(queue, MAX_BATCH, &[], Some(SMALL_BYTES)).await?;
        let mut sorted = 0;
        for delivery in deliveries {
            sorted += usize::from(worker.sort(delivery).await);
        }
        if sorted == 0 {
            break;
        }
    }
    Ok(())
}
