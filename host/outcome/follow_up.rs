//! Jobs that are pushed when another is acknowledged.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A job that a handler has enqueued, before it is known whether it will be pushed.
#[derive(Debug, Clone)]
pub struct FollowUp {
    /// Its id.
    pub id: String,
    /// Picks its handler.
    pub name: String,
    /// Where to.
    pub queue: String,
    /// JSON text.
    pub payload: Box<RawValue>,
    /// JSON text of an object.
    pub metadata: Option<Box<RawValue>>,
    /// Attempts in all; 0 where it names none.
    pub max_attempts: u32,
    /// Nanoseconds an attempt may take; 0 where it names none.
    pub timeout_ns: i64,
    /// When it may run first.
    pub due: Due,
    /// The batches that it belongs to.
    pub joins: Vec<String>,
}

impl FollowUp {
    /// Bytes that a producer or handler can make many.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let metadata = self.metadata.as_ref().map_or(0, |metadata| metadata.get().len());
        self.id.len() + self.name.len() + self.queue.len() + self.payload.get().len() + metadata
    }
}

/// When a job that is pushed later may run first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Due {
    /// At once.
    #[default]
    Now,
    /// So long after the acknowledgement of the job before it.
    After(Duration),
    /// Not before this time.
    At(Timestamp),
}

/// A job that stands in an outbox, ready to be pushed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewJob {
    /// Where to.
    pub queue: String,
    /// Its JSON.
    pub job: Box<RawValue>,
    /// Not before this time, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<i64>,
}
