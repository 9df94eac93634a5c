//! What is kept of attempts, beside each queue; and what running attempts report, each in a slot of its own.

use ::redis::cmd;

use super::RedisStore;
use super::fault::is_outage;
use super::scripts::{PAST, RECORD};
use crate::queue::error::QueueError;
use crate::queue::history::{
    MAX_HISTORIES, MAX_HISTORY_BYTES, MAX_JOB_HISTORY_BYTES, PROGRESS_TTL, Past, ProgressReport, Record,
};
use crate::queue::moves::millis;
use crate::queue::queue_name::QueueName;

/// Bytes written by one call: Redis takes them in about a millisecond, and every store takes so long a message.
const CALL_BYTES: usize = 256 * 1024;

impl RedisStore {
    /// Keeps what attempts came to. What the store refuses is left out, and the log says so once.
    pub(super) async fn record(&self, queue: &QueueName, records: &[Record]) -> Result<(), QueueError> {
        if self.history_ttl.is_zero() {
            return Ok(());
        }
        let keys = [
            self.keys.histories(queue.as_str()),
            self.keys.history_times(queue.as_str()),
        ];
        let mut rest = records;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|record| {
                bytes += record.id.len() + record.json.len();
                bytes <= CALL_BYTES
            });
            let (some, others) = rest.split_at(fits.count().max(1));
            rest = others;
            let mut call = RECORD.keys(&keys);
            call.arg(millis(self.history_ttl))
                .arg(MAX_HISTORIES)
                .arg(MAX_HISTORY_BYTES)
                .arg(MAX_JOB_HISTORY_BYTES);
            for record in some {
                call.arg(&record.id).arg(&record.json);
            }
            match self.pool.call_with::<()>(&call, bytes).await {
                Ok(()) => self.unrecorded.note(0, ""),
                Err(QueueError::Redis(err)) if !is_outage(&err) => {
                    self.unrecorded.note(some.len() as u64, &err.to_string());
                }
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    pub(super) async fn past(&self, queue: &QueueName, id: &str) -> Result<Past, QueueError> {
        let keys = [
            self.keys.histories(queue.as_str()),
            self.keys.cancelled_until(queue.as_str()),
        ];
        let (attempts, cancelled) = self.pool.call(PAST.keys(&keys).arg(id)).await?;
        Ok(Past { attempts, cancelled })
    }

    pub(super) async fn report_progress(&self, reports: &[ProgressReport]) -> Result<(), QueueError> {
        let commands = reports.iter().map(|report| {
            let key = self.keys.progress(&report.id);
            if let Some(json) = &report.json {
                let mut set = cmd("SET");
                set.arg(key).arg(json).arg("PX").arg(millis(PROGRESS_TTL));
                set
            } else {
                let mut del = cmd("DEL");
                del.arg(key);
                del
            }
        });
        self.pool.run_all(commands.collect()).await
    }

    pub(super) async fn progress(&self, id: &str) -> Result<Option<String>, QueueError> {
        self.run(cmd("GET").arg(self.keys.progress(id))).await
    }
}
