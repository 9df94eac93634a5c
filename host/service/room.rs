//! Limits the bytes of jobs that this host holds at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::job::MAX_JOB_BYTES;

/// Jobs up to this length are not counted. Most are no longer, and `concurrency` bounds them well enough.
pub(super) const SMALL_BYTES: usize = 64 * 1024;

/// The unit in which room is counted.
const UNIT_BYTES: usize = 1024;

/// Room for the largest job that can be decoded, in units. A larger one is fetched only to be refused.
#[expect(clippy::cast_possible_truncation, reason = "it is 32,768")]
const LARGEST: u32 = (MAX_JOB_BYTES / UNIT_BYTES) as u32;

/// The room for the jobs that a host holds of one queue. Each queue has its own, so that slow large jobs of one queue
/// do not keep another's from running.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// Room reserved for one fetch. It is enough for whatever a fetch brings: one job of the largest size, or several that
/// come to no more than a quarter of that.
#[derive(Debug)]
pub(super) struct Free(OwnedSemaphorePermit);

/// The room that one job occupies, until dropped. None for a small job.
#[derive(Debug, Default)]
pub(super) struct Taken {
    _units: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Room for so many bytes, but at least for one job of the largest size.
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT_BYTES;
        Self(Arc::new(Semaphore::new(
            units.clamp(LARGEST as usize, Semaphore::MAX_PERMITS),
        )))
    }

    /// Reserves room for one fetch, if there is enough.
    pub(super) fn free(&self) -> Option<Free> {
        Arc::clone(&self.0).try_acquire_many_owned(LARGEST).ok().map(Free)
    }

    /// Waits until there is room for one fetch.
    pub(super) async fn freed(&self) {
        let units = self.0.acquire_many(LARGEST).await;
        drop(units.unwrap_or_else(|_| unreachable!("nobody closes the semaphore")));
    }
}

impl Free {
    /// Moves room for a job of that length out of the reservation.
    pub(super) fn take(&mut self, bytes: usize) -> Taken {
        let units = (bytes / UNIT_BYTES).min(self.0.num_permits());
        let units = (bytes > SMALL_BYTES).then(|| self.0.split(units));
        Taken {
            _units: units.flatten(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn large_jobs_are_fetched_only_while_the_largest_one_fits() {
        let room = Room::new(3 * MAX_JOB_BYTES as u64);
        let take = |bytes| room.free().expect("the largest fits").take(bytes);
        let (first, second, third) = (take(MAX_JOB_BYTES), take(MAX_JOB_BYTES / 2), take(MAX_JOB_BYTES));
        assert!(room.free().is_none(), "half of the largest is all that is left");
        assert!(room.freed().now_or_never().is_none());
        drop((first, third));
        assert!(room.freed().now_or_never().is_some());
        drop((room.free().expect("two thirds are free again"), second));
        assert_eq!(room.0.available_permits(), 3 * LARGEST as usize);
    }

    #[tokio::test]
    async fn small_jobs_take_no_room_and_one_beyond_every_bound_takes_what_there_is() {
        let room = Room::new(0);
        let mut free = room.free().expect("for one job there is always room");
        let small: Vec<_> = (0..10_000).map(|_| free.take(SMALL_BYTES)).collect();
        drop(free);
        let beyond = room.free().expect("they took none").take(10 * MAX_JOB_BYTES);
        assert!(room.free().is_none());
        drop((small, beyond));
        assert!(room.free().is_some());
    }
}
