//! What is kept of attempts, as a store in memory has it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::queue::history::{MAX_HISTORIES, MAX_HISTORY_BYTES, MAX_JOB_HISTORY_BYTES, Record};

/// What is kept of the attempts at a queue's jobs.
#[derive(Debug, Default)]
pub(super) struct Histories {
    of: HashMap<String, History>,
    /// Job ids by the order in which they were added to last.
    order: BTreeMap<u64, String>,
    added: u64,
    bytes: usize,
}

#[derive(Debug)]
struct History {
    lines: String,
    place: u64,
    at: Instant,
}

impl Histories {
    pub(super) fn add(&mut self, record: &Record, kept: Duration) {
        self.added += 1;
        let (place, at) = (self.added, Instant::now());
        let history = self.of.entry(record.id.clone()).or_insert_with(|| History {
            lines: String::new(),
            place,
            at,
        });
        self.order.remove(&history.place);
        self.order.insert(place, record.id.clone());
        (history.place, history.at) = (place, at);
        self.bytes -= history.lines.len();
        if !history.lines.is_empty() {
            history.lines.push('\n');
        }
        history.lines.push_str(&record.json);
        while history.lines.len() > MAX_JOB_HISTORY_BYTES
            && let Some(first_end) = history.lines.find('\n')
        {
            history.lines.drain(..=first_end);
        }
        self.bytes += history.lines.len();
        self.make_room(kept);
    }

    /// A line for each attempt at a job.
    pub(super) fn lines(&self, id: &str) -> String {
        self.of.get(id).map(|history| history.lines.clone()).unwrap_or_default()
    }

    fn make_room(&mut self, kept: Duration) {
        while let Some((place, id)) = self.order.first_key_value() {
            let (place, id) = (*place, id.clone());
            let is_old = self.of.get(&id).is_none_or(|history| history.at.elapsed() > kept);
            if self.of.len() <= MAX_HISTORIES && self.bytes <= MAX_HISTORY_BYTES && !is_old {
                return;
            }
            self.order.remove(&place);
            self.bytes -= self.of.remove(&id).map_or(0, |history| history.lines.len());
        }
    }
}
