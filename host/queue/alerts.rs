//! What hosts agree on about alerts: who tells of one, and when schedules last succeeded. No job depends on it.

use std::time::Duration;

use jiff::Timestamp;

use super::error::QueueError;
use super::queue_name::QueueName;
use super::store::Store;

impl Store {
    /// Claims an alert for so long. False: some host has claimed it already, and that is not over.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn claim_alert(&self, alert: &str, lasts: Duration) -> Result<bool, QueueError> {
        self.backend().claim_alert(alert, lasts).await
    }

    /// Has a claim last for so long from now on. No time gives it up, so that another host may tell.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn hold_alert(&self, alert: &str, lasts: Duration) -> Result<(), QueueError> {
        self.backend().hold_alert(alert, lasts).await
    }

    /// Notes that jobs of schedules of a queue have succeeded now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_successes(&self, queue: &QueueName, schedules: &[String]) -> Result<(), QueueError> {
        self.backend().note_successes(queue, schedules).await
    }

    /// When jobs of these schedules last succeeded. One that nobody asked about before counts as a success from now on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn successes(&self, queue: &QueueName, schedules: &[String]) -> Result<Vec<Timestamp>, QueueError> {
        self.backend().successes(queue, schedules).await
    }
}
