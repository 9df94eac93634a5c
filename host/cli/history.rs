//! What a worker keeps of attempts.

use std::time::Duration;

use clap::Args;

use super::store::positive_duration;
use crate::config::{HistorySettings, KeepAttempts, KeepLogs};
use crate::queue::HISTORY_TTL_DEFAULT;

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Of which attempts it is kept who ran them, when, and what they came to, for kiln job: off, failures, all, or failures and
    /// all of one job in so many (1/1000)
    #[arg(long, env = "KILN_HISTORY", default_value = "failures", value_name = "WHICH")]
    history: KeepAttempts,
    /// Of which of them the lines that the handler logs are kept with that, and the end of its output, for kiln logs: off,
    /// failures, all. A manifest's `logs` goes over it
    #[arg(long, env = "KILN_JOB_LOGS", default_value = "failures", value_name = "WHICH")]
    job_logs: KeepLogs,
    /// How long that is kept, of at most 10,000 jobs and 64 MiB in each queue
    #[arg(long, env = "KILN_HISTORY_TTL", default_value = "168h", value_parser = positive_duration, value_name = "DURATION")]
    pub(super) history_ttl: Duration,
}

impl Default for HistoryArgs {
    fn default() -> Self {
        Self {
            history: KeepAttempts::default(),
            job_logs: KeepLogs::default(),
            history_ttl: HISTORY_TTL_DEFAULT,
        }
    }
}

impl HistoryArgs {
    pub(super) fn settings(&self) -> HistorySettings {
        HistorySettings {
            attempts: self.history,
            logs: self.job_logs,
        }
    }
}
