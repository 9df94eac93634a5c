//! Has what stands in outboxes written: what this host acknowledged, and what one that died left there.

use std::time::Duration;

use futures::future::join_all;

use super::Consumer;
use super::outboxes::AGAIN;
use crate::outcome::Commit;
use crate::queue::error::QueueError;
use crate::queue::moves::{Once, Written};
use crate::queue::queue_name::QueueName;
use crate::stop::Moment;
use crate::text;

/// How long after an entry was read it may be written. After that, another host may have written and dropped it, and the
/// bucket may have forgotten that.
const FRESH: Duration = Duration::from_mins(1);

/// How far a pass through one queue's outbox has come.
struct Pass<'a> {
    queue: &'a QueueName,
    /// Where the next page begins; none: all was read.
    cursor: Option<u64>,
    /// Entries that were left there.
    left: usize,
    /// How many of them failed in this pass, and why the first did.
    failed: Option<(usize, QueueError)>,
}

impl Consumer {
    /// Returns once something may stand in an outbox: at the start, after a commit, after a host was found dead. With `left`,
    /// which means that something was left there, it returns after a while in any case.
    pub async fn outbox_filled(&self, left: bool) {
        let filled = self.shared.outboxes.filled.notified();
        if left {
            // A time-out is no fault: the caller looks again.
            let _ = tokio::time::timeout(AGAIN, filled).await;
        } else {
            filled.await;
        }
    }

    /// Writes the entries in the outboxes of this host's queues, a page of each in turn, and returns whether any had to be
    /// left.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn empty_outboxes(&self) -> Result<bool, QueueError> {
        let pass = |queue| Pass {
            queue,
            cursor: Some(0),
            left: 0,
            failed: None,
        };
        let mut passes: Vec<_> = self.queues().iter().map(pass).collect();
        while passes.iter().any(|pass| pass.cursor.is_some()) {
            for pass in passes.iter_mut().filter(|pass| pass.cursor.is_some()) {
                self.write_page(pass).await?;
            }
        }
        for pass in &passes {
            if let Some((entries, err)) = &pass.failed {
                let queue = pass.queue;
                tracing::error!(%queue, entries, %err, "cannot write what acknowledged jobs asked for; trying again");
            }
        }
        Ok(passes.iter().any(|pass| pass.left > 0))
    }

    async fn write_page(&self, pass: &mut Pass<'_>) -> Result<(), QueueError> {
        let (queue, read) = (pass.queue, Moment::now());
        let page = match self.shared.backend().outbox(queue, pass.cursor.unwrap_or(0)).await {
            Ok(page) => page,
            Err(err) => return pass.end(err),
        };
        pass.cursor = Some(page.next).filter(|next| *next != 0);
        let (known, mut new): (Vec<_>, Vec<_>) = page
            .entries
            .into_iter()
            .partition(|(name, _)| self.shared.outboxes.is_failing(queue, name));
        pass.left += known.len();
        // This process may have been suspended since the page was read.
        if Moment::now().0.saturating_sub(read.0) > FRESH {
            pass.left += new.len();
            new.clear();
        }
        let writing = new.into_iter().map(async |(name, entry)| {
            let commit = self.write(queue, &name, &entry).await;
            (name, commit)
        });
        let mut written = Vec::new();
        for (name, commit) in join_all(writing).await {
            match commit {
                Ok(commit) => written.push(Written { name, commit }),
                Err(err) if err.is_outage() => return Err(err),
                Err(err) => {
                    self.shared.outboxes.has_failed(queue, &name);
                    pass.fail(err);
                }
            }
        }
        match self.shared.backend().drop_from_outbox(queue, &written).await {
            Ok(()) => Ok(()),
            Err(err) => pass.end(err),
        }
    }

    /// Writes one entry. Doing so twice is harmless: the store knows which entries were written.
    async fn write(&self, queue: &QueueName, name: &[u8], entry: &[u8]) -> Result<Commit, QueueError> {
        let Some(commit) = Commit::read(entry) else {
            let entry = &*text::name(&String::from_utf8_lossy(name)).into_owned();
            tracing::error!(%queue, entry, "dropping an entry of the outbox that Kiln did not write");
            return Ok(Commit::default());
        };
        for write in &commit.writes {
            let once = Once { queue, entry: name };
            let backend = self.shared.backend();
            let written = backend.state_write(&write.bucket, write.quota, &write.changes, Some(once));
            if let Err(why) = written.await? {
                let bucket = &*text::name(write.bucket.as_str());
                tracing::warn!(%queue, bucket, %why, "a completed job wrote what cannot be kept");
            }
        }
        Ok(commit)
    }
}

impl Pass<'_> {
    fn fail(&mut self, err: QueueError) {
        self.left += 1;
        match &mut self.failed {
            Some((entries, _)) => *entries += 1,
            None => self.failed = Some((1, err)),
        }
    }

    /// Ends the pass for an error that is not about one entry. Only an outage ends those of other queues, too.
    fn end(&mut self, err: QueueError) -> Result<(), QueueError> {
        if err.is_outage() {
            return Err(err);
        }
        self.cursor = None;
        self.fail(err);
        Ok(())
    }
}
