//! The contents of a store in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::batches::Batches;
use super::bucket::Bucket;
use super::group::Group;
use super::histories::Histories;
use super::marks::Marks;
use crate::job::{Reply, called_back};
use crate::outcome::{Commit, Lane, NewJob};
use crate::queue::limits::MAX_BATCH_BYTES;
use crate::queue::moves::{Arrived, Claim, LaneTaken, LaneWish, Pick, Reach, Wish};
use crate::queue::orders::Pause;
use crate::queue::queue_name::QueueName;
use crate::queue::sums::{Span, Sums};
use crate::state::BucketId;

/// Most results kept; the oldest is dropped first. Redis lets them expire instead.
const MAX_RESULTS: usize = 10_000;

/// Most bytes of results kept.
const MAX_RESULTS_BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) queues: HashMap<QueueName, Queue>,
    pub(super) failed: VecDeque<Vec<u8>>,
    pub(super) dropped: u64,
    /// The latest results, the oldest first.
    pub(super) results: VecDeque<(String, String)>,
    pub(super) result_bytes: usize,
    /// The latest answers to those who wait for jobs, the oldest first.
    pub(super) replies: VecDeque<Reply>,
    pub(super) pushed: u64,
    pub(super) batches: Batches,
    pub(super) buckets: HashMap<BucketId, Bucket>,
    pub(super) paused_jobs: BTreeMap<String, Pause>,
    /// What operators did, the oldest first.
    pub(super) deeds: VecDeque<String>,
    /// Requests to push that are remembered, the oldest first.
    pub(super) requests: VecDeque<Request>,
    /// Sums over time, by the span and its number.
    pub(super) sums: BTreeMap<(Span, i64), Sums>,
    /// Claimed alerts, each with when the claim ends.
    pub(super) alerts: HashMap<String, Instant>,
    /// What running attempts reported last, by their jobs' ids.
    pub(super) progress: HashMap<String, String>,
}

/// A request to push that is remembered.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) name: String,
    pub(super) note: String,
    pub(super) until: Instant,
}

impl Request {
    pub(super) fn new(name: &str, note: &str, time: Duration) -> Self {
        Self {
            name: name.to_owned(),
            note: note.to_owned(),
            until: Instant::now() + time,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) ready: VecDeque<Vec<u8>>,
    /// By due time and order of arrival, so that equal jobs stay two.
    pub(super) delayed: BTreeMap<(i64, u64), Vec<u8>>,
    pub(super) in_flight: HashMap<String, BTreeMap<u64, Vec<u8>>>,
    /// Jobs in lanes. A lane without jobs is not in the map.
    pub(super) lanes: BTreeMap<Lane, VecDeque<Vec<u8>>>,
    /// Groups of lanes, by their plugin.
    pub(super) groups: HashMap<String, Group>,
    pub(super) leases: HashMap<String, Instant>,
    /// When a host found that the lease of another had run out, without taking over yet.
    pub(super) found_dead: HashMap<String, Instant>,
    pub(super) paused: Option<Pause>,
    pub(super) cancels: Marks,
    pub(super) histories: Histories,
    pub(super) schedules: HashMap<String, LastInstant>,
    /// The jobs of schedules that have not ended, by the schedule.
    pub(super) unended: HashMap<String, Timestamp>,
    /// When jobs of schedules last succeeded.
    pub(super) successes: HashMap<String, Timestamp>,
    /// When jobs were last fetched, in Unix microseconds.
    fetched_us: u64,
}

/// The last instant of a schedule, and what the wall clock showed.
#[derive(Debug, Clone)]
pub(super) struct LastInstant {
    pub(super) at: Timestamp,
    pub(super) label: String,
}

impl State {
    pub(super) fn queue(&mut self, queue: &QueueName) -> &mut Queue {
        self.queues.entry(queue.clone()).or_default()
    }

    pub(super) fn add(&mut self, queue: &QueueName, due_ms: Option<i64>, job: Vec<u8>) {
        self.pushed += 1;
        let order = self.pushed;
        let queue = self.queue(queue);
        match due_ms {
            Some(due_ms) => _ = queue.delayed.insert((due_ms, order), job),
            None => queue.ready.push_back(job),
        }
    }

    pub(super) fn bucket(&mut self, bucket: &BucketId) -> &mut Bucket {
        self.buckets.entry(bucket.clone()).or_default()
    }

    /// Carries out the writes of an acknowledged job.
    pub(super) fn commit(&mut self, commit: &str, keep_result: bool) {
        let Some(commit) = Commit::read(commit.as_bytes()) else {
            return;
        };
        let now_ms = Timestamp::now().as_millisecond();
        for write in &commit.writes {
            let bucket = self.bucket(&write.bucket);
            let left_out = bucket.write_what_can_be(write.quota, &write.changes, now_ms);
            if left_out > 0 {
                tracing::warn!(left_out, "a completed job wrote what cannot be kept");
            }
        }
        let mut jobs = commit.jobs;
        for mark in commit.batches {
            let marked = self.batches.mark(&mark);
            let callbacks = [
                (marked.then, mark.then),
                (marked.complete, mark.complete),
                (marked.late, mark.late),
            ];
            let callbacks = callbacks
                .into_iter()
                .filter_map(|(is_due, callback)| callback.filter(|_| is_due));
            jobs.extend(callbacks.map(|callback| called_back(callback, &mark.id, marked.sizes)));
        }
        for NewJob { queue, job, due_ms } in jobs {
            if let Ok(queue) = QueueName::new(&queue) {
                self.add(&queue, due_ms, job.get().as_bytes().to_vec());
            }
        }
        if keep_result {
            self.keep(commit.result);
        }
    }

    pub(super) fn keep(&mut self, result: Option<(String, String)>) {
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

    /// Entries of the failed list, and the place of the first.
    pub(super) fn failed(&self, reach: Reach, count: u64) -> (u64, Vec<Arrived>) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(self.failed.len());
        let mut size = 0;
        let fits = |entry: &&Vec<u8>| {
            let is_first = size == 0;
            size += entry.len();
            is_first || size <= MAX_BATCH_BYTES
        };
        let (start, entries): (_, Vec<_>) = match reach {
            Reach::From(place) => {
                let start = at(place);
                (start, self.failed.range(start..).take(count).take_while(fits).collect())
            }
            Reach::Before(place) => {
                let end = at(place);
                let before = self.failed.range(..end).rev().take(count).take_while(fits);
                let mut before: Vec<_> = before.collect();
                before.reverse();
                (end - before.len(), before)
            }
        };
        let entries = entries.into_iter().map(|entry| Arrived::from(entry.clone()));
        (start as u64, entries.collect())
    }

    /// Takes entries out of the failed list, all in one go. Returns for each whether it was there, at the place where
    /// it was read or before it.
    pub(super) fn take_failed(&mut self, picks: &[Pick]) -> Vec<bool> {
        let mut taken = BTreeSet::new();
        let mut gone = 0;
        let there = picks.iter().map(|pick| {
            let place = usize::try_from(pick.place).ok()?.checked_sub(gone)?;
            let is_it = |place: &usize| self.failed.get(*place).is_some_and(|entry| *entry == pick.entry.bytes);
            let found = Some(place).filter(is_it).or_else(|| (0..place).find(is_it))?;
            gone += place - found;
            taken.insert(found).then_some(())
        });
        let there = there.map(|there| there.is_some()).collect();
        let mut place = 0;
        self.failed.retain(|_| {
            place += 1;
            !taken.contains(&(place - 1))
        });
        there
    }
}

/// What a move returns of a job: as much of it as one message from Redis would carry.
pub(super) fn told(job: &[u8]) -> Arrived {
    Arrived {
        bytes: job[..job.len().min(MAX_BATCH_BYTES)].to_vec(),
        sha1: None,
        len: job.len(),
    }
}

impl Queue {
    pub(super) fn lives(&self, host: &str) -> bool {
        self.leases.get(host).is_some_and(|ends| *ends > Instant::now())
    }

    /// Whether somebody found at least `patience` ago that this host's present lease had run out. Records the time if
    /// nobody had found that before.
    pub(super) fn is_dead_for(&mut self, host: &str, patience: Duration) -> bool {
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

    /// When a fetch takes place, in Unix microseconds: no two at one time.
    pub(super) fn fetched_us(&mut self) -> u64 {
        let now_us = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
        self.fetched_us = now_us.max(self.fetched_us + 1);
        self.fetched_us
    }

    /// Takes a delivery out of a host's table, if it is there.
    pub(super) fn take(&mut self, host: &str, tag: u64) -> Option<Vec<u8>> {
        self.in_flight.get_mut(host)?.remove(&tag)
    }

    /// Takes what a fetch asks for: first from each lane, then ready jobs.
    pub(super) fn take_waiting_and_ready(&mut self, wish: &Wish<'_>) -> (Vec<Vec<u8>>, Vec<LaneTaken>) {
        let (mut jobs, mut lanes, mut large, mut size) = (Vec::new(), Vec::new(), VecDeque::new(), 0);
        let too_long = |job: &[u8]| wish.longest.is_some_and(|longest| job.len() > longest);
        let mut take = |list: &mut VecDeque<Vec<u8>>, most: usize, mut large: Option<&mut VecDeque<Vec<u8>>>| {
            let before = jobs.len();
            while jobs.len() < wish.jobs
                && jobs.len() - before < most
                && let Some(job) = list.pop_front_if(|job| {
                    let fits = size == 0 || size + job.len() <= wish.bytes;
                    fits && (large.is_some() || !too_long(job))
                })
            {
                size += job.len();
                match &mut large {
                    Some(large) if too_long(&job) => large.push_back(job),
                    _ => jobs.push(job),
                }
            }
            jobs.len() - before
        };
        for LaneWish { lane, jobs } in wish.lanes {
            let list = self.lanes.entry(lane.clone()).or_default();
            let taken = take(list, *jobs, None);
            let left = list.len();
            lanes.push(LaneTaken { taken, left });
        }
        take(&mut self.ready, wish.jobs, Some(&mut large));
        self.lanes.entry(Lane::of_large()).or_default().append(&mut large);
        self.lanes.retain(|_, list| !list.is_empty());
        (jobs, lanes)
    }

    /// Puts a job at the end of a lane.
    pub(super) fn wait(&mut self, lane: &Lane, job: Vec<u8>) {
        match (lane.limited(), lane.caps()) {
            (Some(stem), Some(caps)) => self.groups.entry(stem.to_owned()).or_default().add(caps, job),
            _ => self.lanes.entry(lane.clone()).or_default().push_back(job),
        }
    }

    /// The jobs of a lane.
    pub(super) fn lane(&self, lane: &Lane) -> Option<&VecDeque<Vec<u8>>> {
        match (lane.limited(), lane.caps()) {
            (Some(stem), Some(caps)) => self.groups.get(stem)?.lane(caps),
            _ => self.lanes.get(lane),
        }
    }

    /// The lanes that hold jobs, and the groups of which one does, each with how many.
    pub(super) fn waiting(&self) -> BTreeMap<Lane, u64> {
        let lanes = self.lanes.iter().map(|(lane, jobs)| (lane.clone(), jobs.len() as u64));
        let groups = self.groups.iter().filter(|(_, group)| !group.is_empty());
        let groups = groups.map(|(stem, group)| (Lane::of_group(stem), group.jobs()));
        lanes.chain(groups).collect()
    }

    pub(super) fn hold(&mut self, claim: &Claim<'_>, tag: u64, jobs: Vec<Vec<u8>>) {
        if !jobs.is_empty() {
            self.in_flight
                .entry(claim.host.to_owned())
                .or_default()
                .extend((tag..).zip(jobs));
            self.leases.insert(claim.host.to_owned(), Instant::now() + claim.lease);
        }
    }
}
