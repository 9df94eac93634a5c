//! The marks of the cancelled jobs of one queue, in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::queue::cancels::{Cancels, MAX_CANCELLED};

#[derive(Debug, Default)]
pub(super) struct Marks {
    version: u64,
    /// The version at which marks were last taken away.
    undone: u64,
    by_id: BTreeMap<String, Mark>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    /// The version at which it was made.
    version: u64,
    ends_ms: i64,
}

impl Marks {
    /// None: no job was ever cancelled.
    pub(super) fn version(&self) -> Option<u64> {
        Some(self.version).filter(|version| *version > 0)
    }

    /// Marks jobs, and returns for each whether it was marked before; none if there would be too many marks.
    pub(super) fn make(&mut self, ids: &[String], lasts: Duration) -> Option<Vec<bool>> {
        self.forget_ended();
        let were: Vec<_> = ids.iter().map(|id| self.by_id.contains_key(id)).collect();
        let new = were.iter().filter(|was| !**was).count();
        if new > 0 && self.by_id.len() + new > MAX_CANCELLED {
            return None;
        }
        let ends = Timestamp::now().saturating_add(lasts).unwrap_or(Timestamp::MAX);
        self.version += 1;
        for id in ids {
            let mark = Mark {
                version: self.version,
                ends_ms: ends.as_millisecond(),
            };
            let kept = self.by_id.entry(id.clone()).or_insert(mark);
            (kept.version, kept.ends_ms) = (mark.version, kept.ends_ms.max(mark.ends_ms));
        }
        Some(were)
    }

    /// Takes marks away, and returns for each whether there was one.
    pub(super) fn take_away(&mut self, ids: &[String]) -> Vec<bool> {
        self.forget_ended();
        let were: Vec<_> = ids.iter().map(|id| self.by_id.remove(id).is_some()).collect();
        if were.contains(&true) {
            self.version += 1;
            self.undone = self.version;
        }
        were
    }

    /// The marks made since a version, or all.
    pub(super) fn since(&mut self, version: u64) -> Cancels {
        self.forget_ended();
        let all = version < self.undone || version > self.version || self.version == 0;
        let known = if all { 0 } else { version };
        let new = self.by_id.iter().filter(|(_, mark)| mark.version > known);
        Cancels {
            version: self.version,
            all,
            marks: new.map(|(id, mark)| (id.clone(), mark.ends_ms)).collect(),
        }
    }

    fn forget_ended(&mut self) {
        let now_ms = Timestamp::now().as_millisecond();
        self.by_id.retain(|_, mark| mark.ends_ms > now_ms);
    }
}
