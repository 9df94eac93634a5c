//! The store in this process' memory: the same moves as on Redis, each under one lock. For trying things out, for
//! tests, and for programs that embed Kiln. Its jobs are gone when the process ends.

mod alerts;
mod audit;
mod backend;
mod batches;
mod bucket;
mod cancels;
mod firing;
mod group;
mod histories;
mod history;
mod jobs;
mod keys;
mod marks;
mod orders;
mod peek;
mod replies;
mod requests;
mod state;
mod sums;
mod turns;
mod unique;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use state::{State, told};

use super::backend::SILENCE;
use super::counts::{Counts, HostState};
use super::limits::MAX_BATCH;
use super::moves::{Arrived, Claim, Dead, Found, Offer, Pick, Renewed, Taken, Wish};
use super::push::Push;
use super::queue_name::QueueName;
use super::settings::StoreSettings;
use crate::job::reply_of;
use crate::outcome::{Commit, Lane, Settlement};

#[derive(Debug)]
pub(super) struct MemoryStore {
    keep_results: bool,
    history_ttl: Duration,
    state: Mutex<State>,
    /// Notified whenever a ready list may have become non-empty.
    ready: Notify,
    /// Notified whenever a delayed set may have a new head.
    delayed: Notify,
    /// Notified whenever a lane may have become empty, or may have got its first job.
    lanes: Notify,
    /// Notified whenever operators order something.
    orders: Notify,
    /// Notified whenever a job has ended.
    ended: Notify,
}

impl MemoryStore {
    pub(super) fn new(settings: &StoreSettings) -> Self {
        Self {
            keep_results: !settings.result_ttl.is_zero(),
            history_ttl: settings.history_ttl,
            state: Mutex::default(),
            ready: Notify::new(),
            delayed: Notify::new(),
            lanes: Notify::new(),
            orders: Notify::new(),
            ended: Notify::new(),
        }
    }

    fn push(&self, jobs: &[Push]) {
        let mut state = self.state();
        for push in jobs {
            state.add(&push.queue, push.due_ms, push.job.clone().into_bytes());
        }
        self.ready.notify_waiters();
        self.delayed.notify_waiters();
    }

    fn fetch(&self, claim: &Claim<'_>, tag: u64, wish: Wish<'_>) -> Option<Taken> {
        let mut state = self.state();
        let queue = state.queue(claim.queue);
        if !queue.lives(claim.host) {
            return None;
        }
        if queue.paused.is_some() {
            return Some(Taken {
                paused: true,
                ..Taken::default()
            });
        }
        let (jobs, lanes) = queue.take_waiting_and_ready(&wish);
        let told = jobs.iter().map(|job| told(job)).collect();
        queue.hold(claim, tag, jobs);
        if !lanes.is_empty() || wish.longest.is_some() {
            self.lanes.notify_waiters();
        }
        Some(Taken {
            jobs: told,
            lanes,
            paused: false,
            cancels: queue.cancels.version(),
            at_us: queue.fetched_us(),
        })
    }

    fn piece(&self, claim: &Claim<'_>, tag: u64, skip: usize, bytes: usize) -> Option<Vec<u8>> {
        let mut state = self.state();
        let job = state.queue(claim.queue).in_flight.get(claim.host)?.get(&tag)?;
        Some(job.iter().skip(skip).take(bytes).copied().collect())
    }

    async fn wait_ready(&self, queues: &[QueueName]) {
        // Registered before the look, so that a push between the two is not missed.
        let ready = self.ready.notified();
        let none = {
            let mut state = self.state();
            queues.iter().all(|queue| state.queue(queue).ready.is_empty())
        };
        if none {
            // A time-out is no fault: the caller looks again.
            let _ = tokio::time::timeout(SILENCE, ready).await;
        }
    }

    async fn wait_due(&self, queues: &[QueueName]) -> Vec<QueueName> {
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

    async fn wait_lanes(&self, queues: &[QueueName], known: &[BTreeSet<Lane>]) -> Vec<BTreeSet<Lane>> {
        let changed = self.lanes.notified();
        let look = || -> Vec<BTreeSet<Lane>> {
            let mut state = self.state();
            let lanes = queues.iter().map(|queue| state.queue(queue).waiting().into_keys());
            lanes.map(Iterator::collect).collect()
        };
        let found = look();
        if found != known {
            return found;
        }
        let _ = tokio::time::timeout(SILENCE, changed).await;
        look()
    }

    fn settle(&self, claim: &Claim<'_>, batch: &[Offer<'_>]) -> Vec<u64> {
        let mut state = self.state();
        let (mut refused, mut replies) = (Vec::new(), Vec::new());
        for offer in batch {
            let Offer {
                tag,
                settlement,
                ends,
                note,
                lane,
                shuts,
                ..
            } = offer;
            let Some(job) = state.queue(claim.queue).take(claim.host, *tag) else {
                refused.push(*tag);
                continue;
            };
            state.queue(claim.queue).settles_of_key(offer);
            if let Some((stem, caps)) = lane.and_then(|lane| Some((lane.limited()?, lane.caps()?)))
                && let Some(group) = state.queue(claim.queue).groups.get_mut(stem)
            {
                group.give_back(caps, claim.host, *tag);
                if let Some(wait) = shuts {
                    group.shut(caps, *wait);
                }
            }
            if let Some(ends) = ends {
                let unended = &mut state.queue(claim.queue).unended;
                unended.retain(|schedule, at| schedule != ends.schedule || *at != ends.at);
            }
            if let Some(note) = note {
                state.commit(note, self.keep_results);
            }
            match settlement {
                Settlement::Ack { result } if self.keep_results => state.keep(result.clone()),
                Settlement::Ack { .. } | Settlement::Drop { .. } => {}
                Settlement::Commit(commit) => {
                    state.commit(commit, self.keep_results);
                    replies.extend(Commit::read(commit.as_bytes()).and_then(|commit| reply_of(&commit)));
                }
                Settlement::Retry { job, wait } => {
                    let due = Timestamp::now().saturating_add(*wait).unwrap_or(Timestamp::MAX);
                    state.add(claim.queue, Some(due.as_millisecond()), job.clone().into_bytes());
                }
                Settlement::Fail { entry } => state.failed.push_back(entry.clone().into_bytes()),
                Settlement::FailThere { head, otherwise } => state.failed.push_back(match job.strip_prefix(b"{") {
                    Some(rest) => [head.as_bytes(), rest].concat(),
                    None => otherwise.clone().into_bytes(),
                }),
                Settlement::Wait { lane } => state.queue(claim.queue).wait(lane, job),
                Settlement::Requeue => state.queue(claim.queue).ready.push_front(job),
            }
        }
        drop(state);
        self.reply(&replies);
        self.ready.notify_waiters();
        self.delayed.notify_waiters();
        self.lanes.notify_waiters();
        self.ended.notify_waiters();
        refused
    }

    fn give_back(&self, claim: &Claim<'_>, tags: &[u64]) -> usize {
        let mut state = self.state();
        let queue = state.queue(claim.queue);
        let mut gave_back = 0;
        for tag in tags {
            if let Some(job) = queue.take(claim.host, *tag) {
                queue.ready.push_front(job);
                gave_back += 1;
            }
        }
        self.ready.notify_waiters();
        self.lanes.notify_waiters();
        gave_back
    }

    fn result(&self, id: &str) -> Option<String> {
        let state = self.state();
        state
            .results
            .iter()
            .rev()
            .find(|(job, _)| job == id)
            .map(|(_, json)| json.clone())
    }

    fn promote(&self, queue: &QueueName) -> usize {
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

    fn renew(&self, claim: &Claim<'_>) -> Renewed {
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

    fn leave(&self, claim: &Claim<'_>) {
        let mut state = self.state();
        let queue = state.queue(claim.queue);
        if queue.in_flight.get(claim.host).is_none_or(BTreeMap::is_empty) {
            queue.leases.remove(claim.host);
        }
    }

    fn adopt(&self, claim: &Claim<'_>, dead: &str, tag: u64, count: usize, patience: Duration) -> Option<Taken> {
        let mut state = self.state();
        let queue = state.queue(claim.queue);
        if !queue.lives(claim.host) {
            return None;
        }
        if queue.lives(dead) || !queue.is_dead_for(dead, patience) {
            return Some(Taken::default());
        }
        let held = queue.in_flight.entry(dead.to_owned()).or_default();
        let (mut jobs, mut taken) = (Vec::new(), Taken::default());
        for _ in 0..count {
            let Some((_, job)) = held.pop_first() else { break };
            taken.jobs.push(told(&job));
            jobs.push(job);
        }
        if held.is_empty() {
            queue.in_flight.remove(dead);
            queue.leases.remove(dead);
            queue.found_dead.remove(dead);
        }
        queue.hold(claim, tag, jobs);
        self.lanes.notify_waiters();
        Some(taken)
    }

    fn held(&self, claim: &Claim<'_>) -> Vec<u64> {
        let mut state = self.state();
        let held = state.queue(claim.queue).in_flight.get(claim.host);
        held.map_or_else(Vec::new, |held| held.keys().copied().collect())
    }

    fn dead(&self, queue: &QueueName) -> Dead {
        let (now, mut state) = (Instant::now(), self.state());
        let leases = &state.queue(queue).leases;
        let (over, good): (Vec<_>, Vec<_>) = leases.iter().partition(|(_, ends)| **ends < now);
        Dead {
            hosts: over.into_iter().map(|(host, _)| host.clone()).collect(),
            next: good.into_iter().map(|(_, ends)| *ends - now).min(),
        }
    }

    fn counts(&self, queue: &QueueName) -> Counts {
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
            waiting: queue.waiting().values().sum(),
            lanes: queue
                .waiting()
                .into_iter()
                .map(|(lane, jobs)| (lane.to_string(), jobs))
                .collect(),
            delayed: queue.delayed.len() as u64,
            in_flight: queue.in_flight.values().map(|held| held.len() as u64).sum(),
            hosts,
            paused: queue.paused.clone(),
        }
    }

    fn queues(&self) -> Found {
        let mut queues: Vec<_> = self.state().queues.keys().cloned().collect();
        queues.sort();
        Found { queues, all: true }
    }

    fn failed_len(&self) -> u64 {
        self.state().failed.len() as u64
    }

    fn purge_failed(&self, count: u64) -> u64 {
        let mut state = self.state();
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(state.failed.len());
        state.failed.drain(..count).count() as u64
    }

    fn failed_dropped(&self) -> u64 {
        self.state().dropped
    }

    fn retain_failed(&self, count: u64, last: &Arrived) -> u64 {
        let mut state = self.state();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count == 0 || state.failed.get(count - 1).is_none_or(|entry| *entry != last.bytes) {
            return 0;
        }
        state.failed.drain(..count);
        state.dropped += count as u64;
        count as u64
    }

    fn take_failed(&self, picks: &[Pick]) -> Vec<bool> {
        let mut state = self.state();
        let taken = state.take_failed(picks);
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
