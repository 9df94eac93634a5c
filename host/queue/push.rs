//! What producers hand over.

use super::queue_name::QueueName;

/// A job to be pushed.
#[derive(Debug, Clone)]
pub struct Push {
    /// Where to.
    pub queue: QueueName,
    /// The job's JSON.
    pub job: String,
    /// Not before this time, in milliseconds since the Unix epoch.
    pub due_ms: Option<i64>,
}
