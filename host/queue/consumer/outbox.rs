//! Has what stands in outboxes written: what this host acknowledged, and what one that died left there.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;

use super::Consumer;
use super::outboxes::Look;
use crate::job::called_back;
use crate::outcome::{Commit, NewJob};
use crate::queue::batches::BatchState;
use crate::queue::error::QueueError;
use crate::queue::moves::{HandedOn, Once, Written};
use crate::queue::push::Push;
use crate::queue::queue_name::QueueName;
use crate::stop::Moment;
use crate::text;

/// How long after an entry was read it may be written. After that, another host may have written and dropped it, and the
/// bucket may have forgotten that.
const FRESH: Duration = Duration::from_mins(1);

/// How far a pass through one queue's outbox has come.
struct Pass<'a> {
    look: Look<'a>,
    /// Where the next page begins; none: all was read.
    cursor: Option<u64>,
    /// Entries that could not be written, now or lately.
    left: usize,
    /// Entries that did not fit into a page.
    unread: usize,
    /// Entries that were written.
    written: usize,
    /// The deliveries of this host whose entries are left or unread.
    own_left: BTreeSet<u64>,
    /// A page could not be read: what is left is not known.
    has_given_up: bool,
    /// How many entries failed in this pass, and why the first did.
    failed: Option<(usize, QueueError)>,
}

impl Consumer {
    /// What is known of a batch.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn batch(&self, id: &str) -> Result<Option<BatchState>, QueueError> {
        self.shared.backend().batch(id).await
    }

    /// Returns once something may stand in an outbox: at the start, after a commit, after a host was found dead, and a
    /// while after something had to be left there.
    pub async fn outbox_filled(&self) {
        self.shared.outboxes.due().await;
    }

    /// Whether so much of what this host acknowledged is still to be written that nothing more is taken from this queue.
    #[must_use]
    pub fn is_outbox_full(&self, queue: &QueueName) -> bool {
        self.shared.outboxes.is_full(queue)
    }

    /// Returns once that is over for a queue. Perhaps for one that was full long ago.
    pub async fn outbox_has_room(&self) {
        self.shared.outboxes.has_room().await;
    }

    /// Writes the entries in those outboxes of this host's queues in which there may be some, a page of each in turn.
    /// Returns whether there may be some still.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn empty_outboxes(&self) -> Result<bool, QueueError> {
        let outboxes = &self.shared.outboxes;
        let looks = self.queues().iter().filter_map(|queue| outboxes.look(queue));
        let mut passes: Vec<_> = looks.map(Pass::new).collect();
        while passes.iter().any(|pass| pass.cursor.is_some()) {
            for pass in passes.iter_mut().filter(|pass| pass.cursor.is_some()) {
                self.write_page(pass).await?;
            }
        }
        passes.into_iter().for_each(Pass::end);
        Ok(outboxes.may_hold_any())
    }

    async fn write_page(&self, pass: &mut Pass<'_>) -> Result<(), QueueError> {
        let (queue, read) = (pass.look.queue, Moment::now());
        let (backend, host) = (self.shared.backend(), Some(&*self.shared.host));
        let page = match backend.outbox(queue, host, pass.cursor.unwrap_or(0)).await {
            Ok(page) => page,
            Err(err) => return pass.give_up(err),
        };
        // This process may have been suspended since the page was read.
        let is_fresh = Moment::now().0.saturating_sub(read.0) <= FRESH;
        let mut new = Vec::new();
        for (name, entry) in page.entries {
            match entry {
                Some(entry) if is_fresh && !self.shared.outboxes.is_failing(queue, &name) => {
                    new.push((name, entry));
                    continue;
                }
                _ if self.shared.outboxes.is_failing(queue, &name) => pass.left += 1,
                _ => pass.unread += 1,
            }
            pass.own_left.extend(self.own_tag(&name));
        }
        let writing = new.into_iter().map(async |(name, entry)| {
            let commit = self.write(queue, &name, &entry).await;
            (name, commit)
        });
        let mut written = Vec::new();
        for (name, commit) in join_all(writing).await {
            match commit {
                Ok(Some(commit)) => written.push(Written { name, commit }),
                Ok(None) => pass.left += 1,
                Err(err) if err.is_outage() => return Err(err),
                Err(err) => {
                    self.shared.outboxes.has_failed(queue, &name);
                    pass.own_left.extend(self.own_tag(&name));
                    pass.fail(err);
                }
            }
        }
        match self.shared.backend().drop_from_outbox(queue, &written).await {
            Ok(()) => {
                let own = written.iter().filter_map(|written| self.own_tag(&written.name));
                self.shared.outboxes.emptied(queue, own);
                pass.go_on(page.next, written.len());
                Ok(())
            }
            Err(err) => pass.give_up(err),
        }
    }

    /// The tag of the delivery that an entry is of, if it was this host's.
    fn own_tag(&self, name: &[u8]) -> Option<u64> {
        let (of, tag) = str::from_utf8(name).ok()?.rsplit_once(':')?;
        let tag = tag.parse().ok()?;
        of.ends_with(&*self.shared.host).then_some(tag)
    }

    /// Writes one entry. Doing so twice is harmless: the store knows which entries were written. None: another host does.
    async fn write(&self, queue: &QueueName, name: &[u8], entry: &[u8]) -> Result<Option<Commit>, QueueError> {
        let Some(mut commit) = Commit::read(entry) else {
            let entry = &*text::name(&String::from_utf8_lossy(name)).into_owned();
            tracing::error!(%queue, entry, "dropping an entry of the outbox that Kiln did not write");
            return Ok(Some(Commit::default()));
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
        let mut text = Text {
            queue,
            name,
            len: entry.len(),
        };
        let is_ours =
            self.tell_batches(&mut text, &mut commit).await? && self.push_jobs(&mut text, &mut commit).await?;
        Ok(is_ours.then_some(commit))
    }

    /// Tells batches that a job of theirs has ended, and pushes what comes of that. Before its follow-ups are pushed, so that
    /// those of them which belong to a batch do before they run.
    async fn tell_batches(&self, text: &mut Text<'_>, commit: &mut Commit) -> Result<bool, QueueError> {
        for at in 0..commit.batches.len() {
            let marked = self.shared.backend().mark_batch(&commit.batches[at], text.name).await?;
            let mark = &mut commit.batches[at];
            let (id, callbacks) = (
                mark.id.clone(),
                [
                    (marked.then, mark.then.take()),
                    (marked.complete, mark.complete.take()),
                    (marked.late, mark.late.take()),
                ],
            );
            let due = callbacks
                .into_iter()
                .filter_map(|(is_due, callback)| callback.filter(|_| is_due));
            let due: Vec<_> = due.map(|callback| called_back(callback, &id, marked.sizes)).collect();
            for callback in due {
                if !self.hand_on(text, commit, vec![callback]).await? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Pushes the jobs of an entry, those for one place after those for another.
    async fn push_jobs(&self, text: &mut Text<'_>, commit: &mut Commit) -> Result<bool, QueueError> {
        while let Some(first) = commit.jobs.first() {
            let place = (first.queue.clone(), first.due_ms.is_some());
            let goes_there = |job: &mut NewJob| (&job.queue, job.due_ms.is_some()) == (&place.0, place.1);
            let jobs: Vec<_> = commit.jobs.extract_if(.., goes_there).collect();
            if !self.hand_on(text, commit, jobs).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Pushes jobs that all go to one place, and leaves what `commit` still holds in their entry. False: another host has changed
    /// the entry meanwhile.
    async fn hand_on(&self, text: &mut Text<'_>, commit: &Commit, jobs: Vec<NewJob>) -> Result<bool, QueueError> {
        let to = jobs.first().map_or("", |job| job.queue.as_str());
        let Ok(to) = QueueName::new(to) else {
            let (queue, jobs, to) = (text.queue, jobs.len(), &*text::name(to).into_owned());
            tracing::error!(%queue, jobs, to, "dropping jobs for a queue that there cannot be");
            return Ok(true);
        };
        let push = |NewJob { job, due_ms, .. }: NewJob| Push {
            queue: to.clone(),
            job: job.get().to_owned(),
            due_ms,
        };
        let jobs: Vec<_> = jobs.into_iter().map(push).collect();
        let rest = commit.to_text();
        let handed = HandedOn {
            entry: text.name,
            len: text.len,
            rest: &rest,
            jobs: &jobs,
        };
        text.len = rest.len();
        self.shared.backend().hand_on(text.queue, &handed).await
    }
}

/// An entry, and how long its text is now. Each step makes it shorter.
struct Text<'a> {
    queue: &'a QueueName,
    name: &'a [u8],
    len: usize,
}

impl<'a> Pass<'a> {
    fn new(look: Look<'a>) -> Self {
        Self {
            look,
            cursor: Some(0),
            left: 0,
            unread: 0,
            written: 0,
            own_left: BTreeSet::new(),
            has_given_up: false,
            failed: None,
        }
    }

    /// Goes on with the next page; after the last, with the first if there is room now for what did not fit.
    fn go_on(&mut self, next: u64, written: usize) {
        self.written += written;
        self.cursor = Some(next).filter(|next| *next != 0);
        if self.cursor.is_none() && self.unread > 0 && self.written > 0 {
            (self.cursor, self.left, self.unread, self.written) = (Some(0), 0, 0, 0);
            self.own_left.clear();
        }
    }

    fn fail(&mut self, err: QueueError) {
        self.left += 1;
        match &mut self.failed {
            Some((entries, _)) => *entries += 1,
            None => self.failed = Some((1, err)),
        }
    }

    /// Ends the pass early for an error that is not about one entry. Only an outage ends those of other queues, too.
    fn give_up(&mut self, err: QueueError) -> Result<(), QueueError> {
        if err.is_outage() {
            return Err(err);
        }
        self.cursor = None;
        self.has_given_up = true;
        self.fail(err);
        Ok(())
    }

    fn end(self) {
        if let Some((entries, err)) = &self.failed {
            let queue = self.look.queue;
            tracing::error!(%queue, entries, %err, "cannot write what acknowledged jobs asked for; trying again");
        }
        let own_left = Some(&self.own_left).filter(|_| !self.has_given_up);
        self.look.end(self.left + self.unread > 0, own_left);
    }
}
