//! What is kept of attempts, and what running ones report, in memory.

use jiff::Timestamp;

use super::MemoryStore;
use crate::queue::history::{Past, ProgressReport, Record};
use crate::queue::queue_name::QueueName;

impl MemoryStore {
    pub(super) fn record(&self, queue: &QueueName, records: &[Record]) {
        if self.history_ttl.is_zero() {
            return;
        }
        let mut state = self.state();
        let histories = &mut state.queue(queue).histories;
        for record in records {
            histories.add(record, self.history_ttl);
        }
    }

    pub(super) fn past(&self, queue: &QueueName, id: &str) -> Past {
        let mut state = self.state();
        let queue = state.queue(queue);
        let now_ms = Timestamp::now().as_millisecond();
        let ends_ms = queue.cancels.since(0).marks.get(id).copied();
        Past {
            attempts: queue.histories.lines(id),
            cancelled: ends_ms.is_some_and(|ends_ms| ends_ms > now_ms),
        }
    }

    /// No more than there are running attempts: each takes its report back.
    pub(super) fn report_progress(&self, reports: &[ProgressReport]) {
        let progress = &mut self.state().progress;
        for report in reports {
            match &report.json {
                Some(json) => _ = progress.insert(report.id.clone(), json.clone()),
                None => _ = progress.remove(&report.id),
            }
        }
    }

    pub(super) fn progress(&self, id: &str) -> Option<String> {
        self.state().progress.get(id).cloned()
    }
}
