//! The failed list in Redis: what operators read of it, and the moves out of it.
//!
//! Taking an entry out of a list takes Redis the longer, the farther it is from both ends. So while many are taken out
//! of a long list, the list is in two parts, with the older entries in a key of their own. The border between the parts
//! is moved along to the entries being taken. Everything that reads the list reads both parts. Others may move the
//! border at any time, which costs time but loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ::redis::cmd;
use tokio::time::sleep;
use uuid::Uuid;

use super::RedisStore;
use super::scripts::{FAILED_LEN, FAILED_PAGE, MOVE_BORDER, PURGE, RETAIN, TAKE_FAILED};
use crate::queue::error::QueueError;
use crate::queue::limits::{MAX_BATCH_BYTES, MAX_ENTRY_BYTES};
use crate::queue::moves::{Arrived, Pick, Reach};

/// Farthest from an end of the list that an entry is taken out where it lies: Redis then compares as many entries with
/// a mark, in a few milliseconds.
const NEAR: u64 = 10_000;

/// Greatest sum of these distances in one call: Redis walks that far in about a millisecond.
const NEAR_TOGETHER: u64 = 250_000;

/// Entries that the border passes in one script, which takes about a millisecond.
const BORDER_STEP: u64 = 500;

/// How long to go on trying while others move the border away.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits before the border is moved again after others have moved it. Each wait is random, up to a bound that doubles.
const WAIT_MIN: Duration = Duration::from_millis(20);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Where the border is.
#[derive(Debug, Clone, Copy)]
struct Border {
    /// Entries of both parts.
    len: u64,
    /// Entries of the older part.
    at: u64,
}

impl RedisStore {
    pub(super) async fn failed_len(&self) -> Result<u64, QueueError> {
        Ok(self.border().await?.len)
    }

    pub(super) async fn failed_dropped(&self) -> Result<u64, QueueError> {
        let dropped: Option<u64> = self.run(cmd("GET").arg(self.keys.dropped())).await?;
        Ok(dropped.unwrap_or(0))
    }

    pub(super) async fn failed(&self, reach: Reach, count: u64) -> Result<(u64, Vec<Arrived>), QueueError> {
        let mut call = FAILED_PAGE.keys(&self.failed_keys());
        match reach {
            Reach::From(place) => call.arg("from").arg(place),
            Reach::Before(place) => call.arg("before").arg(place),
        };
        call.arg(count).arg(MAX_BATCH_BYTES).arg(MAX_ENTRY_BYTES);
        self.pool.call(&call).await
    }

    pub(super) async fn purge_failed(&self, count: u64) -> Result<u64, QueueError> {
        self.pool.call(PURGE.keys(&self.failed_keys()).arg(count)).await
    }

    pub(super) async fn retain_failed(&self, count: u64, last: &Arrived) -> Result<u64, QueueError> {
        let [failed, older] = self.failed_keys();
        let mut call = RETAIN.keys(&[failed, older, self.keys.dropped()]);
        self.pool.call(call.arg(count).arg(&last.bytes).arg(last.len)).await
    }

    /// Takes entries out of the failed list, and returns for each whether it was still there.
    pub(super) async fn take_failed(&self, picks: &[Pick]) -> Result<Vec<bool>, QueueError> {
        let all: Vec<_> = picks.iter().collect();
        if !self.split || picks.iter().all(|pick| pick.job.is_none()) {
            return self.take("take", &all).await;
        }
        let there = self.take("look", &all).await?;
        let (mut jobs, mut found) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
        for pick in all
            .into_iter()
            .zip(&there)
            .filter_map(|(pick, there)| there.then_some(pick))
        {
            found.push(pick);
            if let Some((queue, job)) = &pick.job {
                jobs.entry(queue).or_default().push(job);
            }
        }
        for (queue, jobs) in jobs {
            self.run::<()>(cmd("RPUSH").arg(self.keys.ready(queue.as_str())).arg(jobs))
                .await?;
        }
        if !found.is_empty() {
            self.take("take", &found).await?;
        }
        Ok(there)
    }

    /// Makes one list of the two parts again, in steps. Stops if somebody else works on the list: they will do it.
    pub(super) async fn join_failed(&self) -> Result<(), QueueError> {
        let mut border = self.border().await?;
        let to = if border.at > border.len / 2 { u64::MAX } else { 0 };
        while border.at > 0 {
            let (now, moved) = self.step(border.at, to).await?;
            if !moved {
                break;
            }
            border = now;
        }
        Ok(())
    }

    async fn take(&self, how: &str, picks: &[&Pick]) -> Result<Vec<bool>, QueueError> {
        let (end, mut wait) = (Instant::now() + PATIENCE, WAIT_MIN);
        loop {
            if let Some(there) = self.try_to_take(how, picks).await? {
                return Ok(there);
            }
            if Instant::now() > end {
                return Err(QueueError::Busy);
            }
            // Somebody else moves the border. The longer wait lets the other finish.
            sleep(wait.mul_f64(fastrand::f64())).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Takes entries out where they lie, if they are near an end of the list. Else moves the border to them first, so
    /// that they are at the end of a part. None: somebody else moved the border meanwhile.
    async fn try_to_take(&self, how: &str, picks: &[&Pick]) -> Result<Option<Vec<bool>>, QueueError> {
        let Some(last) = picks.iter().map(|pick| pick.place).max() else {
            return Ok(Some(Vec::new()));
        };
        let mut border = self.border().await?;
        if border.at > 0 || !border.is_near(picks) {
            let to = border.len.min(last + 1);
            while border.at != to {
                let (now, moved) = self.step(border.at, to).await?;
                if !moved {
                    return Ok(None);
                }
                border = now;
            }
        }
        let queues = self.queues_of(picks);
        let ready = queues.iter().map(|queue| self.keys.ready(queue));
        let keys: Vec<_> = self.failed_keys().into_iter().chain(ready).collect();
        let mut call = TAKE_FAILED.keys(&keys);
        call.arg(how).arg(border.at).arg(Uuid::new_v4().to_string());
        for Pick { place, entry, job } in picks {
            call.arg(place).arg(entry.len).arg(&entry.bytes);
            match job.as_ref().filter(|_| !self.split) {
                Some((queue, job)) => call
                    .arg(1 + queues.iter().take_while(|other| **other != queue.as_str()).count())
                    .arg(job),
                None => call.arg(0).arg(""),
            };
        }
        self.pool.call(&call).await
    }

    async fn border(&self) -> Result<Border, QueueError> {
        let (len, at) = self.pool.call(&FAILED_LEN.keys(&self.failed_keys())).await?;
        Ok(Border { len, at })
    }

    /// Moves the border one step from `from` towards `to`, and returns where it is now. False: it was not at `from`,
    /// and has not moved.
    async fn step(&self, from: u64, to: u64) -> Result<(Border, bool), QueueError> {
        let mut call = MOVE_BORDER.keys(&self.failed_keys());
        call.arg(from).arg(to).arg(BORDER_STEP).arg(MAX_BATCH_BYTES);
        let (len, at, moved) = self.pool.call(&call).await?;
        Ok((Border { len, at }, moved))
    }

    fn failed_keys(&self) -> [String; 2] {
        [self.keys.failed(), self.keys.older_failed()]
    }

    /// The queues that jobs go to in the same script; none where slots differ.
    fn queues_of<'p>(&self, picks: &[&'p Pick]) -> BTreeSet<&'p str> {
        let queues = picks.iter().filter_map(|pick| Some(pick.job.as_ref()?.0.as_str()));
        queues.filter(|_| !self.split).collect()
    }
}

impl Border {
    /// Whether the entries are so few, and so near an end of the list, that they can be taken out where they lie.
    fn is_near(self, picks: &[&Pick]) -> bool {
        let from_an_end = |pick: &&Pick| pick.place.min(self.len.saturating_sub(pick.place));
        let farthest = picks.iter().map(from_an_end).max().unwrap_or(0);
        farthest <= NEAR && farthest.saturating_mul(picks.len() as u64) <= NEAR_TOGETHER
    }
}
