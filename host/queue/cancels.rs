//! Jobs that operators have cancelled: a mark for each, by the job's id.
//!
//! A mark says that a job is to end, wherever it is. It is kept for a while, so that it also meets a job that is delayed,
//! waits, or comes back from a host that died. Hosts read the marks of a queue whenever their version has changed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::stop::MAX_CANCEL_ID_BYTES;

/// Most marks of one queue. Every host that serves the queue keeps them all.
pub const MAX_CANCELLED: usize = 10_000;

/// How long a mark lasts at least.
pub const CANCELLED_FOR: Duration = Duration::from_hours(24);

/// Marks of a queue, as a host reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cancels {
    /// Grows with every change of the marks. 0: there never was one.
    pub version: u64,
    /// Whether these are all marks there are; else those made since the version that the reader knew.
    pub all: bool,
    /// Job ids, each with the Unix milliseconds at which its mark ends, by the store's clock.
    pub marks: BTreeMap<String, i64>,
}

/// A job id by which a job can be cancelled.
///
/// # Errors
/// When it is empty or longer than [`MAX_CANCEL_ID_BYTES`].
pub fn cancellable(id: &str) -> Result<String, String> {
    if id.is_empty() || id.len() > MAX_CANCEL_ID_BYTES {
        return Err(format!("a job's id has 1 to {MAX_CANCEL_ID_BYTES} bytes here"));
    }
    Ok(id.to_owned())
}
