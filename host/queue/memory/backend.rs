//! The store in memory as a [`Backend`]: each call does its work at once.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::MemoryStore;
use crate::outcome::Lane;
use crate::queue::backend::{Answer, Backend};
use crate::queue::counts::Counts;
use crate::queue::moves::{
    Arrived, Claim, Found, Offer, Once, OutboxPage, Pick, Reach, Renewed, Search, Taken, Wish, Written,
};
use crate::queue::push::Push;
use crate::queue::queue_name::QueueName;
use crate::state::{BucketId, Change, Changed, Entry, Quota, StateError};

impl Backend for MemoryStore {
    fn push<'a>(&'a self, jobs: &'a [Push]) -> Answer<'a, ()> {
        Box::pin(async move {
            self.push(jobs);
            Ok(())
        })
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

    fn fetch<'a>(&'a self, claim: &'a Claim<'a>, tag: u64, wish: Wish<'a>) -> Answer<'a, Option<Taken>> {
        Box::pin(async move { Ok(self.fetch(claim, tag, wish)) })
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

    fn dead<'a>(&'a self, queue: &'a QueueName) -> Answer<'a, Vec<String>> {
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

    fn publish<'a>(&'a self, _host: &'a str, _report: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { Ok(()) })
    }

    fn withdraw<'a>(&'a self, _host: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { Ok(()) })
    }

    fn reports(&self) -> Answer<'_, Vec<(String, String)>> {
        Box::pin(async move { Ok(Vec::new()) })
    }

    fn ask_release<'a>(&'a self, _plugin: &'a str, _token: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { Ok(()) })
    }

    fn release_asked<'a>(&'a self, _plugin: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async move { Ok(None) })
    }

    /// Here a settlement writes all at once.
    fn outbox<'a>(&'a self, _: &'a QueueName, _: u64) -> Answer<'a, OutboxPage> {
        Box::pin(async { Ok(OutboxPage::default()) })
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
