//! The store in Redis: one script for each move. No decision is made here.

mod address;
mod alerts;
mod audit;
mod bare;
mod batches;
mod cancels;
mod delivery;
mod dialer;
mod failed;
pub(super) mod fault;
mod firing;
mod history;
mod jobs;
mod key_watch;
mod keys;
mod lease;
mod look;
mod names;
mod noted;
mod orders;
mod outbox;
mod peek;
mod pool;
mod promotion;
mod push;
mod replies;
mod report;
mod requests;
mod scripts;
mod settlement;
mod state;
mod sums;
mod turns;
mod unique;
mod unkept;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue};
use jiff::Timestamp;

pub(in crate::queue) use bare::RedisBare;
pub(crate) use bare::Work;
use dialer::Dialer;
use key_watch::KeyWatch;
use keys::Keys;
use noted::Noted;
use pool::Pool;
use unkept::Unkept;

use super::backend::{Answer, Backend};
use super::batches::{BatchState, Mark, Marked};
use super::cancels::Cancels;
use super::counts::Counts;
use super::error::QueueError;
use super::firing::{Fired, Firing};
use super::history::{Past, ProgressReport, Record};
use super::moves::{
    Admitted, Arrived, Claim, Dead, Ended, Found, HandedOn, JobsPage, LanesPage, Offer, Once, OutboxPage, Part, Peeked,
    Pick, Place, Reach, Renewed, Reported, Search, Served, Sweep, Swept, Taken, Turn, Wish, Written,
};
use super::orders::{Orders, Pausable, Pause};
use super::push::Push;
use super::queue_name::QueueName;
use super::settings::StoreSettings;
use super::sums::{Span, Sums};
use super::unique::{Contended, Contender};
use crate::config::Cap;
use crate::job::Reply;
use crate::outcome::Lane;
use crate::state::{BucketId, Change, Changed, Entry, Quota, StateError};

/// How long Redis remembers the last tag of each host, and when a dead host was found. Far longer than a message can be
/// on its way, and than the pause between two starts of a host that keeps crashing.
const LAST_TAG_MS: u64 = 3_600_000;

pub(in crate::queue) struct RedisStore {
    pool: Pool,
    key_watch: KeyWatch,
    keys: Keys,
    /// Whether a queue's keys are in more than one slot.
    split: bool,
    result_ttl: Duration,
    unkept: Unkept,
    history_ttl: Duration,
    unrecorded: Unkept,
    noted: Noted,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    pub(in crate::queue) async fn connect(settings: &StoreSettings) -> Result<Self, QueueError> {
        let dialer = Arc::new(Dialer::new(settings)?);
        let keys = Keys::new(&settings.prefix);
        Ok(Self {
            split: dialer.is_cluster() && !keys.in_one_slot(),
            pool: Pool::open(Arc::clone(&dialer)).await?,
            key_watch: KeyWatch::new(dialer),
            keys,
            result_ttl: settings.result_ttl,
            unkept: Unkept::of("results"),
            history_ttl: settings.history_ttl,
            unrecorded: Unkept::of("records of attempts"),
            noted: Noted::default(),
        })
    }

    async fn run<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, QueueError> {
        self.pool.run(cmd).await
    }

    fn ready(&self, claim: &Claim<'_>) -> String {
        self.keys.ready(claim.queue.as_str())
    }

    fn in_flight(&self, claim: &Claim<'_>) -> String {
        self.keys.in_flight(claim.queue.as_str(), claim.host)
    }

    fn last_tag(&self, claim: &Claim<'_>) -> String {
        self.keys.last_tag(claim.queue.as_str(), claim.host)
    }

    fn leases(&self, claim: &Claim<'_>) -> String {
        self.keys.leases(claim.queue.as_str())
    }
}

/// Each method is implemented in a file of its own.
impl Backend for RedisStore {
    fn push<'a>(&'a self, jobs: &'a [Push]) -> Answer<'a, ()> {
        Box::pin(self.push(jobs))
    }

    fn fire<'a>(&'a self, queue: &'a QueueName, firings: &'a [Firing]) -> Answer<'a, (Timestamp, Vec<Fired>)> {
        Box::pin(self.fire(queue, firings))
    }

    fn last_fired<'a>(&'a self, queue: &'a QueueName, schedules: &'a [String]) -> Answer<'a, Vec<Option<Timestamp>>> {
        Box::pin(self.last_fired(queue, schedules))
    }

    fn promote<'a>(&'a self, queue: &'a QueueName) -> Answer<'a, usize> {
        Box::pin(self.promote(queue))
    }

    fn wait_ready<'a>(&'a self, queues: &'a [QueueName]) -> Answer<'a, ()> {
        Box::pin(self.wait_ready(queues))
    }

    fn wait_due<'a>(&'a self, queues: &'a [QueueName]) -> Answer<'a, Vec<QueueName>> {
        Box::pin(self.wait_due(queues))
    }

    fn wait_lanes<'a>(
        &'a self,
        queues: &'a [QueueName],
        known: &'a [BTreeSet<Lane>],
    ) -> Answer<'a, Vec<BTreeSet<Lane>>> {
        Box::pin(self.wait_lanes(queues, known))
    }

    fn wait_orders<'a>(&'a self, queues: &'a [QueueName], known: Option<&'a Orders>) -> Answer<'a, Orders> {
        Box::pin(self.wait_orders(queues, known))
    }

    fn prepare<'a>(&'a self, queue: &'a QueueName) -> Answer<'a, ()> {
        Box::pin(self.prepare(queue))
    }

    fn pause<'a>(&'a self, what: &'a Pausable, pause: Option<&'a Pause>) -> Answer<'a, Option<Pause>> {
        Box::pin(self.pause(what, pause))
    }

    fn paused_jobs(&self) -> Answer<'_, BTreeMap<String, Pause>> {
        Box::pin(self.paused_jobs())
    }

    fn cancel<'a>(&'a self, queue: &'a QueueName, ids: &'a [String], lasts: Duration) -> Answer<'a, Vec<bool>> {
        Box::pin(self.cancel(queue, ids, lasts))
    }

    fn uncancel<'a>(&'a self, queue: &'a QueueName, ids: &'a [String]) -> Answer<'a, Vec<bool>> {
        Box::pin(self.uncancel(queue, ids))
    }

    fn cancelled<'a>(&'a self, queue: &'a QueueName, since: u64) -> Answer<'a, Cancels> {
        Box::pin(self.cancelled(queue, since))
    }

    fn jobs<'a>(&'a self, queue: &'a QueueName, part: &'a Part, from: Option<&'a str>) -> Answer<'a, JobsPage> {
        Box::pin(self.jobs(queue, part, from))
    }

    fn fetch<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, wish: Wish<'a>) -> Answer<'a, Option<Taken>> {
        Box::pin(self.fetch(claim, tag, wish))
    }

    fn serve<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, turn: Turn<'a>) -> Answer<'a, Option<Served>> {
        Box::pin(self.serve(claim, tag, turn))
    }

    fn admit<'a>(
        &'a self,
        claim: &'a Claim<'a>,
        group: &'a Lane,
        caps: &'a [Cap],
        ready: &'a [(u64, Lane)],
    ) -> Answer<'a, Vec<Admitted>> {
        Box::pin(self.admit(claim, group, caps, ready))
    }

    fn contend<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, contender: &'a Contender<'a>) -> Answer<'a, Contended> {
        Box::pin(self.contend(claim, tag, contender))
    }

    fn sweep<'a>(
        &'a self,
        queue: &'a QueueName,
        group: &'a Lane,
        caps: &'a [Cap],
        when: Sweep<'a>,
    ) -> Answer<'a, Swept> {
        Box::pin(self.sweep(queue, group, caps, when))
    }

    fn lanes<'a>(&'a self, queue: &'a QueueName, group: &'a Lane, from: u64) -> Answer<'a, LanesPage> {
        Box::pin(self.lanes(queue, group, from))
    }

    fn wait_turns<'a>(&'a self, groups: &'a [(QueueName, Lane)]) -> Answer<'a, bool> {
        Box::pin(self.wait_turns(groups))
    }

    fn piece<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, skip: usize, bytes: usize) -> Answer<'a, Option<Vec<u8>>> {
        Box::pin(self.piece(claim, tag, skip, bytes))
    }

    fn settle<'a, 'b: 'a>(&'a self, claim: &'a Claim<'a>, batch: &'a mut [Offer<'b>]) -> Answer<'a, Vec<u64>> {
        Box::pin(self.settle(claim, batch))
    }

    fn give_back<'a>(&'a self, claim: &'a Claim<'a>, tags: &'a [u64]) -> Answer<'a, usize> {
        Box::pin(self.give_back(claim, tags))
    }

    fn held<'a>(&'a self, claim: &'a Claim<'a>) -> Answer<'a, Vec<u64>> {
        Box::pin(self.held(claim))
    }

    fn dead<'a>(&'a self, queue: &'a QueueName) -> Answer<'a, Dead> {
        Box::pin(self.dead(queue))
    }

    fn adopt<'a>(
        &'a self,
        claim: &'a Claim<'a>,
        dead: &'a str,
        tag: u64,
        count: usize,
        patience: Duration,
    ) -> Answer<'a, Option<Taken>> {
        Box::pin(self.adopt(claim, dead, tag, count, patience))
    }

    fn renew<'a>(&'a self, claim: &'a Claim<'a>) -> Answer<'a, Renewed> {
        Box::pin(self.renew(claim))
    }

    fn leave<'a>(&'a self, claim: &'a Claim<'a>) -> Answer<'a, ()> {
        Box::pin(self.leave(claim))
    }

    fn counts<'a>(&'a self, queue: &'a QueueName) -> Answer<'a, Counts> {
        Box::pin(self.counts(queue))
    }

    fn note_queues<'a>(&'a self, queues: &'a [QueueName]) -> Answer<'a, ()> {
        Box::pin(self.note_queues(queues))
    }

    fn queues(&self, search: Search) -> Answer<'_, Found> {
        Box::pin(self.queues(search))
    }

    fn result<'a>(&'a self, id: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(self.result(id))
    }

    fn reply<'a>(&'a self, replies: &'a [Reply]) -> Answer<'a, ()> {
        Box::pin(self.reply(replies))
    }

    fn ended<'a>(&'a self, id: &'a str) -> Answer<'a, Ended> {
        Box::pin(self.ended(id))
    }

    fn wait_ended<'a>(&'a self, id: &'a str) -> Answer<'a, Ended> {
        Box::pin(self.wait_ended(id))
    }

    fn record<'a>(&'a self, queue: &'a QueueName, records: &'a [Record]) -> Answer<'a, ()> {
        Box::pin(self.record(queue, records))
    }

    fn past<'a>(&'a self, queue: &'a QueueName, id: &'a str) -> Answer<'a, Past> {
        Box::pin(self.past(queue, id))
    }

    fn report_progress<'a>(&'a self, reports: &'a [ProgressReport]) -> Answer<'a, ()> {
        Box::pin(self.report_progress(reports))
    }

    fn progress<'a>(&'a self, id: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(self.progress(id))
    }

    fn claim_alert<'a>(&'a self, alert: &'a str, lasts: Duration) -> Answer<'a, bool> {
        Box::pin(self.claim_alert(alert, lasts))
    }

    fn hold_alert<'a>(&'a self, alert: &'a str, lasts: Duration) -> Answer<'a, ()> {
        Box::pin(self.hold_alert(alert, lasts))
    }

    fn note_successes<'a>(&'a self, queue: &'a QueueName, schedules: &'a [String]) -> Answer<'a, ()> {
        Box::pin(self.note_successes(queue, schedules))
    }

    fn successes<'a>(&'a self, queue: &'a QueueName, schedules: &'a [String]) -> Answer<'a, Vec<Timestamp>> {
        Box::pin(self.successes(queue, schedules))
    }

    fn now(&self) -> Answer<'_, Timestamp> {
        Box::pin(self.now())
    }

    fn trouble(&self) -> Answer<'_, Option<String>> {
        Box::pin(self.trouble())
    }

    fn evicts(&self) -> Answer<'_, Option<String>> {
        Box::pin(self.evicts())
    }

    fn failed_len(&self) -> Answer<'_, u64> {
        Box::pin(self.failed_len())
    }

    fn failed(&self, reach: Reach, count: u64) -> Answer<'_, (u64, Vec<Arrived>)> {
        Box::pin(self.failed(reach, count))
    }

    fn take_failed<'a>(&'a self, picks: &'a [Pick]) -> Answer<'a, Vec<bool>> {
        Box::pin(self.take_failed(picks))
    }

    fn join_failed(&self) -> Answer<'_, ()> {
        Box::pin(self.join_failed())
    }

    fn purge_failed(&self, count: u64) -> Answer<'_, u64> {
        Box::pin(self.purge_failed(count))
    }

    fn retain_failed<'a>(&'a self, count: u64, last: &'a Arrived) -> Answer<'a, u64> {
        Box::pin(self.retain_failed(count, last))
    }

    fn failed_dropped(&self) -> Answer<'_, u64> {
        Box::pin(self.failed_dropped())
    }

    fn peek<'a>(&'a self, queue: &'a QueueName, place: Place, start: u64, count: usize) -> Answer<'a, Vec<Peeked>> {
        Box::pin(self.peek(queue, place, start, count))
    }

    fn note_deed<'a>(&'a self, note: &'a str) -> Answer<'a, ()> {
        Box::pin(self.note_deed(note))
    }

    fn deeds(&self, count: usize) -> Answer<'_, Vec<String>> {
        Box::pin(self.deeds(count))
    }

    fn begin_request<'a>(&'a self, name: &'a str, note: &'a str, time: Duration) -> Answer<'a, Option<String>> {
        Box::pin(self.begin_request(name, note, time))
    }

    fn end_request<'a>(&'a self, name: &'a str, note: &'a str, time: Duration) -> Answer<'a, ()> {
        Box::pin(self.end_request(name, note, time))
    }

    fn add_up<'a>(&'a self, at: Timestamp, sums: &'a Sums) -> Answer<'a, ()> {
        Box::pin(self.add_up(at, sums))
    }

    fn sums(&self, span: Span, first: i64, count: usize) -> Answer<'_, Vec<Sums>> {
        Box::pin(self.sums(span, first, count))
    }

    fn wait_sums(&self, span: Span, first: i64, count: usize) -> Answer<'_, Vec<Sums>> {
        Box::pin(self.wait_sums(span, first, count))
    }

    fn publish<'a>(&'a self, host: &'a str, report: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(self.publish(host, report))
    }

    fn amend<'a>(&'a self, host: &'a str, report: &'a str) -> Answer<'a, bool> {
        Box::pin(self.amend(host, report))
    }

    fn withdraw<'a>(&'a self, host: &'a str) -> Answer<'a, ()> {
        Box::pin(self.withdraw(host))
    }

    fn report<'a>(&'a self, host: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(self.report(host))
    }

    fn reports<'a>(&'a self, known: &'a HashMap<String, String>) -> Answer<'a, Vec<Reported>> {
        Box::pin(self.reports(known))
    }

    fn keep_catalogue<'a>(&'a self, name: &'a str, text: &'a str) -> Answer<'a, ()> {
        Box::pin(self.keep_catalogue(name, text))
    }

    fn catalogue<'a>(&'a self, name: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(self.catalogue(name))
    }

    fn ask_release<'a>(&'a self, plugin: &'a str, token: &'a str) -> Answer<'a, ()> {
        Box::pin(self.ask_release(plugin, token))
    }

    fn release_asked<'a>(&'a self, plugin: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(self.release_asked(plugin))
    }

    fn outbox<'a>(&'a self, queue: &'a QueueName, host: Option<&'a str>, cursor: u64) -> Answer<'a, OutboxPage> {
        Box::pin(self.outbox(queue, host, cursor))
    }

    fn mark_batch<'a>(&'a self, batch: &'a str, marks: &'a [Mark<'a>]) -> Answer<'a, Vec<Marked>> {
        Box::pin(self.mark_batch(batch, marks))
    }

    fn batch<'a>(&'a self, id: &'a str) -> Answer<'a, Option<BatchState>> {
        Box::pin(self.batch(id))
    }

    fn hand_on<'a>(&'a self, queue: &'a QueueName, handed: &'a [HandedOn<'a>]) -> Answer<'a, Vec<bool>> {
        Box::pin(self.hand_on(queue, handed))
    }

    fn drop_from_outbox<'a>(&'a self, queue: &'a QueueName, written: &'a [Written]) -> Answer<'a, ()> {
        Box::pin(self.drop_from_outbox(queue, written))
    }

    fn state_get<'a>(
        &'a self,
        bucket: &'a BucketId,
        keys: &'a [String],
        max_bytes: usize,
    ) -> Answer<'a, Result<Vec<Option<Entry>>, StateError>> {
        Box::pin(self.state_get(bucket, keys, max_bytes))
    }

    fn state_list<'a>(
        &'a self,
        bucket: &'a BucketId,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<String>> {
        Box::pin(self.state_list(bucket, prefix, after, limit))
    }

    fn state_write<'a>(
        &'a self,
        bucket: &'a BucketId,
        quota: Quota,
        changes: &'a [Change],
        once: Option<Once<'a>>,
    ) -> Answer<'a, Result<Vec<Changed>, StateError>> {
        Box::pin(self.state_write(bucket, quota, changes, once))
    }
}
