//! Jobs that are unique by a key, in memory.

use jiff::Timestamp;

use super::MemoryStore;
use super::group::Group;
use super::keys::{Awaited, Stamped, Waits};
use super::state::Queue;
use crate::job::{UniqueRule, reply_of};
use crate::outcome::{Commit, Settlement};
use crate::queue::moves::{Claim, Offer};
use crate::queue::unique::{AWAITED_FOR, Comes, Contended, Contender, OfKey};

impl Group {
    /// Adds a job to its lane, perhaps in place of another: that one's id, and its note.
    fn admit(&mut self, caps: &str, contender: &Contender<'_>, now: Timestamp) -> Option<(String, String)> {
        let key = self.keys.known.entry(contender.cap.to_owned()).or_default();
        if contender.comes == Comes::Revived {
            self.add(caps, contender.job.as_bytes().to_vec());
            return None;
        }
        let before = key.waits.take();
        let first = before.as_ref().map_or(now, |before| before.first);
        key.ends = None;
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
            let newest = Stamped {
                stamp: contender.stamp.to_owned(),
                id: contender.id.to_owned(),
            };
            key.newest = Some(newest.clone());
            if let Some(awaited) = awaited.get_mut(contender.cap).filter(|_| contender.comes == Comes::New) {
                awaited.job = newest;
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
                let mut job = Stamped {
                    stamp: key.stamp.clone(),
                    id: key.id.clone(),
                };
                if key.yields {
                    let newest = self.keys.known.get(&key.cap).and_then(|key| key.newest.clone());
                    until = awaited.as_ref().map_or(until, |before| until.max(before.until));
                    job = newest.or(awaited.map(|before| before.job)).unwrap_or(job);
                }
                self.keys.awaited.insert(key.cap.clone(), Awaited { job, until });
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
            let answer = group.keys.throttle(lasts, contender, now);
            if answer == Contended::Goes {
                *job = contender.job.as_bytes().to_vec();
            }
            return answer;
        }
        group.forget_lost(in_flight);
        if let Some(duplicate) = group
            .keys
            .rival(contender, group.is_held(contender.cap, claim.host, tag))
        {
            if contender.rule == UniqueRule::Drop {
                group.keys.forget(contender.cap, contender.id);
            }
            return duplicate;
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
