//! What a group of lanes knows of the keys of its unique jobs, in memory.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::job::UniqueRule;
use crate::queue::unique::{Comes, Contended, Contender};

/// What a group knows of the keys of its unique jobs.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Those of which a job waits or runs.
    pub(super) known: HashMap<String, Key>,
    /// The job that waits for its next attempt, or one that came later, and until when that is remembered.
    pub(super) awaited: HashMap<String, (String, Timestamp)>,
    /// The last job that was not throttled: its delivery, its id, and until when others are dropped.
    started: HashMap<String, (String, String, Timestamp)>,
}

/// What is known of one key, while a job of it waits or runs.
#[derive(Debug, Default)]
pub(super) struct Key {
    pub(super) waits: Option<Waits>,
    runs: Option<String>,
    pub(super) newest: Option<String>,
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
            key.runs = None;
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
                self.known.remove(cap);
            }
        }
    }

    /// A job is waited for no longer.
    pub(super) fn forget(&mut self, cap: &str, id: &str) {
        if self.awaited.get(cap).is_some_and(|(awaited, _)| awaited == id) {
            self.awaited.remove(cap);
        }
    }

    pub(super) fn forget_old(&mut self, now: Timestamp) {
        self.awaited.retain(|_, (_, until)| *until > now);
        self.started.retain(|_, (.., until)| *until > now);
    }

    /// As `contend.lua`.
    pub(super) fn throttle(
        &mut self,
        me: String,
        lasts: Duration,
        contender: &Contender<'_>,
        now: Timestamp,
    ) -> Contended {
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

    /// What a contender is told that another job keeps from running; none: no other does.
    pub(super) fn rival(&self, contender: &Contender<'_>, runs: bool) -> Option<Contended> {
        let key = self.known.get(contender.cap);
        let waits = key.and_then(|key| key.waits.as_ref()).map(|waits| waits.id.clone());
        let awaited = self.awaited.get(contender.cap).map(|(id, _)| id.clone());
        let of = |id: String| Contended::Duplicate(Some(id));
        let other = |id: &String| id != contender.id;
        match (contender.rule, contender.comes) {
            (_, Comes::Revived) => None,
            (UniqueRule::Drop, _) => match waits {
                Some(id) => Some(of(id)),
                None if runs => Some(Contended::Duplicate(key.and_then(|key| key.runs.clone()))),
                None => awaited.filter(other).map(of),
            },
            (_, Comes::Again) => {
                let newest = key.and_then(|key| key.newest.clone()).or(awaited);
                waits.or(newest.filter(other)).map(of)
            }
            (_, Comes::New) => None,
        }
    }
}

/// Whether a cap is the key of unique jobs.
pub(super) fn is_unique(cap: &str) -> bool {
    cap.starts_with("unique=")
}
