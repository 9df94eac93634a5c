//! What a store can do: every move of the table in [`super`], and every question about the jobs in it.
//!
//! Kiln has two of them, in Redis and in memory. [`Store::over`](super::Store::over) takes any other: tests put a simulated
//! one behind the real [`Consumer`](super::Consumer). Each new move adds a method, so this is no stable interface, and not
//! part of the documentation.
//!
//! A call returns a boxed future. That is one allocation for each message to the store, which carries a batch of jobs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;

pub use super::batches::{BatchState, Mark, Marked};
use super::cancels::Cancels;
use super::counts::Counts;
use super::error::QueueError;
use super::firing::{Fired, Firing};
use super::history::{Past, ProgressReport, Record};
pub use super::moves::{
    Admitted, Arrived, Claim, Dead, Ended, Found, HandedOn, JobsPage, LaneSeen, LaneTaken, LaneWish, LanesPage, Offer,
    Once, OutboxPage, Part, Peeked, Pick, Place, Reach, Renewed, Reported, Search, Seen, Served, Sweep, Swept, Taken,
    Turn, Wish, Written,
};
pub use super::orders::Orders;
use super::orders::{Pausable, Pause};
use super::push::Push;
use super::queue_name::QueueName;
use super::sums::{Span, Sums};
use super::unique::{Contended, Contender};
use crate::config::Cap;
use crate::job::Reply;
use crate::outcome::Lane;
use crate::state::{BucketId, Change, Changed, Entry, Quota, StateError};

/// Longest time that [`Backend::wait_ready`], [`Backend::wait_due`] and the other waits last without news.
/// Short, so that a connection that died silently is noticed.
pub const SILENCE: Duration = Duration::from_secs(4);

/// The store's answer to a call.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, QueueError>>;

/// A store. Each call is carried out as a whole or not at all, as the table in [`super`] says.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Adds jobs, in their order.
    fn push<'a>(&'a self, jobs: &'a [Push]) -> Answer<'a, ()>;

    /// Adds the jobs of schedules whose instants have come by the store's clock, each instant once, whoever asks. Returns the
    /// store's time, and what became of each.
    fn fire<'a>(&'a self, queue: &'a QueueName, firings: &'a [Firing]) -> Answer<'a, (Timestamp, Vec<Fired>)>;

    /// The last instants of these schedules; none of one that the store does not know.
    fn last_fired<'a>(&'a self, queue: &'a QueueName, schedules: &'a [String]) -> Answer<'a, Vec<Option<Timestamp>>>;

    /// Moves due jobs from delayed to ready, and returns how many.
    fn promote<'a>(&'a self, queue: &'a QueueName) -> Answer<'a, usize>;

    /// Returns once one of the queues may have a ready job, at the latest after [`SILENCE`].
    fn wait_ready<'a>(&'a self, queues: &'a [QueueName]) -> Answer<'a, ()>;

    /// The queues that have a due job. Returns once one may have, at the latest after [`SILENCE`].
    fn wait_due<'a>(&'a self, queues: &'a [QueueName]) -> Answer<'a, Vec<QueueName>>;

    /// Which lanes hold jobs, by queue. Returns once that differs from `known`, at the latest after [`SILENCE`].
    fn wait_lanes<'a>(
        &'a self,
        queues: &'a [QueueName],
        known: &'a [BTreeSet<Lane>],
    ) -> Answer<'a, Vec<BTreeSet<Lane>>>;

    /// What operators have ordered for these queues. Returns once that differs from `known`, at the latest after
    /// [`SILENCE`]. What cannot be read is as it is known.
    fn wait_orders<'a>(&'a self, queues: &'a [QueueName], known: Option<&'a Orders>) -> Answer<'a, Orders>;

    /// Makes what a host needs of a queue before it fetches.
    fn prepare<'a>(&'a self, queue: &'a QueueName) -> Answer<'a, ()>;

    /// Pauses something, or resumes it if `pause` is none. Returns the pause before.
    fn pause<'a>(&'a self, what: &'a Pausable, pause: Option<&'a Pause>) -> Answer<'a, Option<Pause>>;

    /// The paused job names.
    fn paused_jobs(&self) -> Answer<'_, BTreeMap<String, Pause>>;

    /// Marks jobs as cancelled for so long from now, and returns for each whether it was marked before.
    fn cancel<'a>(&'a self, queue: &'a QueueName, ids: &'a [String], lasts: Duration) -> Answer<'a, Vec<bool>>;

    /// Takes such marks away, and returns for each whether there was one.
    fn uncancel<'a>(&'a self, queue: &'a QueueName, ids: &'a [String]) -> Answer<'a, Vec<bool>>;

    /// The marks that were made since a version, or all of them.
    fn cancelled<'a>(&'a self, queue: &'a QueueName, since: u64) -> Answer<'a, Cancels>;

    /// Reads jobs where they lie, from the last to the first, or from where a page before ended. Moves none. A job that goes
    /// to the end of the part meanwhile is not read, and one that goes to its front may be passed over.
    fn jobs<'a>(&'a self, queue: &'a QueueName, part: &'a Part, from: Option<&'a str>) -> Answer<'a, JobsPage>;

    /// Takes jobs from lanes, then ready ones, under the tags from `tag` on, and renews the lease. None: the lease has
    /// run out, and nothing was taken.
    fn fetch<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, wish: Wish<'a>) -> Answer<'a, Option<Taken>>;

    /// Takes jobs from a group of lanes under the tags from `tag` on, as many as its limits let start now, lane by lane in
    /// turn, and renews the lease. None: the lease has run out, and nothing was taken.
    fn serve<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, turn: Turn<'a>) -> Answer<'a, Option<Served>>;

    /// Decides about deliveries that were ready, each by its tag and its lane of this group: one whose lane is empty starts, if its
    /// limits let it and no lane has its turn, and takes its places. All others go to their lanes.
    fn admit<'a>(
        &'a self,
        claim: &'a Claim<'a>,
        group: &'a Lane,
        caps: &'a [Cap],
        ready: &'a [(u64, Lane)],
    ) -> Answer<'a, Vec<Admitted>>;

    /// Decides about a job in flight that is unique by a key, and moves it to its lane if it is to run.
    fn contend<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, contender: &'a Contender<'a>) -> Answer<'a, Contended>;

    /// Takes back the places of limits that no delivery occupies any more: of hosts that died, and of jobs that went back.
    fn sweep<'a>(
        &'a self,
        queue: &'a QueueName,
        group: &'a Lane,
        caps: &'a [Cap],
        when: Sweep<'a>,
    ) -> Answer<'a, Swept>;

    /// Lanes of a group, from where a page before ended, or 0.
    fn lanes<'a>(&'a self, queue: &'a QueueName, group: &'a Lane, from: u64) -> Answer<'a, LanesPage>;

    /// Returns once a lane's turn may have come in one of these groups, at the latest after [`SILENCE`]. False: it has not.
    fn wait_turns<'a>(&'a self, groups: &'a [(QueueName, Lane)]) -> Answer<'a, bool>;

    /// Up to so many bytes of a job in flight; none if it is no longer the host's.
    fn piece<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, skip: usize, bytes: usize) -> Answer<'a, Option<Vec<u8>>>;

    /// Settles a batch, and returns the tags that were refused, since the host does not hold them. All others are settled.
    ///
    /// A batch whose answer was lost is offered again: settlements carried out the first time are then refused.
    fn settle<'a, 'b: 'a>(&'a self, claim: &'a Claim<'a>, batch: &'a mut [Offer<'b>]) -> Answer<'a, Vec<u64>>;

    /// Returns jobs in flight to the front of their queue unchanged, the highest tag first. Returns how many the host
    /// still held.
    fn give_back<'a>(&'a self, claim: &'a Claim<'a>, tags: &'a [u64]) -> Answer<'a, usize>;

    /// The tags of all deliveries that the host holds, as the store sees it.
    fn held<'a>(&'a self, claim: &'a Claim<'a>) -> Answer<'a, Vec<u64>>;

    /// The hosts whose lease on a queue has run out, and when the next lease will.
    fn dead<'a>(&'a self, queue: &'a QueueName) -> Answer<'a, Dead>;

    /// Takes up to `count` jobs over from a host whose lease has run out, if any host noticed that at least `patience`
    /// ago. None: the lease of the asking host has run out itself.
    fn adopt<'a>(
        &'a self,
        claim: &'a Claim<'a>,
        dead: &'a str,
        tag: u64,
        count: usize,
        patience: Duration,
    ) -> Answer<'a, Option<Taken>>;

    /// Renews the lease, or begins one.
    fn renew<'a>(&'a self, claim: &'a Claim<'a>) -> Answer<'a, Renewed>;

    /// Gives the lease up, unless the host still holds jobs.
    fn leave<'a>(&'a self, claim: &'a Claim<'a>) -> Answer<'a, ()>;

    /// How much is in a queue, and who serves it.
    fn counts<'a>(&'a self, queue: &'a QueueName) -> Answer<'a, Counts>;

    /// Records that queues are served or pushed to, for [`Self::queues`].
    fn note_queues<'a>(&'a self, queues: &'a [QueueName]) -> Answer<'a, ()>;

    /// The queues recorded lately, whether or not they hold anything, and those that a search finds.
    fn queues(&self, search: Search) -> Answer<'_, Found>;

    /// The result a completed job returned, while it is kept.
    fn result<'a>(&'a self, id: &'a str) -> Answer<'a, Option<String>>;

    /// Answers those who wait for jobs.
    fn reply<'a>(&'a self, replies: &'a [Reply]) -> Answer<'a, ()>;

    /// What is kept of how a job ended.
    fn ended<'a>(&'a self, id: &'a str) -> Answer<'a, Ended>;

    /// The same. Returns once anything is known, at the latest after [`SILENCE`].
    fn wait_ended<'a>(&'a self, id: &'a str) -> Answer<'a, Ended>;

    /// Keeps what attempts came to, best effort: what the store refuses for itself is left out.
    fn record<'a>(&'a self, queue: &'a QueueName, records: &'a [Record]) -> Answer<'a, ()>;

    /// What a queue knows of a job that need not be in it any more.
    fn past<'a>(&'a self, queue: &'a QueueName, id: &'a str) -> Answer<'a, Past>;

    /// Keeps what running attempts report, for a while.
    fn report_progress<'a>(&'a self, reports: &'a [ProgressReport]) -> Answer<'a, ()>;

    /// What the running attempt at a job last reported.
    fn progress<'a>(&'a self, id: &'a str) -> Answer<'a, Option<String>>;

    /// Claims an alert for so long. False: it is claimed already.
    fn claim_alert<'a>(&'a self, alert: &'a str, lasts: Duration) -> Answer<'a, bool>;

    /// Has such a claim last for so long from now on; no time gives it up.
    fn hold_alert<'a>(&'a self, alert: &'a str, lasts: Duration) -> Answer<'a, ()>;

    /// Notes that jobs of schedules have succeeded now.
    fn note_successes<'a>(&'a self, queue: &'a QueueName, schedules: &'a [String]) -> Answer<'a, ()>;

    /// When jobs of schedules last succeeded; of one that is new, now.
    fn successes<'a>(&'a self, queue: &'a QueueName, schedules: &'a [String]) -> Answer<'a, Vec<Timestamp>>;

    /// The time by the store's own clock, which decides when a delayed job is due.
    fn now(&self) -> Answer<'_, Timestamp>;

    /// Why the store takes no jobs although it answers, in words; none if it takes them.
    fn trouble(&self) -> Answer<'_, Option<String>>;

    /// Whether the store may throw jobs away to make room, in words; none if it does not, or cannot be asked.
    fn evicts(&self) -> Answer<'_, Option<String>>;

    /// How many entries the failed list has.
    fn failed_len(&self) -> Answer<'_, u64>;

    /// Up to `count` entries of the failed list in their order, and the place of the first: at least one if there is
    /// any, and otherwise no more than fit into one message.
    fn failed(&self, reach: Reach, count: u64) -> Answer<'_, (u64, Vec<Arrived>)>;

    /// Takes entries out of the failed list and puts the jobs of some into their queues. Returns for each whether it
    /// was still in the list.
    fn take_failed<'a>(&'a self, picks: &'a [Pick]) -> Answer<'a, Vec<bool>>;

    /// Ends work on the failed list: undoes whatever arrangement the store made of it for [`Self::take_failed`].
    fn join_failed(&self) -> Answer<'_, ()>;

    /// Deletes the oldest entries, and returns how many there were.
    fn purge_failed(&self, count: u64) -> Answer<'_, u64>;

    /// Deletes the oldest `count` entries if `last` is still the last of them, and counts them as dropped. Returns how
    /// many.
    fn retain_failed<'a>(&'a self, count: u64, last: &'a Arrived) -> Answer<'a, u64>;

    /// How many entries were ever dropped by [`Self::retain_failed`].
    fn failed_dropped(&self) -> Answer<'_, u64>;

    /// The beginnings of up to `count` jobs of a queue.
    fn peek<'a>(&'a self, queue: &'a QueueName, place: Place, start: u64, count: usize) -> Answer<'a, Vec<Peeked>>;

    /// Adds a note to the record of what operators did.
    fn note_deed<'a>(&'a self, note: &'a str) -> Answer<'a, ()>;

    /// The last notes, the latest first.
    fn deeds(&self, count: usize) -> Answer<'_, Vec<String>>;

    /// Keeps a note under the name of a request, unless there is one, and then returns that.
    fn begin_request<'a>(&'a self, name: &'a str, note: &'a str, time: Duration) -> Answer<'a, Option<String>>;

    /// Keeps a note under the name of a request, whatever was there.
    fn end_request<'a>(&'a self, name: &'a str, note: &'a str, time: Duration) -> Answer<'a, ()>;

    /// Adds to the sums of the spans that a time is in.
    fn add_up<'a>(&'a self, at: Timestamp, sums: &'a Sums) -> Answer<'a, ()>;

    /// The sums of so many spans from the one of this number on, as far as they are kept; all but those of waits.
    fn sums(&self, span: Span, first: i64, count: usize) -> Answer<'_, Vec<Sums>>;

    /// Those of waits.
    fn wait_sums(&self, span: Span, first: i64, count: usize) -> Answer<'_, Vec<Sums>>;

    /// Keeps a host's report about itself, a JSON text, for half a minute, and returns the one before.
    fn publish<'a>(&'a self, host: &'a str, report: &'a str) -> Answer<'a, Option<String>>;

    /// Puts another report in place of that of a host, if one is kept.
    fn amend<'a>(&'a self, host: &'a str, report: &'a str) -> Answer<'a, bool>;

    /// Deletes the host's report.
    fn withdraw<'a>(&'a self, host: &'a str) -> Answer<'a, ()>;

    /// A host's report about itself.
    fn report<'a>(&'a self, host: &'a str) -> Answer<'a, Option<String>>;

    /// The hosts' reports about themselves, without the texts of those whose stamps are known.
    fn reports<'a>(&'a self, known: &'a HashMap<String, String>) -> Answer<'a, Vec<Reported>>;

    /// Keeps what reports have in common, for a minute.
    fn keep_catalogue<'a>(&'a self, name: &'a str, text: &'a str) -> Answer<'a, ()>;

    /// What is kept under that name.
    fn catalogue<'a>(&'a self, name: &'a str) -> Answer<'a, Option<String>>;

    /// Asks every host to serve with this plugin again. The token tells one such request from another.
    fn ask_release<'a>(&'a self, plugin: &'a str, token: &'a str) -> Answer<'a, ()>;

    /// The token of the latest request, if there is one from the last minute.
    fn release_asked<'a>(&'a self, plugin: &'a str) -> Answer<'a, Option<String>>;

    /// A page of what was acknowledged and is still to be written elsewhere, from a cursor on that the page before told; 0 for
    /// the first. Of all of it, or of what this host acknowledged and what hosts without a lease did.
    fn outbox<'a>(&'a self, queue: &'a QueueName, host: Option<&'a str>, cursor: u64) -> Answer<'a, OutboxPage>;

    /// Notes that jobs of a batch have ended, one after the other, and tells of each whether the outbox's entry which says so is to push
    /// what comes of that: one entry for each callback, whenever that entry asks.
    fn mark_batch<'a>(&'a self, batch: &'a str, marks: &'a [Mark<'a>]) -> Answer<'a, Vec<Marked>>;

    /// What is known of a batch.
    fn batch<'a>(&'a self, id: &'a str) -> Answer<'a, Option<BatchState>>;

    /// Pushes jobs of some entries of an outbox, and leaves the rest of each entry there. False: that entry is no longer as it was
    /// read, so somebody else does that.
    fn hand_on<'a>(&'a self, queue: &'a QueueName, handed: &'a [HandedOn<'a>]) -> Answer<'a, Vec<bool>>;

    /// Ends entries that were written, and keeps the results that belong to them.
    fn drop_from_outbox<'a>(&'a self, queue: &'a QueueName, written: &'a [Written]) -> Answer<'a, ()>;

    /// The values of these keys, as [`Keeper::get`](crate::state::Keeper::get) has them.
    fn state_get<'a>(
        &'a self,
        bucket: &'a BucketId,
        keys: &'a [String],
        max_bytes: usize,
    ) -> Answer<'a, Result<Vec<Option<Entry>>, StateError>>;

    /// Keys of a bucket, as [`Keeper::list`](crate::state::Keeper::list) has them.
    fn state_list<'a>(
        &'a self,
        bucket: &'a BucketId,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<String>>;

    /// Makes all of these changes, or none. For an entry of an outbox: makes each change that is possible, only once,
    /// whatever the quota.
    fn state_write<'a>(
        &'a self,
        bucket: &'a BucketId,
        quota: Quota,
        changes: &'a [Change],
        once: Option<Once<'a>>,
    ) -> Answer<'a, Result<Vec<Changed>, StateError>>;
}
