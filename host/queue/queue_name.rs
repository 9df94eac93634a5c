//! The names of queues.

use std::fmt;
use std::sync::Arc;

use crate::text::is_hidden;

/// A name for a queue that makes valid, unambiguous keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// # Errors
    /// When the name is empty, too long, or would make keys that mean something else.
    pub fn new(name: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("queue name {name:?}: {why}"));
        if name.is_empty() || name.len() > Self::MAX_BYTES {
            return wrong("must have 1 to 128 bytes");
        }
        if name.contains(|c: char| is_hidden(c) || c.is_whitespace() || "{}=".contains(c)) {
            return wrong("must not contain spaces, braces, = or hidden characters");
        }
        if name.ends_with(":delayed")
            || name.ends_with(":leases")
            || name.ends_with(":lanes")
            || name.contains(":waiting:")
            || name.contains(":inflight:")
            || name.contains(":lasttag:")
            || name.contains(":founddead:")
        {
            return wrong("contains what marks a key of another queue");
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
