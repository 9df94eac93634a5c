//! Questions about the past of a job, and what running attempts report, for operators.

use super::error::QueueError;
use super::history::{Past, ProgressReport};
use super::queue_name::QueueName;
use super::store::Store;

impl Store {
    /// What a queue knows of a job that need not be in it any more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn past(&self, queue: &QueueName, id: &str) -> Result<Past, QueueError> {
        self.backend().past(queue, id).await
    }

    /// Keeps what running attempts report.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn report_progress(&self, reports: &[ProgressReport]) -> Result<(), QueueError> {
        self.backend().report_progress(reports).await
    }

    /// What the running attempt at a job last reported.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn progress(&self, id: &str) -> Result<Option<String>, QueueError> {
        self.backend().progress(id).await
    }
}
