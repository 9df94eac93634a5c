//! The store in this process: the same moves as on Redis, each under one lock. For trying out, for tests, and for
//! programs that embed Kiln. It is gone with the process.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::failed::Pick;
use super::key_watch::SILENCE;
use super::{
    Arrived, Claim, Counts, HostState, MAX_BATCH, MAX_BATCH_BYTES, Push, QueueName, Renewed, StoreSettings, Taken, Wish,
};
use crate::outcome::Settlement;

/// Results kept; the oldest goes first. Redis lets them expire instead.
const MAX_RESULTS: usize = 10_000;

/// Bytes of results kept.
const MAX_RESULTS_BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, Clone)]
pub(super) struct MemoryStore {
    keep_results: bool,
    state: Arc<Mutex<State>>,
    /// Told whenever a ready list may have become non-empty.
    ready: Arc<Notify>,
    /// Told whenever a delayed set may have a new head.
    delayed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    queues: HashMap<QueueName, Queue>,
    failed: VecDeque<Vec<u8>>,
    dropped: u64,
    /// The latest results, the oldest first.
    results: VecDeque<(String, String)>,
    result_bytes: usize,
    pushed: u64,
}

#[derive(Debug, Default)]
struct Queue {
    ready: VecDeque<Vec<u8>>,
    /// By the time due and the order of arrival, so that equal jobs stay two.
    delayed: BTreeMap<(i64, u64), Vec<u8>>,
    in_flight: HashMap<String, BTreeMap<u64, Vec<u8>>>,
    parked: HashMap<String, BTreeSet<u64>>,
    leases: HashMap<String, Instant>,
    /// When a host found that the lease of another had run out, and took nothing over yet.
    found_dead: HashMap<String, Instant>,
}

impl MemoryStore {
    pub(super) fn new(settings: &StoreSettings) -> Self {
        Self {
            keep_results: !settings.result_ttl.is_zero(),
            state: Arc::default(),
            ready: Arc::default(),
            delayed: Arc::default(),
        }
    }

    pub(super) fn push(&self, jobs: &[Push]) {
        let mut state = self.state();
        for push in jobs {
            state.add(&push.queue, push.due_ms, push.job.clone().into_bytes());
        }
        self.ready.notify_waiters();
        self.delayed.notify_waiters();
    }

    pub(super) fn fetch(&self, claim: &Claim<'_>, tag: u64, wish: Wish) -> Option<Taken> {
        let mut state = self.state();
        let queue = state.queue(claim.queue);
        if !queue.lives(claim.host) {
            return None;
        }
        let mut size = 0;
        let fits = queue.ready.iter().take(wish.jobs).take_while(|job| {
            size += job.len();
            size <= wish.bytes
        });
        let count = fits.count().max(1).min(queue.ready.len());
        let jobs: Vec<_> = queue.ready.drain(..count).collect();
        let told = jobs.iter().map(|job| told(job)).collect();
        queue.hold(claim, tag, jobs);
        Some(Taken {
            jobs: told,
            went_back: 0,
        })
    }

    pub(super) fn piece(&self, claim: &Claim<'_>, tag: u64, skip: usize, bytes: usize) -> Option<Vec<u8>> {
        let mut state = self.state();
        let job = state.queue(claim.queue).in_flight.get(claim.host)?.get(&tag)?;
        Some(job.iter().skip(skip).take(bytes).copied().collect())
    }

    pub(super) async fn wait_ready(&self, queues: &[QueueName]) {
        // Registered before the look, so that a push between the two is not missed.
        let ready = self.ready.notified();
        let none = {
            let mut state = self.state();
            queues.iter().all(|queue| state.queue(queue).ready.is_empty())
        };
        if none {
            // Late is no fault: whoever waits looks again.
            let _ = tokio::time::timeout(SILENCE, ready).await;
        }
    }

    pub(super) async fn wait_due(&self, queues: &[QueueName]) -> Vec<QueueName> {
        let delayed = self.delayed.notified();
        let now_ms = Timestamp::now().as_millisecond();
        let (mut due, mut next) = (Vec::new(), SILENCE);
        for queue in queues {
            let mut state = self.state();
            let Some((&(due_ms, _), _)) = state.queue(queue).delayed.first_key_value() else {
                continue;
            };
            match u64::try_from(due_ms - now_ms) {
                Ok(left @ 1..) => next = next.min(Duration::from_millis(left)),
                _ => due.push(queue.clone()),
            }
        }
        if due.is_empty() {
            let _ = tokio::time::timeout(next, delayed).await;
        }
        due
    }

    pub(super) fn park(&self, claim: &Claim<'_>, tag: u64) {
        let mut state = self.state();
        let queue = state.queue(claim.queue);
        if queue.holds(claim.host, tag) {
            queue.parked.entry(claim.host.to_owned()).or_default().insert(tag);
        }
    }

    pub(super) fn unpark(&self, claim: &Claim<'_>, tag: u64) -> bool {
        let mut state = self.state();
        let queue = state.queue(claim.queue);
        queue.unpark(claim.host, tag);
        queue.holds(claim.host, tag)
    }

    pub(super) fn settle(&self, claim: &Claim<'_>, batch: &[(u64, &Settlement)]) -> usize {
        let mut state = self.state();
        let mut refused = 0;
        for (tag, settlement) in batch {
            let held = state.queue(claim.queue).in_flight.get_mut(claim.host);
            let Some(job) = held.and_then(|held| held.remove(tag)) else {
                refused += 1;
                continue;
            };
            match settlement {
                Settlement::Ack { result } if self.keep_results => state.keep(result.clone()),
                Settlement::Ack { .. } => {}
                Settlement::Retry { job, wait } => {
                    let due = Timestamp::now().saturating_add(*wait).unwrap_or(Timestamp::MAX);
                    state.add(claim.queue, Some(due.as_millisecond()), job.clone().into_bytes());
                }
                Settlement::Fail { entry } => state.failed.push_back(entry.clone().into_bytes()),
                Settlement::Requeue => {
                    let queue = state.queue(claim.queue);
                    queue.unpark(claim.host, *tag);
                    queue.ready.push_front(job);
                }
            }
        }
        self.ready.notify_waiters();
        self.delayed.notify_waiters();
        refused
    }

    pub(super) fn result(&self, id: &str) -> Option<String> {
        let state = self.state();
        state
            .results
            .iter()
            .rev()
            .find(|(job, _)| job == id)
            .map(|(_, json)| json.clone())
    }

    pub(super) fn promote(&self, queue: &QueueName) -> usize {
        let now_ms = Timestamp::now().as_millisecond();
        let mut state = self.state();
        let queue = state.queue(queue);
        let mut moved = 0;
        while let Some(first) = queue.delayed.first_entry() {
            let (due_ms, _) = *first.key();
            if due_ms > now_ms || moved == MAX_BATCH {
                break;
            }
            queue.ready.push_back(first.remove());
            moved += 1;
        }
        if moved > 0 {
            self.ready.notify_waiters();
        }
        moved
    }

    pub(super) fn renew(&self, claim: &Claim<'_>) -> Renewed {
        let now = Instant::now();
        let old = self
            .state()
            .queue(claim.queue)
            .leases
            .insert(claim.host.to_owned(), now + claim.lease);
        Renewed {
            kept: old.is_some_and(|ends| ends > now),
            at: Timestamp::now(),
        }
    }

    pub(super) fn leave(&self, claim: &Claim<'_>) {
        let mut state = self.state();
        let queue = state.queue(claim.queue);
        if queue.in_flight.get(claim.host).is_none_or(BTreeMap::is_empty) {
            queue.leases.remove(claim.host);
        }
    }

    pub(super) fn adopt(
        &self,
        claim: &Claim<'_>,
        dead: &str,
        tag: u64,
        count: usize,
        patience: Duration,
    ) -> Option<Taken> {
        let mut state = self.state();
        let queue = state.queue(claim.queue);
        if !queue.lives(claim.host) {
            return None;
        }
        if queue.lives(dead) || !queue.is_dead_for(dead, patience) {
            return Some(Taken::default());
        }
        let held = queue.in_flight.entry(dead.to_owned()).or_default();
        let parked = queue.parked.entry(dead.to_owned()).or_default();
        let (mut jobs, mut taken) = (Vec::new(), Taken::default());
        // The last fetched first, so that what goes back to the front does so in its order.
        for _ in 0..count {
            let Some((tag, job)) = held.pop_last() else { break };
            if parked.remove(&tag) {
                queue.ready.push_front(job);
                taken.went_back += 1;
            } else {
                taken.jobs.push(told(&job));
                jobs.push(job);
            }
        }
        if held.is_empty() {
            queue.in_flight.remove(dead);
            queue.parked.remove(dead);
            queue.leases.remove(dead);
            queue.found_dead.remove(dead);
        }
        queue.hold(claim, tag, jobs);
        self.ready.notify_waiters();
        Some(taken)
    }

    pub(super) fn held(&self, claim: &Claim<'_>) -> Vec<u64> {
        let mut state = self.state();
        let held = state.queue(claim.queue).in_flight.get(claim.host);
        held.map_or_else(Vec::new, |held| held.keys().copied().collect())
    }

    pub(super) fn counts(&self, queue: &QueueName) -> Counts {
        let now = Instant::now();
        let left_ms = |ends: Instant| {
            let ahead = ends.saturating_duration_since(now).as_millis();
            let behind = now.saturating_duration_since(ends).as_millis();
            i64::try_from(ahead).unwrap_or(i64::MAX) - i64::try_from(behind).unwrap_or(i64::MAX)
        };
        let mut state = self.state();
        let queue = state.queue(queue);
        let host = |(host, ends): (&String, &Instant)| {
            let state = HostState {
                lease_left_ms: left_ms(*ends),
                in_flight: queue.in_flight.get(host).map_or(0, |held| held.len() as u64),
            };
            (host.clone(), state)
        };
        let hosts = queue.leases.iter().map(host).collect();
        Counts {
            ready: queue.ready.len() as u64,
            delayed: queue.delayed.len() as u64,
            in_flight: queue.in_flight.values().map(|held| held.len() as u64).sum(),
            hosts,
        }
    }

    pub(super) fn queues(&self) -> Vec<QueueName> {
        let mut queues: Vec<_> = self.state().queues.keys().cloned().collect();
        queues.sort();
        queues
    }

    pub(super) fn failed_len(&self) -> u64 {
        self.state().failed.len() as u64
    }

    pub(super) fn failed(&self, start: u64, count: u64) -> Vec<Arrived> {
        let usize_of = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        self.state()
            .failed
            .iter()
            .skip(usize_of(start))
            .take(usize_of(count))
            .map(|entry| Arrived::from(entry.clone()))
            .collect()
    }

    pub(super) fn purge_failed(&self, count: u64) -> u64 {
        let mut state = self.state();
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(state.failed.len());
        state.failed.drain(..count).count() as u64
    }

    pub(super) fn failed_dropped(&self) -> u64 {
        self.state().dropped
    }

    pub(super) fn retain_failed(&self, count: u64, last: &Arrived) -> u64 {
        let mut state = self.state();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count == 0 || state.failed.get(count - 1).is_none_or(|entry| *entry != last.bytes) {
            return 0;
        }
        state.failed.drain(..count);
        state.dropped += count as u64;
        count as u64
    }

    pub(super) fn take_failed(&self, picks: &[Pick]) -> Vec<bool> {
        let mut state = self.state();
        // The last first, so that the places of the others stay.
        let mut taken: Vec<_> = picks
            .iter()
            .rev()
            .map(|pick| state.take_failed(&pick.entry, pick.place))
            .collect();
        taken.reverse();
        for (pick, _) in picks.iter().zip(&taken).filter(|(_, taken)| **taken) {
            if let Some((queue, job)) = &pick.job {
                state.add(queue, None, job.clone());
            }
        }
        self.ready.notify_waiters();
        taken
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn queue(&mut self, queue: &QueueName) -> &mut Queue {
        self.queues.entry(queue.clone()).or_default()
    }

    fn add(&mut self, queue: &QueueName, due_ms: Option<i64>, job: Vec<u8>) {
        self.pushed += 1;
        let order = self.pushed;
        let queue = self.queue(queue);
        match due_ms {
            Some(due_ms) => _ = queue.delayed.insert((due_ms, order), job),
            None => queue.ready.push_back(job),
        }
    }

    fn keep(&mut self, result: Option<(String, String)>) {
        let Some(result) = result else { return };
        self.result_bytes += result.1.len();
        self.results.push_back(result);
        while self.results.len() > MAX_RESULTS || self.result_bytes > MAX_RESULTS_BYTES {
            let Some((_, json)) = self.results.pop_front() else {
                return;
            };
            self.result_bytes -= json.len();
        }
    }

    fn take_failed(&mut self, entry: &Arrived, place: u64) -> bool {
        let is_it = |place: &usize| self.failed.get(*place).is_some_and(|failed| *failed == entry.bytes);
        let place = usize::try_from(place).ok().filter(is_it);
        let place = place.or_else(|| self.failed.iter().position(|failed| *failed == entry.bytes));
        place.and_then(|place| self.failed.remove(place)).is_some()
    }
}

/// What is told of a job that is moved: as much of it as one message from Redis would bring.
fn told(job: &[u8]) -> Arrived {
    Arrived {
        bytes: job[..job.len().min(MAX_BATCH_BYTES)].to_vec(),
        sha1: None,
        len: job.len(),
    }
}

impl Queue {
    fn lives(&self, host: &str) -> bool {
        self.leases.get(host).is_some_and(|ends| *ends > Instant::now())
    }

    /// Whether somebody found so long ago that the lease of this host, as it is now, had run out. Takes note if nobody did.
    fn is_dead_for(&mut self, host: &str, patience: Duration) -> bool {
        if patience.is_zero() {
            return true;
        }
        let now = Instant::now();
        let ended = self.leases.get(host).copied();
        let found = self.found_dead.entry(host.to_owned()).or_insert(now);
        if ended.is_some_and(|ended| *found < ended) {
            *found = now;
        }
        now.duration_since(*found) >= patience
    }

    fn holds(&self, host: &str, tag: u64) -> bool {
        self.in_flight.get(host).is_some_and(|held| held.contains_key(&tag))
    }

    fn unpark(&mut self, host: &str, tag: u64) {
        if let Some(parked) = self.parked.get_mut(host) {
            parked.remove(&tag);
        }
    }

    fn hold(&mut self, claim: &Claim<'_>, tag: u64, jobs: Vec<Vec<u8>>) {
        if !jobs.is_empty() {
            self.in_flight
                .entry(claim.host.to_owned())
                .or_default()
                .extend((tag..).zip(jobs));
            self.leases.insert(claim.host.to_owned(), Instant::now() + claim.lease);
        }
    }
}
