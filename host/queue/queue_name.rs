//! The names of queues.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::config::{MAX_QUEUE_NAME_BYTES, check_queue_name};

/// A name for a queue that makes valid, unambiguous keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = MAX_QUEUE_NAME_BYTES;

    /// # Errors
    /// When the name is empty, too long, or would make keys that mean something else.
    pub fn new(name: &str) -> Result<Self, String> {
        check_queue_name(name)?;
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for QueueName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
