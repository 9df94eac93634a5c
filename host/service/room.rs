//! How many bytes of jobs this host may have in hand.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::job::MAX_JOB_BYTES;

/// Jobs up to this length are not counted: `concurrency` bounds them well enough, and most jobs are no longer.
const SMALL_BYTES: usize = 64 * 1024;

/// Room is counted in these.
const UNIT_BYTES: usize = 1024;

/// Room for the largest job that can be decoded, in units. One that is larger is only looked at to be refused.
#[expect(clippy::cast_possible_truncation, reason = "it is 32,768")]
const LARGEST: u32 = (MAX_JOB_BYTES / UNIT_BYTES) as u32;

/// The room for jobs that a host has in hand.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// Room of which some is free: enough for what one fetch brings, since of several jobs together no fetch brings more than
/// a quarter of the largest.
#[derive(Debug)]
pub(super) struct Free<'r> {
    room: &'r Room,
    units: OwnedSemaphorePermit,
}

/// What a job in hand takes of it, as long as this lives.
#[derive(Debug)]
pub(super) struct Taken {
    _units: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Room for so many bytes, but for no less than one job.
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT_BYTES;
        Self(Arc::new(Semaphore::new(
            units.clamp(LARGEST as usize, Semaphore::MAX_PERMITS),
        )))
    }

    /// Waits until whatever one fetch brings fits.
    pub(super) async fn free(&self) -> Free<'_> {
        let units = Arc::clone(&self.0).acquire_many_owned(LARGEST).await;
        let units = units.unwrap_or_else(|_| unreachable!("nobody closes the semaphore"));
        Free { room: self, units }
    }
}

impl Free<'_> {
    /// Whether another fetch fits as well.
    pub(super) fn fits_another(&mut self) -> bool {
        let missing = LARGEST.saturating_sub(self.units());
        let more = Arc::clone(&self.room.0).try_acquire_many_owned(missing);
        more.map(|more| self.units.merge(more)).is_ok()
    }

    /// Takes what a job of that length needs.
    pub(super) fn take(&mut self, bytes: usize) -> Taken {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).min(self.units());
        let units = (bytes > SMALL_BYTES).then(|| self.units.split(units as usize));
        Taken {
            _units: units.flatten(),
        }
    }

    fn units(&self) -> u32 {
        u32::try_from(self.units.num_permits()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn large_jobs_are_fetched_only_while_the_largest_one_fits() {
        let room = Room::new(3 * MAX_JOB_BYTES as u64);
        let mut free = room.free().await;
        let first = free.take(MAX_JOB_BYTES);
        assert!(free.fits_another(), "two thirds are left");
        let second = free.take(MAX_JOB_BYTES / 2);
        assert!(
            free.fits_another(),
            "half of the largest is left of these, and a third beside them"
        );
        let third = free.take(MAX_JOB_BYTES);
        assert!(!free.fits_another(), "half of the largest is all that is left");
        drop(free);
        assert!(room.free().now_or_never().is_none());
        drop((first, third));
        let free = room.free().now_or_never().expect("two thirds are free again");
        drop((free, second));
        assert_eq!(room.0.available_permits(), 3 * LARGEST as usize);
    }

    #[tokio::test]
    async fn small_jobs_take_no_room_and_one_beyond_every_bound_takes_what_there_is() {
        let room = Room::new(0);
        let mut free = room.free().await;
        let small: Vec<_> = (0..10_000).map(|_| free.take(SMALL_BYTES)).collect();
        assert!(free.fits_another());
        let beyond = free.take(10 * MAX_JOB_BYTES);
        assert!(!free.fits_another());
        drop((small, beyond, free));
        assert!(room.free().now_or_never().is_some());
    }
}
