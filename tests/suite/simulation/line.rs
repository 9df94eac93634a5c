//! A store at the end of a bad line, and what it saw.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kiln::config::Cap;
use kiln::job::Reply;
use kiln::outcome::{Lane, Settlement};
use kiln::queue::backend::{
    Admitted, Answer, Arrived, Backend, Claim, Dead, Ended, HandedOn, JobsPage, LanesPage, Offer, Once, OutboxPage,
    Part, Pick, Reach, Renewed, Served, Swept, Taken, Turn, Wish, Written,
};
use kiln::queue::{
    BatchState, Cancels, Contended, Contender, Counts, Fired, Firing, Found, Mark, Marked, Orders, Past, Pausable,
    Pause, Peeked, Place, ProgressReport, Push, QueueError, QueueName, Record, Reported, Search, Span, Sums, Sweep,
};
use kiln::state::{BucketId, Change, Changed, Entry, Quota, StateError};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::Mistake;

/// One in so many messages gets lost, and one in so many answers.
const LOST: u32 = 25;

/// One in so many takes a while to arrive, and one in so many answers does.
const SLOW: u32 = 4;

/// How long that may be.
const SLOW_MS: u64 = 40;

/// A host and one of its tags.
pub(super) type Held = (String, u64);

/// What happened, as the store has it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Which job is held under the tag of a host.
    holders: HashMap<Held, usize>,
    /// When what came under each tag was asked for.
    pub(super) asked: HashMap<Held, Instant>,
    /// When a host was found to have taken over what another held.
    pub(super) taken_over: HashMap<Held, Instant>,
    /// How often each job was acknowledged or failed.
    pub(super) ended: BTreeMap<usize, usize>,
}

/// One host's line to the store that all share.
pub(super) struct Line {
    pub(super) store: Arc<dyn Backend>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    /// Until then messages get lost and are late.
    pub(super) calm: Arc<AtomicBool>,
    pub(super) luck: Mutex<fastrand::Rng>,
    pub(super) mistake: Option<Mistake>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// The number in a job's id.
pub(super) fn number_in(job: &[u8]) -> usize {
    let job = kiln::job::Job::decode(job).expect("what was pushed");
    job.id.parse().expect("a number")
}

impl Line {
    /// Has the store do something, unless that gets lost, and brings its answer, unless that does.
    async fn carry<T>(&self, call: impl Future<Output = Result<T, QueueError>>) -> Result<T, QueueError> {
        if self.calm.load(Ordering::Relaxed) {
            return call.await;
        }
        self.way().await?;
        let answer = call.await?;
        self.way().await?;
        Ok(answer)
    }

    /// One way along the line.
    async fn way(&self) -> Result<(), QueueError> {
        let (slow_ms, lost) = {
            let mut luck = self.luck.lock();
            let slow = luck.u32(..SLOW) == 0;
            (if slow { luck.u64(..SLOW_MS) } else { 0 }, luck.u32(..LOST) == 0)
        };
        sleep(Duration::from_millis(slow_ms)).await;
        let patience = Duration::from_millis(slow_ms);
        if lost {
            Err(QueueError::Slow { patience })
        } else {
            Ok(())
        }
    }

    /// If that is its mistake: has the store forget, now and then, what it has just moved.
    async fn lose(&self, claim: &Claim<'_>, tags: std::ops::Range<u64>) -> Result<(), QueueError> {
        if self.mistake == Some(Mistake::LosesWhatIsOnItsWay) && self.luck.lock().u32(..LOST) == 0 {
            for tag in tags {
                let (settlement, mut written) = (Settlement::Ack { result: None }, false);
                let offer = Offer {
                    tag,
                    settlement: &settlement,
                    ends: None,
                    note: None,
                    lane: None,
                    shuts: None,
                    of_key: None,
                    sure: true,
                    written: &mut written,
                };
                self.store.settle(claim, &mut [offer]).await?;
            }
        }
        Ok(())
    }

    /// Takes note of what came under which tags.
    fn took<'j>(&self, claim: &Claim<'_>, asked: Instant, tag: u64, jobs: impl IntoIterator<Item = &'j Arrived>) {
        let mut ledger = self.ledger.lock();
        for (tag, job) in (tag..).zip(jobs) {
            let held = (claim.host.to_owned(), tag);
            ledger.asked.entry(held.clone()).or_insert(asked);
            ledger.holders.insert(held, number_in(&job.bytes));
        }
    }

    /// Takes note of which of a dead host's have become another's.
    fn took_over(&self, dead: &str, jobs: &[Arrived]) {
        let mut ledger = self.ledger.lock();
        let jobs: BTreeSet<_> = jobs.iter().map(|job| number_in(&job.bytes)).collect();
        let held = ledger
            .holders
            .iter()
            .filter(|((host, _), job)| host == dead && jobs.contains(job));
        let held: Vec<_> = held.map(|(held, _)| held.clone()).collect();
        for held in held {
            ledger.taken_over.entry(held).or_insert_with(Instant::now);
        }
    }

    async fn settle_noted(&self, claim: &Claim<'_>, batch: &mut [Offer<'_>]) -> Result<Vec<u64>, QueueError> {
        let refused = self.store.settle(claim, batch).await?;
        let mut ledger = self.ledger.lock();
        let ends = |offer: &&mut Offer<'_>| {
            let terminal = matches!(
                offer.settlement,
                Settlement::Ack { .. } | Settlement::Commit(_) | Settlement::Fail { .. } | Settlement::Drop { .. }
            );
            terminal && !refused.contains(&offer.tag)
        };
        for offer in batch.iter_mut().filter(ends) {
            // Of a fetch that this line's host did not live to see the end of, nobody knows what it brought.
            let job = ledger.holders.get(&(claim.host.to_owned(), offer.tag)).copied();
            *ledger.ended.entry(job.expect("settled by who took it")).or_default() += 1;
        }
        Ok(refused)
    }
}

/// Moves that are carried as they are.
macro_rules! carried {
    ($($move:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(#[allow(clippy::elidable_lifetime_names, reason = "most of the types name it")]
        fn $move<'a>(&'a self, $($arg: $type),*) -> Answer<'a, $answer> {
            Box::pin(self.carry(self.store.$move($($arg),*)))
        })*
    };
}

impl Backend for Line {
    fn fetch<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, wish: Wish<'a>) -> Answer<'a, Option<Taken>> {
        Box::pin(self.carry(async move {
            let asked = Instant::now();
            let taken = self.store.fetch(claim, tag, wish).await?;
            self.took(claim, asked, tag, taken.as_ref().map_or(&[][..], |taken| &taken.jobs));
            let jobs = taken.as_ref().map_or(0, |taken| taken.jobs.len() as u64);
            self.lose(claim, tag..tag + jobs).await?;
            Ok(taken)
        }))
    }

    fn serve<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, turn: Turn<'a>) -> Answer<'a, Option<Served>> {
        Box::pin(self.carry(async move {
            let asked = Instant::now();
            let served = self.store.serve(claim, tag, turn).await?;
            let jobs = served.as_ref().map_or(&[][..], |served| &served.jobs);
            let jobs: Vec<_> = jobs.iter().map(|(job, _)| job).collect();
            let count = jobs.len() as u64;
            self.took(claim, asked, tag, jobs);
            self.lose(claim, tag..tag + count).await?;
            Ok(served)
        }))
    }

    fn adopt<'a>(
        &'a self,
        claim: &'a Claim<'a>,
        dead: &'a str,
        tag: u64,
        count: usize,
        patience: Duration,
    ) -> Answer<'a, Option<Taken>> {
        Box::pin(self.carry(async move {
            let taken = self.store.adopt(claim, dead, tag, count, patience).await?;
            let jobs = taken.as_ref().map_or(&[][..], |taken| &taken.jobs);
            self.took_over(dead, jobs);
            self.took(claim, Instant::now(), tag, jobs);
            Ok(taken)
        }))
    }

    fn settle<'a, 'b: 'a>(&'a self, claim: &'a Claim<'a>, batch: &'a mut [Offer<'b>]) -> Answer<'a, Vec<u64>> {
        Box::pin(self.carry(self.settle_noted(claim, batch)))
    }

    carried! {
        push(jobs: &'a [Push]) -> ();
        promote(queue: &'a QueueName) -> usize;
        add_up(at: Timestamp, sums: &'a Sums) -> ();
        sums(span: Span, first: i64, count: usize) -> Vec<Sums>;
        wait_sums(span: Span, first: i64, count: usize) -> Vec<Sums>;
        fire(queue: &'a QueueName, firings: &'a [Firing]) -> (Timestamp, Vec<Fired>);
        last_fired(queue: &'a QueueName, schedules: &'a [String]) -> Vec<Option<Timestamp>>;
        wait_ready(queues: &'a [QueueName]) -> ();
        wait_due(queues: &'a [QueueName]) -> Vec<QueueName>;
        wait_lanes(queues: &'a [QueueName], known: &'a [BTreeSet<Lane>]) -> Vec<BTreeSet<Lane>>;
        wait_orders(queues: &'a [QueueName], known: Option<&'a Orders>) -> Orders;
        prepare(queue: &'a QueueName) -> ();
        pause(what: &'a Pausable, pause: Option<&'a Pause>) -> Option<Pause>;
        paused_jobs() -> BTreeMap<String, Pause>;
        cancel(queue: &'a QueueName, ids: &'a [String], lasts: Duration) -> Vec<bool>;
        uncancel(queue: &'a QueueName, ids: &'a [String]) -> Vec<bool>;
        cancelled(queue: &'a QueueName, since: u64) -> Cancels;
        jobs(queue: &'a QueueName, part: &'a Part, from: Option<&'a str>) -> JobsPage;
        admit(claim: &'a Claim<'a>, group: &'a Lane, caps: &'a [Cap], ready: &'a [(u64, Lane)]) -> Vec<Admitted>;
        contend(claim: &'a Claim<'a>, tag: u64, contender: &'a Contender<'a>) -> Contended;
        sweep(queue: &'a QueueName, group: &'a Lane, caps: &'a [Cap], when: Sweep<'a>) -> Swept;
        lanes(queue: &'a QueueName, group: &'a Lane, from: u64) -> LanesPage;
        wait_turns(groups: &'a [(QueueName, Lane)]) -> bool;
        piece(claim: &'a Claim<'a>, tag: u64, skip: usize, bytes: usize) -> Option<Vec<u8>>;
        give_back(claim: &'a Claim<'a>, tags: &'a [u64]) -> usize;
        held(claim: &'a Claim<'a>) -> Vec<u64>;
        renew(claim: &'a Claim<'a>) -> Renewed;
        leave(claim: &'a Claim<'a>) -> ();
        dead(queue: &'a QueueName) -> Dead;
        counts(queue: &'a QueueName) -> Counts;
        note_queues(queues: &'a [QueueName]) -> ();
        queues(search: Search) -> Found;
        result(id: &'a str) -> Option<String>;
        reply(replies: &'a [Reply]) -> ();
        ended(id: &'a str) -> Ended;
        wait_ended(id: &'a str) -> Ended;
        record(queue: &'a QueueName, records: &'a [Record]) -> ();
        past(queue: &'a QueueName, id: &'a str) -> Past;
        report_progress(reports: &'a [ProgressReport]) -> ();
        progress(id: &'a str) -> Option<String>;
        claim_alert(alert: &'a str, lasts: Duration) -> bool;
        hold_alert(alert: &'a str, lasts: Duration) -> ();
        note_successes(queue: &'a QueueName, schedules: &'a [String]) -> ();
        successes(queue: &'a QueueName, schedules: &'a [String]) -> Vec<Timestamp>;
        now() -> jiff::Timestamp;
        trouble() -> Option<String>;
        evicts() -> Option<String>;
        failed_len() -> u64;
        failed(reach: Reach, count: u64) -> (u64, Vec<Arrived>);
        take_failed(picks: &'a [Pick]) -> Vec<bool>;
        join_failed() -> ();
        purge_failed(count: u64) -> u64;
        retain_failed(count: u64, last: &'a Arrived) -> u64;
        failed_dropped() -> u64;
        peek(queue: &'a QueueName, place: Place, start: u64, count: usize) -> Vec<Peeked>;
        note_deed(note: &'a str) -> ();
        begin_request(name: &'a str, note: &'a str, time: Duration) -> Option<String>;
        end_request(name: &'a str, note: &'a str, time: Duration) -> ();
        deeds(count: usize) -> Vec<String>;
        publish(host: &'a str, report: &'a str) -> Option<String>;
        amend(host: &'a str, report: &'a str) -> bool;
        withdraw(host: &'a str) -> ();
        report(host: &'a str) -> Option<String>;
        reports(known: &'a HashMap<String, String>) -> Vec<Reported>;
        keep_catalogue(name: &'a str, text: &'a str) -> ();
        catalogue(name: &'a str) -> Option<String>;
        ask_release(plugin: &'a str, token: &'a str) -> ();
        release_asked(plugin: &'a str) -> Option<String>;
        outbox(queue: &'a QueueName, host: Option<&'a str>, cursor: u64) -> OutboxPage;
        mark_batch(batch: &'a str, marks: &'a [Mark<'a>]) -> Vec<Marked>;
        batch(id: &'a str) -> Option<BatchState>;
        hand_on(queue: &'a QueueName, handed: &'a [HandedOn<'a>]) -> Vec<bool>;
        drop_from_outbox(queue: &'a QueueName, written: &'a [Written]) -> ();
        state_get(bucket: &'a BucketId, keys: &'a [String], max: usize) -> Result<Vec<Option<Entry>>, StateError>;
        state_list(bucket: &'a BucketId, prefix: &'a str, after: Option<&'a str>, limit: usize) -> Vec<String>;
        state_write(
            bucket: &'a BucketId,
            quota: Quota,
            changes: &'a [Change],
            once: Option<Once<'a>>
        ) -> Result<Vec<Changed>, StateError>;
    }
}
