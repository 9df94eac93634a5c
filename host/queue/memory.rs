//! The store in this process: the same moves as on Redis, each under one lock. For trying out, for tests, and for
//! programs that embed Kiln. It is gone with the process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Claim, Counts, MAX_BATCH, Promotion, Push, QueueName, StoreSettings};
use crate::outcome::Settlement;

/// Results kept; the oldest goes first. Redis lets them expire instead.
const MAX_RESULTS: usize = 10_000;

/// Bytes of results kept.
const MAX_RESULTS_BYTES: usize = 64 * 1024 * 1024;

/// As long as a wait lasts, with or without a job.
const WAIT: Duration = Duration::from_secs(4);

#[derive(Debug, Clone)]
pub(super) struct MemoryStore {
    keep_results: bool,
    state: Arc<Mutex<State>>,
    /// Told whenever a ready list may have become non-empty.
    ready: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    queues: HashMap<QueueName, Queue>,
    failed: VecDeque<Vec<u8>>,
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
    leases: HashMap<String, Instant>,
}

impl MemoryStore {
    pub(super) fn new(settings: &StoreSettings) -> Self {
        Self {
            keep_results: !settings.result_ttl.is_zero(),
            state: Arc::default(),
            ready: Arc::default(),
        }
    }

    pub(super) fn push(&self, jobs: &[Push]) {
        let mut state = self.state();
        for push in jobs {
            state.add(&push.queue, push.due_ms, push.job.clone().into_bytes());
        }
        self.ready.notify_waiters();
    }

    pub(super) fn fetch(&self, claim: &Claim<'_>, tag: u64, count: usize) -> Vec<Vec<u8>> {
        let mut state = self.state();
        let queue = state.queue(claim.queue);
        let count = count.min(queue.ready.len());
        let jobs: Vec<_> = queue.ready.drain(..count).collect();
        queue.hold(claim, tag, &jobs);
        jobs
    }

    pub(super) async fn wait(&self, queue: &QueueName) {
        // Registered before the look, so that a push between the two is not missed.
        let ready = self.ready.notified();
        if self.state().queue(queue).ready.is_empty() {
            // Late is no fault: whoever waits looks again.
            let _ = tokio::time::timeout(WAIT, ready).await;
        }
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
                Settlement::Retry { job, due_ms } => state.add(claim.queue, Some(*due_ms), job.clone().into_bytes()),
                Settlement::Fail { entry } => state.failed.push_back(entry.clone().into_bytes()),
                Settlement::Requeue => state.queue(claim.queue).ready.push_front(job),
            }
        }
        self.ready.notify_waiters();
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

    pub(super) fn promote(&self, queue: &QueueName) -> Promotion {
        let now_ms = Timestamp::now().as_millisecond();
        let mut state = self.state();
        let queue = state.queue(queue);
        let mut moved = 0;
        while let Some(first) = queue.delayed.first_entry() {
            let (due_ms, _) = *first.key();
            if due_ms > now_ms || moved == MAX_BATCH {
                let next_due = Duration::from_millis(u64::try_from(due_ms - now_ms).unwrap_or(0));
                return self.promoted(moved, Some(next_due));
            }
            queue.ready.push_back(first.remove());
            moved += 1;
        }
        self.promoted(moved, None)
    }

    fn promoted(&self, moved: usize, next_due: Option<Duration>) -> Promotion {
        if moved > 0 {
            self.ready.notify_waiters();
        }
        Promotion { moved, next_due }
    }

    pub(super) fn renew(&self, claim: &Claim<'_>) -> bool {
        let now = Instant::now();
        let old = self
            .state()
            .queue(claim.queue)
            .leases
            .insert(claim.host.to_owned(), now + claim.lease);
        old.is_some_and(|ends| ends > now)
    }

    pub(super) fn leave(&self, claim: &Claim<'_>) {
        let mut state = self.state();
        let queue = state.queue(claim.queue);
        if queue.in_flight.get(claim.host).is_none_or(BTreeMap::is_empty) {
            queue.leases.remove(claim.host);
        }
    }

    pub(super) fn adopt(&self, claim: &Claim<'_>, dead: &str, tag: u64, count: usize) -> Vec<Vec<u8>> {
        let mut state = self.state();
        let queue = state.queue(claim.queue);
        if queue.leases.get(dead).is_some_and(|ends| *ends > Instant::now()) {
            return Vec::new();
        }
        let held = queue.in_flight.entry(dead.to_owned()).or_default();
        let jobs: Vec<_> = std::iter::from_fn(|| held.pop_first())
            .map(|(_, job)| job)
            .take(count)
            .collect();
        if held.is_empty() {
            queue.in_flight.remove(dead);
            queue.leases.remove(dead);
        }
        queue.hold(claim, tag, &jobs);
        jobs
    }

    pub(super) fn held(&self, claim: &Claim<'_>) -> Vec<u64> {
        let mut state = self.state();
        let held = state.queue(claim.queue).in_flight.get(claim.host);
        held.map_or_else(Vec::new, |held| held.keys().copied().collect())
    }

    fn leases(&self, queue: &QueueName) -> BTreeMap<String, i64> {
        let now = Instant::now();
        let left_ms = |ends: Instant| {
            let ahead = ends.saturating_duration_since(now).as_millis();
            let behind = now.saturating_duration_since(ends).as_millis();
            i64::try_from(ahead).unwrap_or(i64::MAX) - i64::try_from(behind).unwrap_or(i64::MAX)
        };
        self.state()
            .queue(queue)
            .leases
            .iter()
            .map(|(host, ends)| (host.clone(), left_ms(*ends)))
            .collect()
    }

    pub(super) fn counts(&self, queue: &QueueName) -> Counts {
        let hosts = self.leases(queue);
        let mut state = self.state();
        let queue = state.queue(queue);
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

    pub(super) fn failed(&self, start: u64, count: u64) -> Vec<Vec<u8>> {
        let usize_of = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        self.state()
            .failed
            .iter()
            .skip(usize_of(start))
            .take(usize_of(count))
            .cloned()
            .collect()
    }

    pub(super) fn delete_failed(&self, entry: &[u8]) -> bool {
        self.state().delete_failed(entry)
    }

    pub(super) fn purge_failed(&self, count: u64) -> u64 {
        let mut state = self.state();
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(state.failed.len());
        state.failed.drain(..count).count() as u64
    }

    pub(super) fn revive(&self, queue: &QueueName, entry: &[u8], job: Vec<u8>) -> bool {
        let mut state = self.state();
        let deleted = state.delete_failed(entry);
        if deleted {
            state.add(queue, None, job);
            self.ready.notify_waiters();
        }
        deleted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn delete_failed(&mut self, entry: &[u8]) -> bool {
        let place = self.failed.iter().position(|failed| failed == entry);
        place.and_then(|place| self.failed.remove(place)).is_some()
    }
}

impl Queue {
    fn hold(&mut self, claim: &Claim<'_>, tag: u64, jobs: &[Vec<u8>]) {
        if !jobs.is_empty() {
            self.in_flight
                .entry(claim.host.to_owned())
                .or_default()
                .extend((tag..).zip(jobs.iter().cloned()));
            self.leases.insert(claim.host.to_owned(), Instant::now() + claim.lease);
        }
    }
}
