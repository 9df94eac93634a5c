//! Carries settlements out, as many in one round trip as have gathered, and again until the store takes them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::consumer::Shared;
use super::lease::Lease;
use super::{Delivery, MAX_BATCH, MAX_BATCH_BYTES, QueueError};
use crate::outcome::Settlement;

/// Settlements held while the store cannot take them. Beyond that attempts wait, so nothing grows.
pub(super) const MAX_UNSETTLED: usize = 1024;

/// KiB of settlements held. One that alone is larger is held alone.
pub(super) const MAX_UNSETTLED_KIB: u32 = 64 * 1024;

/// How long a batch of several waits for more: under load they come at once, and a message for many costs little more than
/// one for a few. By then their jobs are done, and nothing waits for them but who reads their results.
const GATHERING: Duration = Duration::from_millis(1);

/// First wait before a batch is offered again; doubles.
const RETRY_MIN: Duration = Duration::from_millis(50);

/// Longest wait before a batch is offered again.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Refusals of a batch between two log lines about it: about half a minute.
const RETRIES_LOGGED: u32 = 16;

/// A delivery whose fate is decided, and the room it takes until that is carried out.
pub(super) struct Settled {
    pub(super) delivery: Delivery,
    pub(super) settlement: Settlement,
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// The room that a settlement takes.
pub(super) fn room_kib(settlement: &Settlement) -> u32 {
    u32::try_from(bytes(settlement) / 1024)
        .unwrap_or(u32::MAX)
        .clamp(1, MAX_UNSETTLED_KIB)
}

fn bytes(settlement: &Settlement) -> usize {
    match settlement {
        Settlement::Ack { result } => result.as_ref().map_or(0, |(id, json)| id.len() + json.len()),
        Settlement::Retry { job, .. } => job.len(),
        Settlement::Fail { entry } => entry.len(),
        Settlement::Requeue => 0,
    }
}

/// Settles what was taken from one queue, until it is told to close and no settlement is left.
pub(super) async fn settle_in_batches(
    shared: Arc<Shared>,
    table: usize,
    mut settlements: mpsc::Receiver<Settled>,
    closing: CancellationToken,
) {
    let mut gathered = Vec::with_capacity(MAX_BATCH);
    loop {
        let received = tokio::select! {
            biased;
            () = closing.cancelled(), if !settlements.is_closed() => {
                settlements.close();
                continue;
            }
            received = settlements.recv_many(&mut gathered, MAX_BATCH) => received,
        };
        if received == 0 {
            return;
        }
        if received > 1 && received < MAX_BATCH {
            tokio::time::sleep(GATHERING).await;
            while gathered.len() < MAX_BATCH
                && let Ok(settled) = settlements.try_recv()
            {
                gathered.push(settled);
            }
        }
        while !gathered.is_empty() {
            let mut batch: Vec<_> = gathered.drain(..fitting(&gathered)).collect();
            settle_for_sure(&shared, &shared.tables[table].lease, &batch).await;
            for settled in &mut batch {
                settled.delivery.settled = true;
            }
        }
    }
}

/// How many of a batch, at least one, go to the store in one message.
fn fitting(batch: &[Settled]) -> usize {
    let mut size = 0;
    let fits = batch.iter().take_while(|settled| {
        size += bytes(&settled.settlement);
        size <= MAX_BATCH_BYTES
    });
    fits.count().max(1)
}

/// Offers a batch until the store takes it. To offer it twice is harmless: each delivery is settled once or refused.
async fn settle_for_sure(shared: &Shared, lease: &Lease, batch: &[Settled]) {
    let by_tag: Vec<_> = batch
        .iter()
        .map(|settled| (settled.delivery.tag, &settled.settlement))
        .collect();
    let (queue, jobs) = (&lease.queue, batch.len());
    let (mut wait, mut failures) = (RETRY_MIN, 0_u32);
    let mut written = HashSet::new();
    let refused = loop {
        match shared.store.settle(&shared.claim(queue), &by_tag, &mut written).await {
            Ok(refused) => break refused,
            Err(QueueError::Lapsed { .. }) => {
                // Whatever this finds, asking anew is all there is to do.
                let _ = shared.renew(lease).await;
                failures += 1;
            }
            Err(err) => {
                if !shared.outage.note(&err) && failures.is_multiple_of(RETRIES_LOGGED) {
                    tracing::error!(%queue, jobs, %err, "the store refuses settlements; offering them again");
                }
                failures += 1;
            }
        }
        shared.outage.wait(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    };
    if failures > 0 {
        // Some may have been carried out the first time, and only the answer was lost: `refused` does not tell.
        tracing::info!(%queue, jobs, "settlements delivered after a failure of the store");
    } else if refused > 0 {
        tracing::warn!(%queue, jobs = refused, "settlements refused: these jobs were no longer this host's");
    }
}
