//! The store in memory as a [`Backend`]: each call does its work at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use super::MemoryStore;
use crate::config::Cap;
use crate::job::Reply;
use crate::outcome::Lane;
use crate::queue::backend::{Answer, Backend};
use crate::queue::batches::{BatchState, Mark, Marked};
use crate::queue::cancels::Cancels;
use crate::queue::counts::Counts;
use crate::queue::firing::{Fired, Firing};
use crate::queue::history::{Past, ProgressReport, Record};
use crate::queue::moves::{
    Admitted, Arrived, Claim, Dead, Ended, Found, HandedOn, JobsPage, LanesPage, Offer, Once, OutboxPage, Part, Peeked,
    Pick, Place, Reach, Renewed, Reported, Search, Served, Sweep, Swept, Taken, Turn, Wish, Written,
};
use crate::queue::orders::{Orders, Pausable, Pause};
use crate::queue::push::Push;
use crate::queue::queue_name::QueueName;
use crate::queue::sums::{Of, Span, Sums};
use crate::queue::unique::{Contended, Contender};
use crate::state::{BucketId, Change, Changed, Entry, Quota, StateError};

impl Backend for MemoryStore {
    fn push<'a>(&'a self, jobs: &'a [Push]) -> Answer<'a, ()> {
        Box::pin(async move {
            self.push(jobs);
            Ok(())
        })
    }

    fn fire<'a>(&'a self, queue: &'a QueueName, firings: &'a [Firing]) -> Answer<'a, (Timestamp, Vec<Fired>)> {
        Box::pin(async move { Ok(self.fire(queue, firings)) })
    }

    fn last_fired<'a>(&'a self, queue: &'a QueueName, schedules: &'a [String]) -> Answer<'a, Vec<Option<Timestamp>>> {
        Box::pin(async move { Ok(self.last_fired(queue, schedules)) })
    }

    fn promote<'a>(&'a self, queue: &'a QueueName) -> Answer<'a, usize> {
        Box::pin(async move { Ok(self.promote(queue)) })
    }

    fn wait_ready<'a>(&'a self, queues: &'a [QueueName]) -> Answer<'a, ()> {
        Box::pin(async move {
            self.wait_ready(queues).await;
            Ok(())
        })
    }

    fn wait_due<'a>(&'a self, queues: &'a [QueueName]) -> Answer<'a, Vec<QueueName>> {
        Box::pin(async move { Ok(self.wait_due(queues).await) })
    }

    fn wait_lanes<'a>(
        &'a self,
        queues: &'a [QueueName],
        known: &'a [BTreeSet<Lane>],
    ) -> Answer<'a, Vec<BTreeSet<Lane>>> {
        Box::pin(async move { Ok(self.wait_lanes(queues, known).await) })
    }

    fn wait_orders<'a>(&'a self, queues: &'a [QueueName], known: Option<&'a Orders>) -> Answer<'a, Orders> {
        Box::pin(async move { Ok(self.wait_orders(queues, known).await) })
    }

    /// Nothing to make: a queue is there once it is named.
    fn prepare<'a>(&'a self, _: &'a QueueName) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn pause<'a>(&'a self, what: &'a Pausable, pause: Option<&'a Pause>) -> Answer<'a, Option<Pause>> {
        Box::pin(async move { self.pause(what, pause) })
    }

    fn paused_jobs(&self) -> Answer<'_, BTreeMap<String, Pause>> {
        Box::pin(async move { Ok(self.paused_jobs()) })
    }

    fn cancel<'a>(&'a self, queue: &'a QueueName, ids: &'a [String], lasts: Duration) -> Answer<'a, Vec<bool>> {
        Box::pin(async move { self.cancel(queue, ids, lasts) })
    }

    fn uncancel<'a>(&'a self, queue: &'a QueueName, ids: &'a [String]) -> Answer<'a, Vec<bool>> {
        Box::pin(async move { Ok(self.uncancel(queue, ids)) })
    }

    fn cancelled<'a>(&'a self, queue: &'a QueueName, since: u64) -> Answer<'a, Cancels> {
        Box::pin(async move { Ok(self.cancelled(queue, since)) })
    }

    fn jobs<'a>(&'a self, queue: &'a QueueName, part: &'a Part, from: Option<&'a str>) -> Answer<'a, JobsPage> {
        Box::pin(async move { Ok(self.jobs(queue, part, from)) })
    }

    fn fetch<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, wish: Wish<'a>) -> Answer<'a, Option<Taken>> {
        Box::pin(async move { Ok(self.fetch(claim, tag, wish)) })
    }

    fn serve<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, turn: Turn<'a>) -> Answer<'a, Option<Served>> {
        Box::pin(async move { Ok(self.serve(claim, tag, turn)) })
    }

    fn admit<'a>(
        &'a self,
        claim: &'a Claim<'a>,
        group: &'a Lane,
        caps: &'a [Cap],
        ready: &'a [(u64, Lane)],
    ) -> Answer<'a, Vec<Admitted>> {
        Box::pin(async move { Ok(self.admit(claim, group, caps, ready)) })
    }

    fn contend<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, contender: &'a Contender<'a>) -> Answer<'a, Contended> {
        Box::pin(async move { Ok(self.contend(claim, tag, contender)) })
    }

    fn sweep<'a>(&'a self, queue: &'a QueueName, group: &'a Lane, _: &'a [Cap], _: Sweep<'a>) -> Answer<'a, Swept> {
        Box::pin(async move { Ok(self.sweep(queue, group)) })
    }

    fn lanes<'a>(&'a self, queue: &'a QueueName, group: &'a Lane, _from: u64) -> Answer<'a, LanesPage> {
        Box::pin(async move { Ok(self.lanes(queue, group)) })
    }

    fn wait_turns<'a>(&'a self, groups: &'a [(QueueName, Lane)]) -> Answer<'a, bool> {
        Box::pin(async move { Ok(self.wait_turns(groups).await) })
    }

    fn piece<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, skip: usize, bytes: usize) -> Answer<'a, Option<Vec<u8>>> {
        Box::pin(async move { Ok(self.piece(claim, tag, skip, bytes)) })
    }

    fn settle<'a, 'b: 'a>(&'a self, claim: &'a Claim<'a>, batch: &'a mut [Offer<'b>]) -> Answer<'a, Vec<u64>> {
        Box::pin(async move { Ok(self.settle(claim, batch)) })
    }

    fn give_back<'a>(&'a self, claim: &'a Claim<'a>, tags: &'a [u64]) -> Answer<'a, usize> {
        Box::pin(async move { Ok(self.give_back(claim, tags)) })
    }

    fn held<'a>(&'a self, claim: &'a Claim<'a>) -> Answer<'a, Vec<u64>> {
        Box::pin(async move { Ok(self.held(claim)) })
    }

    fn dead<'a>(&'a self, queue: &'a QueueName) -> Answer<'a, Dead> {
        Box::pin(async move { Ok(self.dead(queue)) })
    }

    fn adopt<'a>(
        &'a self,
        claim: &'a Claim<'a>,
        dead: &'a str,
        tag: u64,
        count: usize,
        patience: Duration,
    ) -> Answer<'a, Option<Taken>> {
        Box::pin(async move { Ok(self.adopt(claim, dead, tag, count, patience)) })
    }

    fn renew<'a>(&'a self, claim: &'a Claim<'a>) -> Answer<'a, Renewed> {
        Box::pin(async move { Ok(self.renew(claim)) })
    }

    fn leave<'a>(&'a self, claim: &'a Claim<'a>) -> Answer<'a, ()> {
        Box::pin(async move {
            self.leave(claim);
            Ok(())
        })
    }

    fn counts<'a>(&'a self, queue: &'a QueueName) -> Answer<'a, Counts> {
        Box::pin(async move { Ok(self.counts(queue)) })
    }

    /// Nothing to record: `queues` lists the queues themselves.
    fn note_queues<'a>(&'a self, _: &'a [QueueName]) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn queues(&self, _: Search) -> Answer<'_, Found> {
        Box::pin(async move { Ok(self.queues()) })
    }

    fn result<'a>(&'a self, id: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async move { Ok(self.result(id)) })
    }

    fn reply<'a>(&'a self, replies: &'a [Reply]) -> Answer<'a, ()> {
        Box::pin(async move {
            self.reply(replies);
            Ok(())
        })
    }

    fn ended<'a>(&'a self, id: &'a str) -> Answer<'a, Ended> {
        Box::pin(async move { Ok(self.ended(id)) })
    }

    fn wait_ended<'a>(&'a self, id: &'a str) -> Answer<'a, Ended> {
        Box::pin(async move { Ok(self.wait_ended(id).await) })
    }

    fn record<'a>(&'a self, queue: &'a QueueName, records: &'a [Record]) -> Answer<'a, ()> {
        Box::pin(async move {
            self.record(queue, records);
            Ok(())
        })
    }

    fn past<'a>(&'a self, queue: &'a QueueName, id: &'a str) -> Answer<'a, Past> {
        Box::pin(async move { Ok(self.past(queue, id)) })
    }

    fn report_progress<'a>(&'a self, reports: &'a [ProgressReport]) -> Answer<'a, ()> {
        Box::pin(async move {
            self.report_progress(reports);
            Ok(())
        })
    }

    fn progress<'a>(&'a self, id: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async move { Ok(self.progress(id)) })
    }

    fn claim_alert<'a>(&'a self, alert: &'a str, lasts: Duration) -> Answer<'a, bool> {
        Box::pin(async move { Ok(self.claim_alert(alert, lasts)) })
    }

    fn hold_alert<'a>(&'a self, alert: &'a str, lasts: Duration) -> Answer<'a, ()> {
        Box::pin(async move {
            self.hold_alert(alert, lasts);
            Ok(())
        })
    }

    fn note_successes<'a>(&'a self, queue: &'a QueueName, schedules: &'a [String]) -> Answer<'a, ()> {
        Box::pin(async move {
            self.note_successes(queue, schedules);
            Ok(())
        })
    }

    fn successes<'a>(&'a self, queue: &'a QueueName, schedules: &'a [String]) -> Answer<'a, Vec<Timestamp>> {
        Box::pin(async move { Ok(self.successes(queue, schedules)) })
    }

    fn now(&self) -> Answer<'_, Timestamp> {
        Box::pin(async move { Ok(Timestamp::now()) })
    }

    fn trouble(&self) -> Answer<'_, Option<String>> {
        Box::pin(async move { Ok(None) })
    }

    fn evicts(&self) -> Answer<'_, Option<String>> {
        Box::pin(async move { Ok(None) })
    }

    fn failed_len(&self) -> Answer<'_, u64> {
        Box::pin(async move { Ok(self.failed_len()) })
    }

    fn failed(&self, reach: Reach, count: u64) -> Answer<'_, (u64, Vec<Arrived>)> {
        Box::pin(async move { Ok(self.state().failed(reach, count)) })
    }

    fn take_failed<'a>(&'a self, picks: &'a [Pick]) -> Answer<'a, Vec<bool>> {
        Box::pin(async move { Ok(self.take_failed(picks)) })
    }

    fn join_failed(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn purge_failed(&self, count: u64) -> Answer<'_, u64> {
        Box::pin(async move { Ok(self.purge_failed(count)) })
    }

    fn retain_failed<'a>(&'a self, count: u64, last: &'a Arrived) -> Answer<'a, u64> {
        Box::pin(async move { Ok(self.retain_failed(count, last)) })
    }

    fn failed_dropped(&self) -> Answer<'_, u64> {
        Box::pin(async move { Ok(self.failed_dropped()) })
    }

    fn peek<'a>(&'a self, queue: &'a QueueName, place: Place, start: u64, count: usize) -> Answer<'a, Vec<Peeked>> {
        Box::pin(async move { Ok(self.peek(queue, place, start, count)) })
    }

    fn begin_request<'a>(&'a self, name: &'a str, note: &'a str, time: Duration) -> Answer<'a, Option<String>> {
        Box::pin(async move { Ok(self.begin_request(name, note, time)) })
    }

    fn end_request<'a>(&'a self, name: &'a str, note: &'a str, time: Duration) -> Answer<'a, ()> {
        Box::pin(async move {
            self.end_request(name, note, time);
            Ok(())
        })
    }

    fn note_deed<'a>(&'a self, note: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.note_deed(note);
            Ok(())
        })
    }

    fn add_up<'a>(&'a self, at: Timestamp, sums: &'a Sums) -> Answer<'a, ()> {
        Box::pin(async move {
            self.add_up(at, sums);
            Ok(())
        })
    }

    fn deeds(&self, count: usize) -> Answer<'_, Vec<String>> {
        Box::pin(async move { Ok(self.deeds(count)) })
    }

    fn sums(&self, span: Span, first: i64, count: usize) -> Answer<'_, Vec<Sums>> {
        Box::pin(async move { Ok(self.sums(span, first, count, |sum| sum.of != Of::Wait)) })
    }

    fn wait_sums(&self, span: Span, first: i64, count: usize) -> Answer<'_, Vec<Sums>> {
        Box::pin(async move { Ok(self.sums(span, first, count, |sum| sum.of == Of::Wait)) })
    }

    fn publish<'a>(&'a self, _host: &'a str, _report: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async move { Ok(None) })
    }

    fn amend<'a>(&'a self, _host: &'a str, _report: &'a str) -> Answer<'a, bool> {
        Box::pin(async move { Ok(false) })
    }

    fn withdraw<'a>(&'a self, _host: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { Ok(()) })
    }

    fn report<'a>(&'a self, _host: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async move { Ok(None) })
    }

    fn reports<'a>(&'a self, _known: &'a HashMap<String, String>) -> Answer<'a, Vec<Reported>> {
        Box::pin(async move { Ok(Vec::new()) })
    }

    fn keep_catalogue<'a>(&'a self, _name: &'a str, _text: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { Ok(()) })
    }

    fn catalogue<'a>(&'a self, _name: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async move { Ok(None) })
    }

    fn ask_release<'a>(&'a self, _plugin: &'a str, _token: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { Ok(()) })
    }

    fn release_asked<'a>(&'a self, _plugin: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async move { Ok(None) })
    }

    /// Here a settlement writes all at once.
    fn outbox<'a>(&'a self, _: &'a QueueName, _: Option<&'a str>, _: u64) -> Answer<'a, OutboxPage> {
        Box::pin(async { Ok(OutboxPage::default()) })
    }

    fn mark_batch<'a>(&'a self, _: &'a str, marks: &'a [Mark<'a>]) -> Answer<'a, Vec<Marked>> {
        Box::pin(async move {
            let mut state = self.state();
            Ok(marks.iter().map(|mark| state.batches.mark(mark.mark)).collect())
        })
    }

    fn batch<'a>(&'a self, id: &'a str) -> Answer<'a, Option<BatchState>> {
        Box::pin(async move { Ok(self.state().batches.get(id)) })
    }

    fn hand_on<'a>(&'a self, _: &'a QueueName, handed: &'a [HandedOn<'a>]) -> Answer<'a, Vec<bool>> {
        Box::pin(async { Ok(vec![false; handed.len()]) })
    }

    fn drop_from_outbox<'a>(&'a self, _: &'a QueueName, _: &'a [Written]) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn state_get<'a>(
        &'a self,
        bucket: &'a BucketId,
        keys: &'a [String],
        max_bytes: usize,
    ) -> Answer<'a, Result<Vec<Option<Entry>>, StateError>> {
        Box::pin(async move { Ok(self.state().bucket(bucket).get(keys, max_bytes, now_ms())) })
    }

    fn state_list<'a>(
        &'a self,
        bucket: &'a BucketId,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<String>> {
        Box::pin(async move { Ok(self.state().bucket(bucket).list(prefix, after, limit, now_ms())) })
    }

    fn state_write<'a>(
        &'a self,
        bucket: &'a BucketId,
        quota: Quota,
        changes: &'a [Change],
        _: Option<Once<'a>>,
    ) -> Answer<'a, Result<Vec<Changed>, StateError>> {
        Box::pin(async move { Ok(self.state().bucket(bucket).write(quota, changes, now_ms())) })
    }
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}
