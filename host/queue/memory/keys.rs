//! What a group of lanes knows of the keys of its unique jobs, in memory.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::job::UniqueRule;
use crate::queue::unique::{Comes, Contended, Contender, ORDER_REMEMBERED};

/// What a group knows of the keys of its unique jobs.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Those of which a job waits or runs.
    pub(super) known: HashMap<String, Key>,
    /// The job that waits for its next attempt, or one that came later.
    pub(super) awaited: HashMap<String, Awaited>,
    /// The last job that was not throttled: its stamp, its id, and until when others are dropped.
    started: HashMap<String, (String, String, Timestamp)>,
}

/// What is known of one key, while a job of it waits or runs, and for a while after that.
#[derive(Debug, Default)]
pub(super) struct Key {
    pub(super) waits: Option<Waits>,
    runs: Option<String>,
    /// Where only the newest is to run, the newest that was admitted.
    pub(super) newest: Option<Stamped>,
    /// When nothing of it waits or runs any more: until when it is known.
    pub(super) ends: Option<Timestamp>,
}

/// A job, and what orders it among those of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamped {
    pub(super) stamp: String,
    pub(super) id: String,
}

/// A job that waits for its next attempt, and until when that is remembered.
#[derive(Debug, Clone)]
pub(super) struct Awaited {
    pub(super) job: Stamped,
    pub(super) until: Timestamp,
}

/// The job that waits for its turn.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) id: String,
    pub(super) lane: String,
    pub(super) note: String,
    pub(super) first: Timestamp,
}

impl Keys {
    /// A job that waited in this lane starts.
    pub(super) fn starts(&mut self, lane: &str) {
        for cap in lane.split('|').filter(|cap| is_unique(cap)) {
            let key = self.known.entry(cap.to_owned()).or_default();
            (key.runs, key.ends) = (None, None);
            if !lane.ends_with("|revived") {
                key.runs = key.waits.take().map(|waits| waits.id);
            }
        }
    }

    /// The place of a key was given back.
    pub(super) fn ends(&mut self, cap: &str) {
        if let Some(key) = self.known.get_mut(cap) {
            key.runs = None;
            if key.waits.is_none() {
                key.ends = Timestamp::now().saturating_add(ORDER_REMEMBERED).ok();
                if key.newest.is_none() {
                    self.known.remove(cap);
                }
            }
        }
    }

    /// A job is waited for no longer.
    pub(super) fn forget(&mut self, cap: &str, id: &str) {
        if self.awaited.get(cap).is_some_and(|awaited| awaited.job.id == id) {
            self.awaited.remove(cap);
        }
    }

    pub(super) fn forget_old(&mut self, now: Timestamp) {
        self.awaited.retain(|_, awaited| awaited.until > now);
        self.known.retain(|_, key| key.ends.is_none_or(|ends| ends > now));
        self.started.retain(|_, (.., until)| *until > now);
    }

    /// As `contend.lua`.
    pub(super) fn throttle(&mut self, lasts: Duration, contender: &Contender<'_>, now: Timestamp) -> Contended {
        match self.started.get(contender.cap) {
            Some((started, ..)) if started == contender.stamp => Contended::Goes,
            Some((_, id, _)) => Contended::Duplicate(Some(id.clone())),
            None => {
                let until = now.saturating_add(lasts).unwrap_or(Timestamp::MAX);
                let started = (contender.stamp.to_owned(), contender.id.to_owned(), until);
                self.started.insert(contender.cap.to_owned(), started);
                Contended::Goes
            }
        }
    }

    /// What a contender is told that another job keeps from running; none: no other does.
    pub(super) fn rival(&self, contender: &Contender<'_>, runs: bool) -> Option<Contended> {
        let key = self.known.get(contender.cap);
        let waits = key.and_then(|key| key.waits.as_ref()).map(|waits| waits.id.clone());
        let awaited = self.awaited.get(contender.cap).map(|awaited| &awaited.job);
        let newest = key.and_then(|key| key.newest.as_ref()).or(awaited);
        let newest_if = |is_rival: &dyn Fn(&str) -> bool| newest.filter(|newest| is_rival(&newest.stamp));
        let of = |id: String| Contended::Duplicate(Some(id));
        match (contender.rule, contender.comes) {
            (_, Comes::Revived) => None,
            (UniqueRule::Drop, _) => match waits {
                Some(id) => Some(of(id)),
                None if runs => Some(Contended::Duplicate(key.and_then(|key| key.runs.clone()))),
                None => awaited
                    .filter(|other| other.id != contender.id)
                    .map(|other| of(other.id.clone())),
            },
            (_, Comes::Again) => {
                let newest = newest_if(&|newest| newest != contender.stamp);
                waits.or(newest.map(|newest| newest.id.clone())).map(of)
            }
            (_, Comes::New) => newest_if(&|newest| contender.stamp < newest).map(|newest| of(newest.id.clone())),
        }
    }
}

/// Whether a cap is the key of unique jobs.
pub(super) fn is_unique(cap: &str) -> bool {
    cap.starts_with("unique=")
}
