//! What a store can do: every move of the table in [`super`], and every question about the jobs in it.
//!
//! Kiln has two of them, in Redis and in memory. [`Store::over`](super::Store::over) takes any other: tests put a simulated
//! one behind the real [`Consumer`](super::Consumer). Each new move adds a method, so this is no stable interface, and not
//! part of the documentation.
//!
//! A call returns a boxed future. That is one allocation for each message to the store, which carries a batch of jobs.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;

use super::counts::Counts;
use super::error::QueueError;
pub use super::moves::{
    Arrived, Claim, Found, LaneTaken, LaneWish, Offer, Once, OutboxPage, Pick, Reach, Renewed, Search, Taken, Wish,
    Written,
};
use super::push::Push;
use super::queue_name::QueueName;
use crate::outcome::Lane;
use crate::state::{BucketId, Change, Changed, Entry, Quota, StateError};

/// Longest time that [`Backend::wait_ready`], [`Backend::wait_due`] and [`Backend::wait_lanes`] last without news.
/// Short, so that a connection that died silently is noticed.
pub const SILENCE: Duration = Duration::from_secs(4);

/// The store's answer to a call.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, QueueError>>;

/// A store. Each call is carried out as a whole or not at all, as the table in [`super`] says.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Adds jobs, in their order.
    fn push<'a>(&'a self, jobs: &'a [Push]) -> Answer<'a, ()>;

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

    /// Takes jobs from lanes, then ready ones, under the tags from `tag` on, and renews the lease. None: the lease has
    /// run out, and nothing was taken.
    fn fetch<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, wish: Wish<'a>) -> Answer<'a, Option<Taken>>;

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

    /// The hosts whose lease on a queue has run out.
    fn dead<'a>(&'a self, queue: &'a QueueName) -> Answer<'a, Vec<String>>;

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

    /// Keeps a host's report about itself, a JSON text, for half a minute.
    fn publish<'a>(&'a self, host: &'a str, report: &'a str) -> Answer<'a, ()>;

    /// Deletes the host's report.
    fn withdraw<'a>(&'a self, host: &'a str) -> Answer<'a, ()>;

    /// The hosts' reports about themselves: host and JSON text.
    fn reports(&self) -> Answer<'_, Vec<(String, String)>>;

    /// Asks every host to serve with this plugin again. The token tells one such request from another.
    fn ask_release<'a>(&'a self, plugin: &'a str, token: &'a str) -> Answer<'a, ()>;

    /// The token of the latest request, if there is one from the last minute.
    fn release_asked<'a>(&'a self, plugin: &'a str) -> Answer<'a, Option<String>>;

    /// A page of what was acknowledged and is still to be written elsewhere, from a cursor on that the page before told; 0 for
    /// the first.
    fn outbox<'a>(&'a self, queue: &'a QueueName, cursor: u64) -> Answer<'a, OutboxPage>;

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
