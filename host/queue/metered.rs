//! A store that tells of each operation: how long it took, and whether it failed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use jiff::Timestamp;

use super::backend::{Answer, Backend};
use super::batches::{BatchState, Mark, Marked};
use super::cancels::Cancels;
use super::counts::Counts;
use super::firing::{Fired, Firing};
use super::history::{Past, ProgressReport, Record};
use super::moves::{
    Admitted, Arrived, Claim, Dead, Ended, Found, HandedOn, JobsPage, LanesPage, Offer, Once, OutboxPage, Part, Peeked,
    Pick, Place, Reach, Renewed, Reported, Search, Served, Sweep, Swept, Taken, Turn, Wish, Written,
};
use super::orders::{Orders, Pausable, Pause};
use super::push::Push;
use super::queue_name::QueueName;
use super::sums::{Span, Sums};
use super::unique::{Contended, Contender};
use crate::config::Cap;
use crate::events::{Event, Events};
use crate::job::Reply;
use crate::outcome::Lane;
use crate::state::{BucketId, Change, Changed, Entry, Quota, StateError};

/// Another store, watched.
#[derive(Debug)]
pub(super) struct Metered {
    inner: Arc<dyn Backend>,
    events: Events,
}

impl Metered {
    pub(super) fn new(inner: Arc<dyn Backend>, events: Events) -> Self {
        Self { inner, events }
    }

    /// Times an operation.
    fn timed<'a, T: Send + 'a>(&'a self, operation: &'static str, answer: Answer<'a, T>) -> Answer<'a, T> {
        async move {
            let began = Instant::now();
            let answer = answer.await;
            self.tell(operation, Some(began.elapsed()), answer.is_err());
            answer
        }
        .boxed()
    }

    /// Watches an operation that waits for news, and so takes as long as there are none.
    fn waiting<'a, T: Send + 'a>(&'a self, operation: &'static str, answer: Answer<'a, T>) -> Answer<'a, T> {
        async move {
            let answer = answer.await;
            self.tell(operation, None, answer.is_err());
            answer
        }
        .boxed()
    }

    fn tell(&self, operation: &'static str, took: Option<Duration>, failed: bool) {
        self.events.tell(Event::StoreAsked {
            operation,
            took,
            failed,
        });
    }
}

/// Passes each operation on under its name, and lists the names.
macro_rules! operations {
    ($($how:ident $name:ident($($arg:ident: $of:ty),*) -> $answer:ty;)*) => {
        /// The names of the operations of a store, as events and metrics have them.
        pub const OPERATIONS: &[&str] = &[$(stringify!($name)),*, "settle"];

        #[expect(
            clippy::elidable_lifetime_names,
            reason = "arguments and answers of other operations name it"
        )]
        impl Backend for Metered {
            $(
                fn $name<'a>(&'a self, $($arg: $of),*) -> Answer<'a, $answer> {
                    self.$how(stringify!($name), self.inner.$name($($arg),*))
                }
            )*

            fn settle<'a, 'b: 'a>(&'a self, claim: &'a Claim<'a>, batch: &'a mut [Offer<'b>]) -> Answer<'a, Vec<u64>> {
                self.timed("settle", self.inner.settle(claim, batch))
            }
        }
    };
}

operations! {
    timed push(jobs: &'a [Push]) -> ();
    timed fire(queue: &'a QueueName, firings: &'a [Firing]) -> (Timestamp, Vec<Fired>);
    timed last_fired(queue: &'a QueueName, schedules: &'a [String]) -> Vec<Option<Timestamp>>;
    timed promote(queue: &'a QueueName) -> usize;
    waiting wait_ready(queues: &'a [QueueName]) -> ();
    waiting wait_due(queues: &'a [QueueName]) -> Vec<QueueName>;
    waiting wait_lanes(queues: &'a [QueueName], known: &'a [BTreeSet<Lane>]) -> Vec<BTreeSet<Lane>>;
    waiting wait_orders(queues: &'a [QueueName], known: Option<&'a Orders>) -> Orders;
    timed prepare(queue: &'a QueueName) -> ();
    timed pause(what: &'a Pausable, pause: Option<&'a Pause>) -> Option<Pause>;
    timed paused_jobs() -> BTreeMap<String, Pause>;
    timed cancel(queue: &'a QueueName, ids: &'a [String], lasts: Duration) -> Vec<bool>;
    timed uncancel(queue: &'a QueueName, ids: &'a [String]) -> Vec<bool>;
    timed cancelled(queue: &'a QueueName, since: u64) -> Cancels;
    timed jobs(queue: &'a QueueName, part: &'a Part, from: Option<&'a str>) -> JobsPage;
    timed fetch(claim: &'a Claim<'a>, tag: u64, wish: Wish<'a>) -> Option<Taken>;
    timed serve(claim: &'a Claim<'a>, tag: u64, turn: Turn<'a>) -> Option<Served>;
    timed admit(claim: &'a Claim<'a>, group: &'a Lane, caps: &'a [Cap], ready: &'a [(u64, Lane)]) -> Vec<Admitted>;
    timed contend(claim: &'a Claim<'a>, tag: u64, contender: &'a Contender<'a>) -> Contended;
    timed sweep(queue: &'a QueueName, group: &'a Lane, caps: &'a [Cap], when: Sweep<'a>) -> Swept;
    timed lanes(queue: &'a QueueName, group: &'a Lane, from: u64) -> LanesPage;
    waiting wait_turns(groups: &'a [(QueueName, Lane)]) -> bool;
    timed piece(claim: &'a Claim<'a>, tag: u64, skip: usize, bytes: usize) -> Option<Vec<u8>>;
    timed give_back(claim: &'a Claim<'a>, tags: &'a [u64]) -> usize;
    timed held(claim: &'a Claim<'a>) -> Vec<u64>;
    timed dead(queue: &'a QueueName) -> Dead;
    timed adopt(
        claim: &'a Claim<'a>, dead: &'a str, tag: u64, count: usize, patience: Duration
    ) -> Option<Taken>;
    timed renew(claim: &'a Claim<'a>) -> Renewed;
    timed leave(claim: &'a Claim<'a>) -> ();
    timed counts(queue: &'a QueueName) -> Counts;
    timed note_queues(queues: &'a [QueueName]) -> ();
    timed queues(search: Search) -> Found;
    timed result(id: &'a str) -> Option<String>;
    timed reply(replies: &'a [Reply]) -> ();
    timed ended(id: &'a str) -> Ended;
    waiting wait_ended(id: &'a str) -> Ended;
    timed record(queue: &'a QueueName, records: &'a [Record]) -> ();
    timed past(queue: &'a QueueName, id: &'a str) -> Past;
    timed report_progress(reports: &'a [ProgressReport]) -> ();
    timed progress(id: &'a str) -> Option<String>;
    timed claim_alert(alert: &'a str, lasts: Duration) -> bool;
    timed hold_alert(alert: &'a str, lasts: Duration) -> ();
    timed note_successes(queue: &'a QueueName, schedules: &'a [String]) -> ();
    timed successes(queue: &'a QueueName, schedules: &'a [String]) -> Vec<Timestamp>;
    timed now() -> Timestamp;
    timed trouble() -> Option<String>;
    timed evicts() -> Option<String>;
    timed failed_len() -> u64;
    timed failed(reach: Reach, count: u64) -> (u64, Vec<Arrived>);
    timed take_failed(picks: &'a [Pick]) -> Vec<bool>;
    timed join_failed() -> ();
    timed purge_failed(count: u64) -> u64;
    timed retain_failed(count: u64, last: &'a Arrived) -> u64;
    timed failed_dropped() -> u64;
    timed peek(queue: &'a QueueName, place: Place, start: u64, count: usize) -> Vec<Peeked>;
    timed note_deed(note: &'a str) -> ();
    timed begin_request(name: &'a str, note: &'a str, time: Duration) -> Option<String>;
    timed end_request(name: &'a str, note: &'a str, time: Duration) -> ();
    timed deeds(count: usize) -> Vec<String>;
    timed add_up(at: Timestamp, sums: &'a Sums) -> ();
    timed sums(span: Span, first: i64, count: usize) -> Vec<Sums>;
    timed wait_sums(span: Span, first: i64, count: usize) -> Vec<Sums>;
    timed publish(host: &'a str, report: &'a str) -> Option<String>;
    timed amend(host: &'a str, report: &'a str) -> bool;
    timed withdraw(host: &'a str) -> ();
    timed report(host: &'a str) -> Option<String>;
    timed reports(known: &'a HashMap<String, String>) -> Vec<Reported>;
    timed keep_catalogue(name: &'a str, text: &'a str) -> ();
    timed catalogue(name: &'a str) -> Option<String>;
    timed ask_release(plugin: &'a str, token: &'a str) -> ();
    timed release_asked(plugin: &'a str) -> Option<String>;
    timed outbox(queue: &'a QueueName, host: Option<&'a str>, cursor: u64) -> OutboxPage;
    timed mark_batch(batch: &'a str, marks: &'a [Mark<'a>]) -> Vec<Marked>;
    timed batch(id: &'a str) -> Option<BatchState>;
    timed hand_on(queue: &'a QueueName, handed: &'a [HandedOn<'a>]) -> Vec<bool>;
    timed drop_from_outbox(queue: &'a QueueName, written: &'a [Written]) -> ();
    timed state_get(
        bucket: &'a BucketId, keys: &'a [String], max_bytes: usize
    ) -> Result<Vec<Option<Entry>>, StateError>;
    timed state_list(
        bucket: &'a BucketId, prefix: &'a str, after: Option<&'a str>, limit: usize
    ) -> Vec<String>;
    timed state_write(
        bucket: &'a BucketId, quota: Quota, changes: &'a [Change], once: Option<Once<'a>>
    ) -> Result<Vec<Changed>, StateError>;
}
