//! Jobs that are unique by a key, in memory.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::MemoryStore;
use super::group::Group;
use super::state::Queue;
use crate::job::{UniqueRule, reply_of};
use crate::outcome::{Commit, Settlement};
use crate::queue::moves::{Claim, Offer};
use crate::queue::unique::{AWAITED_FOR, Comes, Contended, Contender, OfKey};

/// What a group knows of the keys of its unique jobs.
#[derive(Debug, Default)]
pub(super) struct Keys {
    keys: HashMap<String, Key>,
    /// The job that waits for its next attempt, or one that came later, and until when that is remembered.
    awaited: HashMap<String, (String, Timestamp)>,
    /// The last job that was not throttled: its delivery, its id, and until when others are dropped.
    started: HashMap<String, (String, String, Timestamp)>,
}

/// What is known of one key, while a job of it waits or runs.
#[derive(Debug, Default)]
struct Key {
    waits: Option<Waits>,
    runs: Option<String>,
    newest: Option<String>,
}

/// The job that waits for its turn.
#[derive(Debug)]
struct Waits {
    id: String,
    lane: String,
    note: String,
    first: Timestamp,
}

impl Keys {
    /// A job that waited in this lane starts.
    pub(super) fn starts(&mut self, lane: &str) {
        for cap in lane.split('|').filter(|cap| is_unique(cap)) {
            let key = self.keys.entry(cap.to_owned()).or_default();
            key.runs = None;
            if !lane.ends_with("|revived") {
                key.runs = key.waits.take().map(|waits| waits.id);
            }
        }
    }

    /// The place of a key was given back.
    pub(super) fn ends(&mut self, cap: &str) {
        if let Some(key) = self.keys.get_mut(cap) {
            key.runs = None;
            if key.waits.is_none() {
                self.keys.remove(cap);
            }
        }
    }

    /// A job is waited for no longer.
    fn forget(&mut self, cap: &str, id: &str) {
        if self.awaited.get(cap).is_some_and(|(awaited, _)| awaited == id) {
            self.awaited.remove(cap);
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        self.awaited.retain(|_, (_, until)| *until > now);
        self.started.retain(|_, (.., until)| *until > now);
    }

    /// As `contend.lua`.
    fn throttle(&mut self, me: String, lasts: Duration, contender: &Contender<'_>, now: Timestamp) -> Contended {
        match self.started.get(contender.cap) {
            Some((started, ..)) if *started == me => Contended::Goes,
            Some((_, id, _)) => Contended::Duplicate(Some(id.clone())),
            None => {
                let until = now.saturating_add(lasts).unwrap_or(Timestamp::MAX);
                let started = (me, contender.id.to_owned(), until);
                self.started.insert(contender.cap.to_owned(), started);
                Contended::Goes
            }
        }
    }

    /// The job that keeps a contender from running, if one does: its id, if that is known.
    fn rival(&self, contender: &Contender<'_>, runs: bool) -> Option<Option<String>> {
        let key = self.keys.get(contender.cap);
        let waits = key.and_then(|key| key.waits.as_ref()).map(|waits| waits.id.clone());
        let awaited = self.awaited.get(contender.cap).map(|(id, _)| id.clone());
        match (contender.rule, contender.comes) {
            (_, Comes::Revived) => None,
            (UniqueRule::Drop, _) => match waits {
                Some(id) => Some(Some(id)),
                None if runs => Some(key.and_then(|key| key.runs.clone())),
                None => awaited.filter(|id| id != contender.id).map(Some),
            },
            (_, Comes::Again) => {
                let newest = key.and_then(|key| key.newest.clone()).or(awaited);
                waits.or(newest.filter(|id| id != contender.id)).map(Some)
            }
            (_, Comes::New) => None,
        }
    }
}

impl Group {
    /// Adds a job to its lane, perhaps in place of another: that one's id, and its note.
    fn admit(&mut self, caps: &str, contender: &Contender<'_>, now: Timestamp) -> Option<(String, String)> {
        let key = self.keys.keys.entry(contender.cap.to_owned()).or_default();
        if contender.comes == Comes::Revived {
            self.add(caps, contender.job.as_bytes().to_vec());
            return None;
        }
        let before = key.waits.take();
        let first = before.as_ref().map_or(now, |before| before.first);
        key.waits = Some(Waits {
            id: contender.id.to_owned(),
            lane: caps.to_owned(),
            note: contender.note.to_owned(),
            first,
        });
        let awaited = &mut self.keys.awaited;
        if contender.rule == UniqueRule::Drop {
            awaited.remove(contender.cap);
        } else {
            key.newest = Some(contender.id.to_owned());
            if let Some((id, _)) = awaited.get_mut(contender.cap).filter(|_| contender.comes == Comes::New) {
                contender.id.clone_into(id);
            }
        }
        let opens = match contender.rule {
            UniqueRule::Debounce { wait, max } if contender.comes == Comes::New => {
                let after = |time: Timestamp, by| time.saturating_add(by).unwrap_or(Timestamp::MAX);
                after(first, max).min(after(now, wait))
            }
            _ => now,
        };
        if let Some(before) = &before {
            self.take_back(&before.lane);
        }
        self.add(caps, contender.job.as_bytes().to_vec());
        self.opens(caps, opens.as_microsecond());
        before.map(|before| (before.id, before.note))
    }

    /// As `await` and `forget` of `settle.lua`.
    fn settles(&mut self, key: &OfKey, settlement: &Settlement, now: Timestamp) {
        let awaited = self.keys.awaited.get(&key.cap).cloned();
        match settlement {
            Settlement::Retry { wait, .. } => {
                let mut until = now.saturating_add(*wait + AWAITED_FOR).unwrap_or(Timestamp::MAX);
                let mut id = key.id.clone();
                if key.yields {
                    let newest = self.keys.keys.get(&key.cap).and_then(|key| key.newest.clone());
                    until = awaited.as_ref().map_or(until, |(_, before)| until.max(*before));
                    id = newest.or(awaited.map(|(id, _)| id)).unwrap_or(id);
                }
                self.keys.awaited.insert(key.cap.clone(), (id, until));
            }
            Settlement::Fail { .. } | Settlement::FailThere { .. } | Settlement::Drop { .. } if !key.yields => {
                self.keys.forget(&key.cap, &key.id);
            }
            _ => {}
        }
    }
}

impl MemoryStore {
    pub(super) fn contend(&self, claim: &Claim<'_>, tag: u64, contender: &Contender<'_>) -> Contended {
        let (now, mut state) = (Timestamp::now(), self.state());
        let Queue { groups, in_flight, .. } = state.queue(claim.queue);
        let table = in_flight.get_mut(claim.host);
        let Some(job) = table.and_then(|table| table.get_mut(&tag)) else {
            return Contended::Gone;
        };
        let (Some(stem), Some(caps)) = (contender.lane.limited(), contender.lane.caps()) else {
            return Contended::Goes;
        };
        let group = groups.entry(stem.to_owned()).or_default();
        group.keys.forget_old(now);
        if let UniqueRule::Throttle(lasts) = contender.rule {
            let contended = group
                .keys
                .throttle(format!("{}:{tag}", claim.host), lasts, contender, now);
            if contended == Contended::Goes {
                *job = contender.job.as_bytes().to_vec();
            }
            return contended;
        }
        group.forget_lost(in_flight);
        if let Some(id) = group
            .keys
            .rival(contender, group.is_held(contender.cap, claim.host, tag))
        {
            if contender.rule == UniqueRule::Drop {
                group.keys.forget(contender.cap, contender.id);
            }
            return Contended::Duplicate(id);
        }
        group.give_back(contender.cap, claim.host, tag);
        let replaced = group.admit(caps, contender, now);
        state.queue(claim.queue).take(claim.host, tag);
        let (id, note) = replaced.unzip();
        let reply = note.and_then(|note| {
            state.commit(&note, false);
            reply_of(&Commit::read(note.as_bytes())?)
        });
        drop(state);
        self.reply(reply.as_slice());
        self.lanes.notify_waiters();
        self.ready.notify_waiters();
        self.ended.notify_waiters();
        Contended::Waits(id)
    }
}

impl Queue {
    /// Has others of its key know what becomes of a job.
    pub(super) fn settles_of_key(&mut self, offer: &Offer<'_>) {
        let Some(key) = offer.of_key else { return };
        if let Some(group) = key.group.limited().and_then(|stem| self.groups.get_mut(stem)) {
            group.settles(key, offer.settlement, Timestamp::now());
        }
    }
}

/// Whether a cap is the key of unique jobs.
pub(super) fn is_unique(cap: &str) -> bool {
    cap.starts_with("unique=")
}
