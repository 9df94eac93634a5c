//! The store in Redis: one script for each move. No decision is made here.
//!
//! Where a prefix has no hash tag and Redis is a Cluster, the delayed set and the failed list are not in the slot of the
//! ready list. A move to them then takes three steps: look whether the delivery is still ours, write the destination,
//! remove the source. A crash in between leaves a job in both places, never in none.

mod bare;
mod look;
mod report;
mod unkept;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ::redis::{Cmd, ErrorKind, FromRedisValue, ParsingError, RedisError, ServerErrorKind, Value, cmd};
use jiff::Timestamp;

pub(super) use bare::RedisBare;
use unkept::Unkept;

use super::dialer::Dialer;
use super::key_watch::KeyWatch;
use super::keys::Keys;
use super::outage::is_outage;
use super::pool::{Pool, Script};
use super::{
    Arrived, Claim, MAX_BATCH, MAX_BATCH_BYTES, MAX_TAKEN_BYTES, Push, QueueError, QueueName, Renewed, StoreSettings,
    Taken, Wish, millis, score,
};
use crate::job::{DecodeError, KEPT_BYTES, wrap_partial};
use crate::outcome::Settlement;

/// Jobs sent in one command of a push: bounds what a large batch holds in memory twice.
const PUSH_JOBS: usize = 1_000;

/// How long a promotion to another slot may take before another host may try it: far longer than it takes.
const PROMOTION_CLAIM: Duration = Duration::from_secs(10);

/// How long it is remembered under which tags a host has taken jobs, and when a dead one was found: far longer than a
/// message can be on its way, or a host that keeps crashing waits before its next start.
const LAST_TAG_MS: u64 = 3_600_000;

macro_rules! scripts {
    ($($name:ident = $file:literal)*) => {
        $(static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!(concat!("scripts/", $file))));)*
    };
}

scripts! {
    ADOPT = "adopt.lua"
    CLAIM_DUE = "claim_due.lua"
    COUNTS = "counts.lua"
    DROP_CLAIMED = "drop_claimed.lua"
    FAILED_PAGE = "failed_page.lua"
    FETCH = "fetch.lua"
    LEAVE = "leave.lua"
    OURS = "ours.lua"
    PARK = "park.lua"
    PIECE = "piece.lua"
    PROMOTE = "promote.lua"
    PURGE = "purge.lua"
    PUSH_DELAYED = "push_delayed.lua"
    RENEW = "renew.lua"
    RETAIN = "retain.lua"
    SETTLE = "settle.lua"
    TAKE_FAILED = "take_failed.lua"
    UNPARK = "unpark.lua"
}

pub(super) struct RedisStore {
    pool: Pool,
    key_watch: KeyWatch,
    keys: Keys,
    /// Not all keys of a queue are in one slot.
    split: bool,
    result_ttl: Duration,
    unkept: Unkept,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    pub(super) async fn connect(settings: &StoreSettings) -> Result<Self, QueueError> {
        let dialer = Arc::new(Dialer::new(settings)?);
        let keys = Keys::new(&settings.prefix);
        Ok(Self {
            split: dialer.is_cluster() && !keys.in_one_slot(),
            pool: Pool::open(Arc::clone(&dialer)).await?,
            key_watch: KeyWatch::new(dialer),
            keys,
            result_ttl: settings.result_ttl,
            unkept: Unkept::default(),
        })
    }

    pub(super) async fn push(&self, jobs: &[Push]) -> Result<(), QueueError> {
        for jobs in jobs.chunks(PUSH_JOBS) {
            // One command for each key: the order within a queue stays, and between queues there is none.
            let (mut ready, mut delayed) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
            for push in jobs {
                let queue = push.queue.as_str();
                match push.due_ms {
                    None => ready.entry(queue).or_default().push(&push.job),
                    Some(due_ms) => delayed.entry(queue).or_default().push((&push.job, score(due_ms))),
                }
            }
            for (queue, jobs) in ready {
                self.run::<()>(cmd("RPUSH").arg(self.keys.ready(queue)).arg(jobs))
                    .await?;
            }
            for (queue, jobs) in delayed {
                let mut call = PUSH_DELAYED.keys(&[self.keys.delayed(queue)]);
                for (job, due) in jobs {
                    call.arg(job).arg(due);
                }
                self.pool.call::<()>(&call).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn fetch(&self, claim: &Claim<'_>, tag: u64, wish: Wish) -> Result<Option<Taken>, QueueError> {
        let last_tag = self.last_tag(claim);
        let mut call = FETCH.keys(&[self.ready(claim), self.in_flight(claim), self.leases(claim), last_tag]);
        call.arg(claim.host)
            .arg(claim.lease_ms())
            .arg(tag)
            .arg(wish.jobs)
            .arg(wish.bytes)
            .arg(LAST_TAG_MS)
            .arg(wish.largest)
            .arg(MAX_TAKEN_BYTES);
        let jobs: Option<Vec<Arrived>> = self.pool.call(&call).await?;
        Ok(jobs.map(|jobs| Taken { jobs, went_back: 0 }))
    }

    pub(super) async fn piece(
        &self,
        claim: &Claim<'_>,
        tag: u64,
        skip: usize,
        bytes: usize,
    ) -> Result<Option<Vec<u8>>, QueueError> {
        let mut call = PIECE.keys(&[self.in_flight(claim)]);
        self.pool.call(call.arg(tag).arg(skip).arg(bytes)).await
    }

    pub(super) async fn wait_ready(&self, queues: &[QueueName]) -> Result<(), QueueError> {
        let lists: Vec<_> = queues.iter().map(|queue| self.keys.ready(queue.as_str())).collect();
        self.key_watch.ready(&lists).await
    }

    pub(super) async fn wait_due(&self, queues: &[QueueName]) -> Result<Vec<QueueName>, QueueError> {
        let sets: Vec<_> = queues.iter().map(|queue| self.keys.delayed(queue.as_str())).collect();
        let due = self.key_watch.due(&sets).await?;
        Ok(due.into_iter().map(|at| queues[at].clone()).collect())
    }

    /// Settles a batch and returns how many of it were refused. `written` remembers what has reached its destination in
    /// another slot, so that a batch that is offered again writes nothing twice.
    pub(super) async fn settle(
        &self,
        claim: &Claim<'_>,
        batch: &[(u64, &Settlement)],
        written: &mut HashSet<u64>,
    ) -> Result<usize, QueueError> {
        let mut results = self.results(batch);
        if self.split {
            self.write_elsewhere(claim, batch, std::mem::take(&mut results), written)
                .await?;
        }
        match self.settle_here(claim, batch, written, &results).await {
            // A user who may not write results can still acknowledge.
            Err(QueueError::Redis(err)) if !results.is_empty() && err.code() == Some("NOPERM") => {
                let refused = self.settle_here(claim, batch, written, &[]).await?;
                self.unkept.note(results.len() as u64, &err.to_string());
                Ok(refused)
            }
            settled => settled,
        }
    }

    /// The one script of a settlement; where slots differ, its last step.
    async fn settle_here(
        &self,
        claim: &Claim<'_>,
        batch: &[(u64, &Settlement)],
        written: &HashSet<u64>,
        results: &[(u64, &str, &str)],
    ) -> Result<usize, QueueError> {
        let mut keys = vec![self.in_flight(claim), self.parked(claim), self.ready(claim)];
        if !self.split {
            // A key that nothing goes to is not named: the user may be kept from it.
            let named = |used: bool, key: String| if used { key } else { self.in_flight(claim) };
            let retries = batch.iter().any(|(_, fate)| matches!(fate, Settlement::Retry { .. }));
            let fails = batch.iter().any(|(_, fate)| matches!(fate, Settlement::Fail { .. }));
            keys.push(named(retries, self.keys.delayed(claim.queue.as_str())));
            keys.push(named(fails, self.keys.failed()));
            keys.extend(results.iter().map(|(_, id, _)| self.keys.result(id)));
        }
        let mut call = SETTLE.keys(&keys);
        let elsewhere =
            |fate: &Settlement| self.split && matches!(fate, Settlement::Retry { .. } | Settlement::Fail { .. });
        // What is not known to be at its destination stays where it is.
        let leaves = |(tag, fate): &&(u64, &Settlement)| {
            matches!(fate, Settlement::Ack { .. }) || (elsewhere(fate) && written.contains(tag))
        };
        let acks: Vec<u64> = batch.iter().filter(leaves).map(|(tag, _)| *tag).collect();
        call.arg(acks.len())
            .arg(results.len())
            .arg(self.result_ttl_ms())
            .arg(acks);
        for (tag, _, json) in results {
            call.arg(tag).arg(json);
        }
        let mut refused = 0;
        for (tag, settlement) in batch {
            match settlement {
                Settlement::Ack { .. } => {}
                fate if elsewhere(fate) => refused += usize::from(!written.contains(tag)),
                Settlement::Retry { job, wait } => _ = call.arg(tag).arg("retry").arg(job).arg(wait.as_secs_f64()),
                Settlement::Fail { entry } => _ = call.arg(tag).arg("fail").arg(entry).arg(0),
                Settlement::Requeue => _ = call.arg(tag).arg("requeue").arg("").arg(0),
            }
        }
        let bytes = batch.iter().map(|(_, fate)| fate.bytes()).sum();
        let (not_ours, lost, why): (usize, u64, String) = self.pool.call_with(&call, bytes).await?;
        if !results.is_empty() {
            self.unkept.note(lost, &why);
        }
        Ok(refused + not_ours)
    }

    /// The first two steps of moves to other slots, and of keeping results there: only whoever holds a delivery may.
    async fn write_elsewhere(
        &self,
        claim: &Claim<'_>,
        batch: &[(u64, &Settlement)],
        results: Vec<(u64, &str, &str)>,
        written: &mut HashSet<u64>,
    ) -> Result<(), QueueError> {
        let moves: Vec<_> = batch
            .iter()
            .filter(|(tag, fate)| {
                matches!(fate, Settlement::Retry { .. } | Settlement::Fail { .. }) && !written.contains(tag)
            })
            .collect();
        if moves.is_empty() && results.is_empty() {
            return Ok(());
        }
        let mut call = OURS.keys(&[self.in_flight(claim), self.leases(claim)]);
        call.arg(claim.host);
        for tag in moves
            .iter()
            .map(|(tag, _)| tag)
            .chain(results.iter().map(|(tag, ..)| tag))
        {
            call.arg(tag);
        }
        let ours: Option<HashSet<u64>> = self.pool.call(&call).await?;
        let Some(ours) = ours else {
            let queue = claim.queue.clone();
            return Err(QueueError::Lapsed { queue });
        };
        // An acknowledged job has its result: that is kept before.
        self.keep_elsewhere(results.into_iter().filter(|(tag, ..)| ours.contains(tag)))
            .await?;
        for (tag, settlement) in moves.into_iter().filter(|(tag, _)| ours.contains(tag)) {
            match settlement {
                Settlement::Retry { job, wait } => {
                    let mut call = PUSH_DELAYED.keys(&[self.keys.delayed(claim.queue.as_str())]);
                    let from_now = format!("+{}", wait.as_secs_f64());
                    self.pool.call::<()>(call.arg(job).arg(from_now)).await?;
                }
                Settlement::Fail { entry } => {
                    self.run::<()>(cmd("RPUSH").arg(self.keys.failed()).arg(entry)).await?;
                }
                Settlement::Ack { .. } | Settlement::Requeue => {}
            }
            written.insert(*tag);
        }
        Ok(())
    }

    /// Keeps results, each in a slot of its own.
    async fn keep_elsewhere(&self, results: impl Iterator<Item = (u64, &str, &str)>) -> Result<(), QueueError> {
        let sets: Vec<_> = results
            .map(|(_, id, json)| {
                let mut set = cmd("SET");
                set.arg(self.keys.result(id))
                    .arg(json)
                    .arg("PX")
                    .arg(self.result_ttl_ms());
                set
            })
            .collect();
        if sets.is_empty() {
            return Ok(());
        }
        let all = sets.len() as u64;
        match self.pool.run_all(sets).await {
            Ok(()) => self.unkept.note(0, ""),
            Err(QueueError::Redis(err)) if costs_only_results(&err) => self.unkept.note(all, &err.to_string()),
            Err(err) => return Err(err),
        }
        Ok(())
    }

    /// The batch's results: tag, the job's id, JSON text. None if they are not wanted.
    fn results<'b>(&self, batch: &[(u64, &'b Settlement)]) -> Vec<(u64, &'b str, &'b str)> {
        if self.result_ttl_ms() == 0 {
            return Vec::new();
        }
        let result = |(tag, settlement): &(u64, &'b Settlement)| match settlement {
            Settlement::Ack {
                result: Some((id, json)),
            } => Some((*tag, id.as_str(), json.as_str())),
            _ => None,
        };
        batch.iter().filter_map(result).collect()
    }

    fn result_ttl_ms(&self) -> u64 {
        u64::try_from(self.result_ttl.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) async fn park(&self, claim: &Claim<'_>, tag: u64) -> Result<(), QueueError> {
        let mut call = PARK.keys(&[self.in_flight(claim), self.parked(claim)]);
        self.pool.call(call.arg(tag)).await
    }

    pub(super) async fn unpark(&self, claim: &Claim<'_>, tag: u64) -> Result<bool, QueueError> {
        let mut call = UNPARK.keys(&[self.in_flight(claim), self.parked(claim)]);
        self.pool.call(call.arg(tag)).await
    }

    pub(super) async fn result(&self, id: &str) -> Result<Option<String>, QueueError> {
        self.run(cmd("GET").arg(self.keys.result(id))).await
    }

    /// Moves due jobs to ready and returns how many.
    pub(super) async fn promote(&self, queue: &QueueName) -> Result<usize, QueueError> {
        let (delayed, ready) = (self.keys.delayed(queue.as_str()), self.keys.ready(queue.as_str()));
        if self.split {
            return self.promote_across(queue, &delayed, &ready).await;
        }
        self.pool
            .call(PROMOTE.keys(&[delayed, ready]).arg(MAX_BATCH).arg(MAX_BATCH_BYTES))
            .await
    }

    /// The same to another slot, in three steps.
    async fn promote_across(&self, queue: &QueueName, delayed: &String, ready: &str) -> Result<usize, QueueError> {
        let delayed = std::slice::from_ref(delayed);
        let mut call = CLAIM_DUE.keys(delayed);
        call.arg(MAX_BATCH).arg(MAX_BATCH_BYTES).arg(PROMOTION_CLAIM.as_secs());
        call.arg(MAX_TAKEN_BYTES).arg(KEPT_BYTES);
        let Claimed { claim, jobs, too_large } = self.pool.call(&call).await?;
        if let Some(Arrived { bytes, len, sha1 }) = too_large {
            let err = DecodeError::TooLarge { len };
            tracing::warn!(%queue, bytes = len, %err, "malformed job");
            let entry = wrap_partial(&bytes, len, sha1, queue.as_str(), &err, Timestamp::now());
            self.run::<()>(cmd("RPUSH").arg(self.keys.failed()).arg(entry)).await?;
            self.run::<()>(cmd("ZREMRANGEBYSCORE").arg(delayed).arg(&claim).arg(&claim))
                .await?;
            return Ok(1);
        }
        if !jobs.is_empty() {
            self.run::<()>(cmd("RPUSH").arg(ready).arg(&jobs)).await?;
            self.pool
                .call::<()>(DROP_CLAIMED.keys(delayed).arg(claim).arg(&jobs))
                .await?;
        }
        Ok(jobs.len())
    }

    /// The time by Redis' own clock; in a Cluster by that of one of its servers.
    pub(super) async fn now(&self) -> Result<Timestamp, QueueError> {
        let (s, us): (i64, i64) = self.run(&cmd("TIME")).await?;
        Ok(Timestamp::from_microsecond(s.saturating_mul(1_000_000).saturating_add(us)).unwrap_or(Timestamp::MAX))
    }

    pub(super) async fn renew(&self, claim: &Claim<'_>) -> Result<Renewed, QueueError> {
        self.pool.trim();
        let mut call = RENEW.keys(&[self.leases(claim)]);
        call.arg(claim.host).arg(claim.lease_ms());
        let (kept, now_ms): (bool, i64) = self.pool.call(&call).await?;
        let at = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::MAX);
        Ok(Renewed { kept, at })
    }

    pub(super) async fn leave(&self, claim: &Claim<'_>) -> Result<(), QueueError> {
        let mut call = LEAVE.keys(&[
            self.leases(claim),
            self.in_flight(claim),
            self.last_tag(claim),
            self.parked(claim),
        ]);
        self.pool.call(call.arg(claim.host)).await
    }

    pub(super) async fn adopt(
        &self,
        claim: &Claim<'_>,
        dead: &str,
        tag: u64,
        count: usize,
        patience: Duration,
    ) -> Result<Option<Taken>, QueueError> {
        let queue = claim.queue.as_str();
        let mut call = ADOPT.keys(&[
            self.leases(claim),
            self.keys.in_flight(queue, dead),
            self.in_flight(claim),
            self.ready(claim),
            self.keys.parked(queue, dead),
            self.last_tag(claim),
            self.keys.found_dead(queue, dead),
        ]);
        call.arg(dead)
            .arg(claim.host)
            .arg(claim.lease_ms())
            .arg(tag)
            .arg(count)
            .arg(MAX_BATCH_BYTES)
            .arg(LAST_TAG_MS)
            .arg(millis(patience))
            .arg(MAX_TAKEN_BYTES);
        let taken: Option<(usize, Vec<Arrived>)> = self.pool.call(&call).await?;
        Ok(taken.map(|(went_back, jobs)| Taken { jobs, went_back }))
    }

    pub(super) async fn held(&self, claim: &Claim<'_>) -> Result<Vec<u64>, QueueError> {
        self.run(cmd("HKEYS").arg(self.in_flight(claim))).await
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

    fn parked(&self, claim: &Claim<'_>) -> String {
        self.keys.parked(claim.queue.as_str(), claim.host)
    }

    fn last_tag(&self, claim: &Claim<'_>) -> String {
        self.keys.last_tag(claim.queue.as_str(), claim.host)
    }

    fn leases(&self, claim: &Claim<'_>) -> String {
        self.keys.leases(claim.queue.as_str())
    }
}

/// What a promotion to another slot has claimed.
struct Claimed {
    claim: String,
    jobs: Vec<Vec<u8>>,
    /// One that is not brought to any host. It is claimed alone.
    too_large: Option<Arrived>,
}

impl FromRedisValue for Claimed {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let mut parts = Vec::<Value>::from_redis_value(value)?.into_iter();
        let mut part = || parts.next().unwrap_or(Value::Nil);
        Ok(Self {
            claim: FromRedisValue::from_redis_value(part())?,
            jobs: FromRedisValue::from_redis_value(part())?,
            too_large: FromRedisValue::from_redis_value(part())?,
        })
    }
}

/// Its bytes, or the first of them, how many there are, and perhaps their digest.
impl FromRedisValue for Arrived {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        if let Value::BulkString(bytes) = value {
            return Ok(bytes.into());
        }
        let mut parts = Vec::<Value>::from_redis_value(value)?.into_iter();
        let mut part = || parts.next().unwrap_or(Value::Nil);
        Ok(Self {
            bytes: FromRedisValue::from_redis_value(part())?,
            len: FromRedisValue::from_redis_value(part())?,
            sha1: FromRedisValue::from_redis_value(part())?,
        })
    }
}

/// Whether an error need not keep a job from being acknowledged. A Redis out of memory takes no results, but it does take
/// acknowledgements, and those make room. What a Cluster has moved can be kept the next time: by then it is known where.
fn costs_only_results(err: &RedisError) -> bool {
    use ServerErrorKind::{Ask, Moved};
    let has_moved = matches!(err.kind(), ErrorKind::Server(Moved | Ask));
    err.code() == Some("OOM") || !(is_outage(err) || has_moved)
}
