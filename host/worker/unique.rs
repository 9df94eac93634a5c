//! Jobs that are unique by a key: whether one goes on, waits, or is one too many.

use super::after::After;
use super::history::keep;
use super::{ASKED_AGAIN, Worker};
use crate::events::Event;
use crate::job::{Job, Options, null};
use crate::outcome::{BatchMark, Commit, Failure, FailureKind, Settlement};
use crate::queue::{Comes, Contended, Contender, Delivery};
use crate::retry;
use crate::text;

/// What was decided about a job that is unique by a key, or about any other.
pub(super) enum Decided {
    /// It goes on.
    Goes(Box<Job>),
    /// It is settled so.
    Settled(Settlement),
    /// The store has moved it already.
    Moved,
}

impl Worker {
    /// Asks the store about a job that is unique by a key, unless it is its turn.
    pub(super) async fn contend(&self, mut job: Box<Job>, options: &Options, delivery: &mut Delivery) -> Decided {
        let is_decided = self.consumer.is_cancelled(delivery.queue(), &job.id) || options.plans().refused.is_some();
        if is_decided {
            return Decided::Goes(job);
        }
        let Some(entry) = self.gate.entry(&job, options, delivery) else {
            return Decided::Goes(job);
        };
        if let Some(time) = job.expires(options.expires, entry.expire)
            && time <= self.consumer.now()
        {
            // It must not take the place of one that is in time.
            return Decided::Settled(self.expired(*job, delivery, time));
        }
        let comes = match (job.is_revived(), job.is_admitted()) {
            (true, _) => Comes::Revived,
            (false, true) => Comes::Again,
            (false, false) => Comes::New,
        };
        let stamp = job.stamp().map_or_else(|| delivery.stamp(), str::to_owned);
        let (bytes, note) = (job.admitted(&stamp), self.note_of(&job, options, delivery));
        let contender = Contender {
            lane: &entry.lane,
            cap: &entry.cap,
            rule: entry.rule,
            comes,
            id: &job.id,
            stamp: &stamp,
            job: &bytes,
            note: &note,
        };
        match self.consumer.contend(delivery, &contender).await {
            Ok(Contended::Goes) => Decided::Goes(job),
            Ok(Contended::Gone | Contended::Waits(None)) => Decided::Moved,
            Ok(Contended::Waits(Some(before))) => {
                self.replaced(&job, &before, delivery).await;
                Decided::Moved
            }
            Ok(Contended::Duplicate(of)) => {
                self.note_done(&job, options, delivery);
                Decided::Settled(self.duplicate(&job, of.as_deref(), delivery))
            }
            Err(err) => {
                if comes == Comes::New {
                    job.asked(&stamp);
                }
                let why = Failure::new(
                    FailureKind::Internal,
                    format!("cannot ask for others of its key: {err}"),
                );
                Decided::Settled(retry::hold(*job, &why, ASKED_AGAIN, self.moment()))
            }
        }
    }

    /// What is written if another takes the place of this job while it waits: that its batches and whoever waits for it are
    /// told.
    fn note_of(&self, job: &Job, options: &Options, delivery: &Delivery) -> String {
        let batches = self.marks(job, options, delivery);
        let reply_to = options.reply.then(|| job.id.clone());
        if batches.is_empty() && reply_to.is_none() {
            return String::new();
        }
        let commit = Commit {
            batches,
            reply_to,
            dropped: Some(Box::new(superseded())),
            ..Commit::default()
        };
        commit.to_text()
    }

    /// Has the batches of a job that is one too many count it as done: nothing of it is left that could be mended.
    fn note_done(&self, job: &Job, options: &Options, delivery: &mut Delivery) {
        let batches = self.marks(job, options, delivery);
        if !batches.is_empty() {
            delivery.note(&Commit {
                batches,
                ..Commit::default()
            });
        }
    }

    fn marks(&self, job: &Job, options: &Options, delivery: &Delivery) -> Vec<BatchMark> {
        let after = After::of(options.plans(), job, delivery.queue().as_str());
        after.marks(false, &[], self.consumer.now())
    }

    /// Tells of a job in whose place another waits now.
    async fn replaced(&self, job: &Job, before: &str, delivery: &Delivery) {
        let queue = delivery.queue().as_str();
        let replaced = Job {
            id: before.to_owned(),
            ..Job::new(&job.name, queue, null())
        };
        self.tell_duplicate(&replaced, queue, Some(&job.id));
        if let Some(kept) = self
            .history
            .of_none(&replaced, delivery, &superseded(), self.consumer.now())
        {
            let (id, json) = kept.into_parts();
            self.consumer.note_end(delivery, &id, json).await;
        }
    }

    /// The fate of a job that is one too many.
    fn duplicate(&self, job: &Job, of: Option<&str>, delivery: &mut Delivery) -> Settlement {
        self.tell_duplicate(job, delivery.queue().as_str(), of);
        delivery.starts(job);
        let of = of.map(|of| format!(": {}", text::name(of))).unwrap_or_default();
        let why = Failure::new(
            FailureKind::Duplicate,
            format!("another job of its key runs in its place{of}"),
        );
        let kept = self.history.of_none(job, delivery, &why, self.consumer.now());
        let settlement = Settlement::Drop { why: Box::new(why) };
        keep(delivery, kept, &settlement);
        settlement
    }

    fn tell_duplicate(&self, job: &Job, queue: &str, of: Option<&str>) {
        self.events.tell(Event::NotRun {
            queue,
            job,
            why: FailureKind::Duplicate,
            duplicate_of: of,
        });
    }
}

/// Why a job never runs in whose place a newer one waits.
fn superseded() -> Failure {
    Failure::new(FailureKind::Duplicate, "a newer job of its key came before it ran")
}
