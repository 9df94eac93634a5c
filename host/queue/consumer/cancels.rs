//! Which jobs are cancelled, as far as this host knows.
//!
//! The store tells when the marks of a queue may have changed, and every fetch tells their version. A host that knows
//! another version reads them before it starts anything that it has fetched.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::queue::cancels::Cancels;

/// The known marks of every queue, by the place of the queue.
#[derive(Debug)]
pub(super) struct KnownCancels {
    of: Mutex<Vec<Known>>,
    /// Whether there are any. Usually there are none, and this is checked before each job, so it must be cheap.
    any: AtomicBool,
    /// For each queue: held by whoever reads its marks from the store, so that an older answer never replaces a newer one.
    pub(super) reading: Vec<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Known {
    version: u64,
    /// Job ids, each with the Unix milliseconds at which its mark ends.
    marks: HashMap<Box<str>, i64>,
}

impl KnownCancels {
    pub(super) fn new(queues: usize) -> Self {
        Self {
            of: Mutex::new((0..queues).map(|_| Known::default()).collect()),
            any: AtomicBool::new(false),
            reading: (0..queues).map(|_| tokio::sync::Mutex::default()).collect(),
        }
    }

    /// Whether any job is marked.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// The version of the marks that are known of a queue.
    pub(super) fn version(&self, place: usize) -> u64 {
        self.of.lock().get(place).map_or(0, |known| known.version)
    }

    /// Takes in what was read of a queue's marks.
    pub(super) fn learn(&self, place: usize, read: Cancels, now_ms: i64) {
        let mut of = self.of.lock();
        if let Some(known) = of.get_mut(place) {
            if read.all {
                known.marks.clear();
            }
            known.marks.retain(|_, ends_ms| *ends_ms > now_ms);
            let marks = read.marks.into_iter();
            known.marks.extend(marks.map(|(id, ends_ms)| (id.into(), ends_ms)));
            known.version = read.version;
        }
        let any = of.iter().any(|known| !known.marks.is_empty());
        self.any.store(any, Ordering::Release);
    }

    /// Whether the job with this id is marked.
    pub(super) fn is_marked(&self, place: usize, id: &str, now_ms: impl FnOnce() -> i64) -> bool {
        self.any() && {
            let of = self.of.lock();
            let ends_ms = of.get(place).and_then(|known| known.marks.get(id));
            ends_ms.is_some_and(|ends_ms| *ends_ms > now_ms())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_add_up_until_all_are_read_anew_and_end_by_themselves() {
        let known = KnownCancels::new(2);
        let read = |version, all, ids: &[&str]| Cancels {
            version,
            all,
            marks: ids.iter().map(|id| ((*id).to_owned(), 100)).collect(),
        };
        let marked = |place, now| ["a", "b"].map(|id| known.is_marked(place, id, || now));
        assert_eq!(marked(0, 0), [false, false]);
        known.learn(0, read(1, true, &["a"]), 0);
        known.learn(0, read(2, false, &["b"]), 0);
        assert_eq!((marked(0, 99), marked(1, 99)), ([true, true], [false, false]));
        assert_eq!((known.version(0), known.version(1)), (2, 0));
        assert_eq!(marked(0, 100), [false, false], "a mark ends with its last moment");
        known.learn(0, read(3, true, &["b"]), 0);
        assert_eq!(marked(0, 99), [false, true]);
        known.learn(0, read(4, true, &[]), 0);
        assert!(!known.any.load(Ordering::Relaxed));
    }
}
