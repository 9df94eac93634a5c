//! How the index follows the list.
//!
//! Only two things ever happen to a list of failed entries, whoever does them: entries come at its end, and entries are
//! taken out, after which those behind stand nearer to the front. So if the last known entry is where it was, nothing was
//! taken out before it. If it is not, a few single entries are read to find what was: what is left is in its old order.

use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::time::sleep;

use super::rows::Rows;
use crate::queue::{FailedEntry, QueueError, Store};

/// Bytes of entries that one step reads: Redis copies as many in a fraction of a millisecond.
const STEP_BYTES: usize = 256 * 1024;

/// Most entries of one step.
const STEP_ENTRIES: u64 = 256;

/// Between two steps.
const PAUSE: Duration = Duration::from_millis(3);

/// Most places where something was taken out that are searched for at one look. Beyond that, the entries before them are
/// read anew.
const MAX_GAPS: usize = 64;

/// Looks at the list and brings the rows up to date.
#[derive(Debug)]
pub(super) struct Follower {
    /// Entries for the next step, by the length of those of the last.
    step: u64,
}

impl Default for Follower {
    fn default() -> Self {
        Self { step: 16 }
    }
}

impl Follower {
    pub(super) async fn look(&mut self, store: &Store, rows: &RwLock<Rows>, end: Instant) -> Result<(), QueueError> {
        let known = {
            let rows = rows.read();
            rows.last_mark().map(|mark| (mark, rows.end() - 1))
        };
        let Some((mark, place)) = known else {
            let len = store.failed_len().await?;
            {
                let mut rows = rows.write();
                (rows.base, rows.len) = (len, len);
            }
            self.read_older(store, rows, end).await?;
            return self.looked(store, rows).await;
        };
        // One entry where nothing has changed.
        let found = store.failed(place, 1).await?;
        if found.first().map(FailedEntry::mark) != Some(mark) {
            self.realign(store, rows, end).await?;
        }
        self.read_newer(store, rows, end).await?;
        self.read_older(store, rows, end).await?;
        self.looked(store, rows).await
    }

    async fn looked(&self, store: &Store, rows: &RwLock<Rows>) -> Result<(), QueueError> {
        let len = store.failed_len().await?;
        let mut rows = rows.write();
        (rows.len, rows.looked) = (len, Some(Instant::now()));
        Ok(())
    }

    /// Reads what came after the last row.
    async fn read_newer(&mut self, store: &Store, rows: &RwLock<Rows>, end: Instant) -> Result<(), QueueError> {
        let len = store.failed_len().await?;
        loop {
            let from = rows.read().end();
            if from >= len || Instant::now() > end {
                return Ok(());
            }
            let entries = store.failed(from, self.step.min(len - from)).await?;
            if entries.is_empty() {
                return Ok(());
            }
            self.weigh(&entries);
            {
                let mut rows = rows.write();
                for entry in &entries {
                    rows.push_back(entry);
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Reads what is before the first row, the newest first.
    async fn read_older(&mut self, store: &Store, rows: &RwLock<Rows>, end: Instant) -> Result<(), QueueError> {
        loop {
            let (base, full) = {
                let rows = rows.read();
                (rows.base, rows.is_full())
            };
            if base == 0 || full || Instant::now() > end {
                return Ok(());
            }
            let entries = store.failed_before(base, self.step).await?;
            let reaches = entries.last().is_some_and(|last| last.place() + 1 == base);
            if !reaches {
                // The list ends before: somebody took entries out. The next look finds which.
                rows.write().base = entries.last().map_or(0, |last| last.place() + 1);
                return Ok(());
            }
            self.weigh(&entries);
            {
                let mut rows = rows.write();
                let has_room = entries.iter().rev().all(|entry| rows.push_front(entry));
                if !has_room {
                    return Ok(());
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Finds out what was taken out of the list, and takes the same out of the rows.
    async fn realign(&mut self, store: &Store, rows: &RwLock<Rows>, end: Instant) -> Result<(), QueueError> {
        let by_mark = rows.read().by_mark();
        let Some((mut last, mut place)) = self.find_known(store, &by_mark, rows, end).await? else {
            rows.write().clear();
            rows.write().base = store.failed_len().await?;
            return Ok(());
        };
        // Rows behind the last one that is still there are gone.
        {
            let mut rows = rows.write();
            let count = rows.count_of_rows();
            rows.drop_rows(last + 1, count);
        }
        for _ in 0..MAX_GAPS {
            let first = first_aligned(store, rows, last, place).await?;
            let first_place = place - (last - first) as u64;
            if first == 0 {
                rows.write().base = first_place;
                return Ok(());
            }
            let before = match first_place.checked_sub(1) {
                Some(before) => store.failed(before, 1).await?.first().map(FailedEntry::mark),
                None => None,
            };
            let found = before.and_then(|mark| by_mark.get(&mark).copied());
            let Some(found) = found.filter(|found| *found < first && rows.read().mark(*found) == before) else {
                break;
            };
            rows.write().drop_rows(found + 1, first);
            (last, place) = (found, first_place - 1);
        }
        // What is before is read anew.
        let first = first_aligned(store, rows, last, place).await?;
        let mut rows = rows.write();
        rows.drop_rows(0, first);
        rows.base = place - (last - first) as u64;
        Ok(())
    }

    /// The last row that is still in the list, and its place there.
    async fn find_known(
        &mut self,
        store: &Store,
        by_mark: &std::collections::HashMap<u64, usize>,
        rows: &RwLock<Rows>,
        end: Instant,
    ) -> Result<Option<(usize, u64)>, QueueError> {
        // Entries only move to the front: none that is known is behind the place where the last was.
        let mut before = rows.read().end();
        while before > 0 && Instant::now() < end {
            let entries = store.failed_before(before, self.step).await?;
            let Some(first) = entries.first() else {
                return Ok(None);
            };
            before = first.place();
            self.weigh(&entries);
            for entry in entries.iter().rev() {
                if let Some(row) = by_mark.get(&entry.mark()) {
                    return Ok(Some((*row, entry.place())));
                }
            }
            sleep(PAUSE).await;
        }
        Ok(None)
    }

    /// Sets the next step by the length of these entries.
    fn weigh(&mut self, entries: &[FailedEntry]) {
        let bytes: usize = entries.iter().map(FailedEntry::length).sum();
        let mean = (bytes / entries.len().max(1)).max(1);
        self.step = ((STEP_BYTES / mean) as u64).clamp(1, STEP_ENTRIES);
    }
}

/// The first of the rows up to `last` from which on all stand in the list as they do here, where `last` is at `place`.
async fn first_aligned(store: &Store, rows: &RwLock<Rows>, last: usize, place: u64) -> Result<usize, QueueError> {
    let (mut low, mut high) = (0, last);
    // Not aligned before `low`, aligned from `high` on.
    while low < high {
        let middle = low + (high - low) / 2;
        let aligned = match place.checked_sub((last - middle) as u64) {
            Some(place) => {
                let found = store.failed(place, 1).await?;
                let mark = found.first().map(FailedEntry::mark);
                mark.is_some() && mark == rows.read().mark(middle)
            }
            None => false,
        };
        if aligned {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(high)
}
