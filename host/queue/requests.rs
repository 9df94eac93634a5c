//! Requests to push that were carried out, so that one which is made again is not carried out again.

use std::time::Duration;

use super::error::QueueError;
use super::store::Store;

/// How long a request is remembered.
pub const REQUEST_KEPT: Duration = Duration::from_hours(24);

/// How long a request may be under way before another like it is carried out: whoever began it has died since.
pub const REQUEST_TIME: Duration = Duration::from_mins(1);

impl Store {
    /// Keeps a note under the name of a request for [`REQUEST_TIME`], unless there is one already, and then returns that.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin_request(&self, name: &str, note: &str) -> Result<Option<String>, QueueError> {
        self.backend().begin_request(name, note, REQUEST_TIME).await
    }

    /// Keeps a note under the name of a request for [`REQUEST_KEPT`], in place of that with which it began.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_request(&self, name: &str, note: &str) -> Result<(), QueueError> {
        self.backend().end_request(name, note, REQUEST_KEPT).await
    }
}
