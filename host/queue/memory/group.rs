//! A group of lanes, whose jobs wait for limits across hosts, in memory. No cap is ever full for longer than it is: each call
//! looks at all lanes, and at who holds what.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::keys::{Keys, is_unique};
use crate::config::{Cap, Rate};
use crate::queue::limits::MAX_LIMITED_LANES;
use crate::queue::moves::{LaneSeen, Turn};

/// The lanes of the limits of one plugin.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Those that hold jobs, by what their jobs count against.
    lanes: BTreeMap<String, Waiting>,
    /// The deliveries that occupy the places of each cap: host and tag.
    held: HashMap<String, BTreeSet<(String, u64)>>,
    /// When the next job may start by the rate of each cap, in Unix microseconds.
    next_us: HashMap<String, i64>,
    /// Lanes of which no job starts before a time, in Unix microseconds.
    shut: HashMap<String, i64>,
    /// How many turns there were.
    turns: u64,
    /// The limits as whoever asked last has them.
    caps: Vec<Cap>,
    /// What is known of the keys of unique jobs.
    pub(super) keys: Keys,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Vec<u8>>,
    /// The lane with the least has its turn first.
    turn: u64,
    /// Its turn comes no sooner, in Unix microseconds.
    opens_us: i64,
}

type Tables = HashMap<String, BTreeMap<u64, Vec<u8>>>;

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// How many lanes hold jobs.
    pub(super) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Takes in the limits as they are now.
    pub(super) fn limit(&mut self, caps: &[Cap]) {
        self.caps = caps.iter().cloned().chain([Cap::of_unique()]).collect();
    }

    /// How many jobs wait.
    pub(super) fn jobs(&self) -> u64 {
        self.lanes.values().map(|lane| lane.jobs.len() as u64).sum()
    }

    /// The jobs of a lane.
    pub(super) fn lane(&self, caps: &str) -> Option<&VecDeque<Vec<u8>>> {
        Some(&self.lanes.get(caps)?.jobs)
    }

    /// Its lanes, as operators see them.
    pub(super) fn seen(&self) -> Vec<LaneSeen> {
        let now_us = Timestamp::now().as_microsecond();
        let running = |cap: &str| (cap.to_owned(), self.held.get(cap).map_or(0, |held| held.len() as u64));
        let lanes = self.lanes.iter().map(|(caps, lane)| LaneSeen {
            lane: caps.clone(),
            jobs: lane.jobs.len() as u64,
            turn_ms: self.opens_us(caps, now_us).map(|opens_us| opens_us / 1_000),
            running: caps.split('|').map(running).collect(),
        });
        lanes.collect()
    }

    /// Adds a job to the end of a lane. An empty lane gets its turn after all others.
    pub(super) fn add(&mut self, caps: &str, job: Vec<u8>) {
        self.turns += 1;
        let fresh = Waiting {
            turn: self.turns,
            ..Waiting::default()
        };
        self.lanes.entry(caps.to_owned()).or_insert(fresh).jobs.push_back(job);
    }

    /// Has the turn of a lane come no sooner.
    pub(super) fn opens(&mut self, caps: &str, opens_us: i64) {
        if let Some(lane) = self.lanes.get_mut(caps) {
            lane.opens_us = opens_us;
        }
    }

    /// Takes the first job of a lane out, which is to run no more.
    pub(super) fn take_back(&mut self, caps: &str) {
        if let Some(lane) = self.lanes.get_mut(caps) {
            lane.jobs.pop_front();
            if lane.jobs.is_empty() {
                self.lanes.remove(caps);
            }
        }
    }

    /// Whether any other delivery has a place of this cap.
    pub(super) fn is_held(&self, cap: &str, host: &str, tag: u64) -> bool {
        let held = self.held.get(cap);
        held.is_some_and(|held| held.iter().any(|(of, its)| (of.as_str(), *its) != (host, tag)))
    }

    /// Gives the places of a delivery back.
    pub(super) fn give_back(&mut self, caps: &str, host: &str, tag: u64) {
        for cap in caps.split('|') {
            if let Some(held) = self.held.get_mut(cap) {
                let had = held.remove(&(host.to_owned(), tag));
                if had && is_unique(cap) {
                    self.keys.ends(cap);
                }
            }
        }
        self.held.retain(|_, held| !held.is_empty());
    }

    /// Lets no job of a lane start for a while.
    pub(super) fn shut(&mut self, caps: &str, wait: Duration) {
        let now_us = Timestamp::now().as_microsecond();
        self.shut.retain(|_, opens| *opens > now_us);
        if self.shut.len() < MAX_LIMITED_LANES {
            let opens = now_us.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
            let known = self.shut.entry(caps.to_owned()).or_default();
            *known = opens.max(*known);
        }
    }

    /// Takes jobs lane by lane, as many as may start and are asked for.
    pub(super) fn serve(&mut self, host: &str, tag: u64, turn: &Turn<'_>, tables: &Tables) -> Vec<(Vec<u8>, String)> {
        let (mut served, mut size, mut before) = (Vec::new(), 0, None);
        self.forget_lost(tables);
        let now_us = Timestamp::now().as_microsecond();
        while before.replace(served.len()) != Some(served.len()) {
            let mut order: Vec<_> = self
                .lanes
                .iter()
                .map(|(caps, lane)| (lane.turn, caps.clone()))
                .collect();
            order.sort_unstable();
            for (_, caps) in order {
                let Some(lane) = self.lanes.get(&caps) else { continue };
                let Some(len) = lane.jobs.front().map(Vec::len) else {
                    continue;
                };
                let is_too_long = turn.longest.is_some_and(|longest| len > longest);
                if is_too_long || self.opens_us(&caps, now_us).is_none_or(|opens| opens > now_us) {
                    continue;
                }
                if served.len() == turn.jobs || (size > 0 && size + len > turn.bytes) {
                    return served;
                }
                size += len;
                let tag = tag + served.len() as u64;
                served.extend(self.take(&caps, host, tag, now_us).map(|job| (job, caps)));
            }
        }
        served
    }

    /// Lets a job start that never waited, if its lane is empty and each of its caps has a place, which it takes.
    pub(super) fn start(&mut self, caps: &str, host: &str, tag: u64) -> bool {
        let now_us = Timestamp::now().as_microsecond();
        let starts = !self.lanes.contains_key(caps) && self.opens_us(caps, now_us).is_some_and(|opens| opens <= now_us);
        if starts {
            self.take_places(caps, host, tag, now_us);
        }
        starts
    }

    /// Takes a place of each cap of a lane.
    fn take_places(&mut self, caps: &str, host: &str, tag: u64, now_us: i64) {
        for (name, cap) in limits(&self.caps, caps) {
            if cap.places.is_some() {
                let held = self.held.entry(name.to_owned()).or_default();
                held.insert((host.to_owned(), tag));
            }
            if let Some(rate) = cap.rate {
                let next = self.next_us.entry(name.to_owned()).or_default();
                *next = (*next).max(now_us) + every_us(rate);
            }
        }
        self.next_us.retain(|_, next| *next > now_us);
    }

    /// Takes the first job of a lane, and a place of each of its caps.
    fn take(&mut self, caps: &str, host: &str, tag: u64, now_us: i64) -> Option<Vec<u8>> {
        self.take_places(caps, host, tag, now_us);
        self.turns += 1;
        self.keys.starts(caps);
        let lane = self.lanes.get_mut(caps)?;
        lane.turn = self.turns;
        let job = lane.jobs.pop_front();
        if lane.jobs.is_empty() {
            self.lanes.remove(caps);
        }
        job
    }

    /// When a lane's next job may start; none: once a place is free.
    fn opens_us(&self, caps: &str, now_us: i64) -> Option<i64> {
        let mut opens = self.lanes.get(caps).map_or(now_us, |lane| lane.opens_us.max(now_us));
        opens = self.shut.get(caps).map_or(opens, |shut| opens.max(*shut));
        for (name, cap) in limits(&self.caps, caps) {
            let held = self.held.get(name).map_or(0, BTreeSet::len);
            if cap.places.is_some_and(|places| held >= places.get() as usize) {
                return None;
            }
            if let Some(rate) = cap.rate {
                let next = self.next_us.get(name).copied().unwrap_or(0).max(now_us);
                opens = opens.max(next - i64::from(rate.burst.get() - 1) * every_us(rate));
            }
        }
        Some(opens)
    }

    /// When the next job of any lane may start; none: once a place is free, or a job comes.
    pub(super) fn opens_in(&self, tables: &Tables) -> Option<Duration> {
        let now_us = Timestamp::now().as_microsecond();
        let is_lost = |held: &(String, u64)| !is_in(tables, held);
        if !self.is_empty() && self.held.values().flatten().any(is_lost) {
            return Some(Duration::ZERO);
        }
        let opens = self.lanes.keys().filter_map(|caps| self.opens_us(caps, now_us)).min()?;
        Some(Duration::from_micros(u64::try_from(opens - now_us).unwrap_or(0)))
    }

    /// Forgets whoever occupies a place and is in no host's table any more, and returns how many these were.
    pub(super) fn forget_lost(&mut self, tables: &Tables) -> u64 {
        let before: usize = self.held.values().map(BTreeSet::len).sum();
        for (cap, held) in &mut self.held {
            held.retain(|held| is_in(tables, held));
            if held.is_empty() && is_unique(cap) {
                self.keys.ends(cap);
            }
        }
        self.held.retain(|_, held| !held.is_empty());
        (before - self.held.values().map(BTreeSet::len).sum::<usize>()) as u64
    }
}

fn is_in(tables: &Tables, (host, tag): &(String, u64)) -> bool {
    tables.get(host).is_some_and(|table| table.contains_key(tag))
}

/// What the jobs of a lane count against, each with its limit. What is limited no more is left out.
fn limits<'a>(caps: &'a [Cap], lane: &'a str) -> impl Iterator<Item = (&'a str, &'a Cap)> {
    lane.split('|').filter_map(move |name| {
        let id = name.split('=').next().unwrap_or(name);
        Some((name, caps.iter().find(|cap| cap.id() == id)?))
    })
}

fn every_us(rate: Rate) -> i64 {
    i64::try_from(rate.every.as_micros()).unwrap_or(i64::MAX)
}
