//! Has what stands in outboxes written: what this host acknowledged, and what one that died left there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures::future::{join_all, try_join_all};

use super::Consumer;
use super::outboxes::Look;
use crate::job::called_back;
use crate::outcome::{Commit, NewJob};
use crate::queue::backend::Answer;
use crate::queue::batches::{BatchState, Mark, Marked};
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
        let written = self.write(pass, new).await?;
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

    /// Writes entries, and returns those that are done. Doing so twice is harmless: the store knows which entries were written.
    async fn write(&self, pass: &mut Pass<'_>, new: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Vec<Written>, QueueError> {
        let queue = pass.look.queue;
        let entries = new.into_iter().map(|(name, text)| Entry::read(queue, name, &text));
        let mut entries: Vec<_> = entries.collect();
        self.write_state(queue, &mut entries).await?;
        // Before their follow-ups are pushed, so that those of them which belong to a batch do before they run.
        self.tell_batches(&mut entries).await?;
        self.push_jobs(queue, &mut entries).await?;
        let mut written = Vec::new();
        for Entry { name, commit, fate, .. } in entries {
            match fate {
                Ok(true) => written.push(Written { name, commit }),
                Ok(false) => pass.left += 1,
                Err(err) => {
                    self.shared.outboxes.has_failed(queue, &name);
                    pass.own_left.extend(self.own_tag(&name));
                    pass.fail(err);
                }
            }
        }
        Ok(written)
    }

    /// Makes the writes of entries into buckets.
    async fn write_state(&self, queue: &QueueName, entries: &mut [Entry]) -> Result<(), QueueError> {
        let writing = entries.iter().map(async |entry| {
            for write in &entry.commit.writes {
                let once = Once {
                    queue,
                    entry: &entry.name,
                };
                let backend = self.shared.backend();
                let written = backend.state_write(&write.bucket, write.quota, &write.changes, Some(once));
                if let Err(why) = written.await? {
                    let bucket = &*text::name(write.bucket.as_str());
                    tracing::warn!(%queue, bucket, %why, "a completed job wrote what cannot be kept");
                }
            }
            Ok(true)
        });
        let fates = join_all(writing).await;
        for (entry, fate) in entries.iter_mut().zip(fates) {
            entry.fate = unless_outage(fate)?;
        }
        Ok(())
    }

    /// Tells batches that jobs of theirs have ended, and notes what entries are to push for that: in one message for each batch.
    async fn tell_batches(&self, entries: &mut [Entry]) -> Result<(), QueueError> {
        let mut batches = BTreeMap::<_, Vec<_>>::new();
        for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.goes_on()) {
            let name = &*entry.name;
            for (of_entry, mark) in entry.commit.batches.iter().enumerate() {
                let marks = batches.entry(&*mark.id).or_default();
                marks.push(((at, of_entry), Mark { mark, entry: name }));
            }
        }
        let telling = batches.into_iter().map(async |(batch, marks)| {
            let (places, marks): (Vec<_>, Vec<_>) = marks.into_iter().unzip();
            let marked = together(&marks, |marks| self.shared.backend().mark_batch(batch, marks)).await?;
            Ok::<_, QueueError>(places.into_iter().zip(marked).collect::<Vec<_>>())
        });
        let mut marked: Vec<_> = try_join_all(telling).await?.into_iter().flatten().collect();
        // Of each entry in its own order.
        marked.sort_by_key(|(place, _)| *place);
        for ((at, of_entry), marked) in marked {
            match marked {
                Ok(marked) => entries[at].is_told(of_entry, marked),
                Err(err) => entries[at].fate = Err(err),
            }
        }
        Ok(())
    }

    /// Pushes what entries have to push, of each what goes to one place after what goes to another: in one message for all.
    async fn push_jobs(&self, queue: &QueueName, entries: &mut [Entry]) -> Result<(), QueueError> {
        loop {
            let next = entries.iter_mut().enumerate().filter(|(_, entry)| entry.goes_on());
            let steps: Vec<_> = next
                .filter_map(|(at, entry)| Some((at, entry.next_step(queue)?)))
                .collect();
            if steps.is_empty() {
                return Ok(());
            }
            let handed = steps.iter().map(|(at, step)| HandedOn {
                entry: &entries[*at].name,
                len: step.len,
                rest: &step.rest,
                jobs: &step.jobs,
            });
            let handed: Vec<_> = handed.collect();
            let fates = together(&handed, |handed| self.shared.backend().hand_on(queue, handed)).await?;
            for ((at, _), fate) in steps.iter().zip(fates) {
                entries[*at].fate = fate;
            }
        }
    }
}

/// Sends some things in one message, and returns what the store answers to each. If it does not take them together, sends each alone:
/// so that one which it refuses holds up no other.
///
/// # Errors
/// When the store cannot be used.
async fn together<'a, T, A>(
    all: &'a [T],
    send: impl Fn(&'a [T]) -> Answer<'a, Vec<A>>,
) -> Result<Vec<Result<A, QueueError>>, QueueError> {
    match unless_outage(send(all).await)? {
        Ok(answers) => Ok(answers.into_iter().map(Ok).collect()),
        Err(err) if all.len() == 1 => Ok(vec![Err(err)]),
        Err(_) => {
            let mut each = Vec::new();
            for one in all.chunks(1) {
                match unless_outage(send(one).await)? {
                    Ok(answers) => each.extend(answers.into_iter().map(Ok)),
                    Err(err) => each.push(Err(err)),
                }
            }
            Ok(each)
        }
    }
}

/// Takes out the error of a store that cannot be used.
fn unless_outage<T>(answer: Result<T, QueueError>) -> Result<Result<T, QueueError>, QueueError> {
    match answer {
        Err(err) if err.is_outage() => Err(err),
        answer => Ok(answer),
    }
}

/// An entry that is being written.
struct Entry {
    name: Vec<u8>,
    /// How long its text is now. Each step makes it shorter.
    len: usize,
    /// What of it is not written yet.
    commit: Commit,
    /// What its batches have it push, each by itself.
    callbacks: VecDeque<NewJob>,
    /// Whether it is this host that writes it, as far as it has come.
    fate: Result<bool, QueueError>,
}

/// Jobs of an entry that go to one place.
struct PushStep {
    jobs: Vec<Push>,
    len: usize,
    rest: String,
}

impl Entry {
    fn read(queue: &QueueName, name: Vec<u8>, text: &[u8]) -> Self {
        let commit = Commit::read(text).unwrap_or_else(|| {
            let entry = &*text::name(&String::from_utf8_lossy(&name)).into_owned();
            tracing::error!(%queue, entry, "dropping an entry of the outbox that Kiln did not write");
            Commit::default()
        });
        Self {
            name,
            len: text.len(),
            commit,
            callbacks: VecDeque::new(),
            fate: Ok(true),
        }
    }

    fn goes_on(&self) -> bool {
        matches!(self.fate, Ok(true))
    }

    /// Takes the callbacks out that a batch has, and keeps those that are due.
    fn is_told(&mut self, of_entry: usize, marked: Marked) {
        let mark = &mut self.commit.batches[of_entry];
        let callbacks = [
            (marked.then, mark.then.take()),
            (marked.complete, mark.complete.take()),
            (marked.late, mark.late.take()),
        ];
        let due = callbacks
            .into_iter()
            .filter_map(|(is_due, callback)| callback.filter(|_| is_due));
        let id = &mark.id;
        self.callbacks
            .extend(due.map(|callback| called_back(callback, id, marked.sizes)));
    }

    /// What it pushes next; none: nothing more.
    fn next_step(&mut self, queue: &QueueName) -> Option<PushStep> {
        loop {
            let jobs: Vec<_> = if let Some(callback) = self.callbacks.pop_front() {
                vec![callback]
            } else {
                let first = self.commit.jobs.first()?;
                let place = (first.queue.clone(), first.due_ms.is_some());
                let goes_there = |job: &mut NewJob| (&job.queue, job.due_ms.is_some()) == (&place.0, place.1);
                self.commit.jobs.extract_if(.., goes_there).collect()
            };
            let to = jobs.first().map_or("", |job| job.queue.as_str());
            let Ok(to) = QueueName::new(to) else {
                let (jobs, to) = (jobs.len(), &*text::name(to).into_owned());
                tracing::error!(%queue, jobs, to, "dropping jobs for a queue that there cannot be");
                continue;
            };
            let push = |NewJob { job, due_ms, .. }: NewJob| Push {
                queue: to.clone(),
                job: job.get().to_owned(),
                due_ms,
            };
            let (jobs, rest) = (jobs.into_iter().map(push).collect(), self.commit.to_text());
            let len = std::mem::replace(&mut self.len, rest.len());
            return Some(PushStep { jobs, len, rest });
        }
    }
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
