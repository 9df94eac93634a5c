//! Jobs that a handler enqueues, as far as the plugin's manifest grants it (`[grants.jobs]`).
//!
//! ```no_run
//! use kiln_handler::{Failure, Job, flow};
//! use serde_json::json;
//!
//! fn order(job: Job<u64>) -> Result<(), Failure> {
//!     flow::enqueue("invoice", &job.payload)?;
//!     flow::enqueue_with("remind", &job.payload, &json!({"queue": "mails", "delay": "24h"}))?;
//!     Ok(())
//! }
//! ```
//!
//! What is enqueued is pushed with the acknowledgement of the handler's own job: if the attempt fails, nothing is. A job that
//! runs twice enqueues the same jobs, with the same ids. Outside Wasm, in tests, [`enqueued`] tells what a handler has asked
//! for.

use std::error::Error;
use std::fmt;

use serde::Serialize;

use crate::Failure;
use crate::raw::kiln::flow::jobs;

/// What is wrong with a job that cannot be enqueued.
pub use jobs::ErrorKind;

#[cfg(target_family = "wasm")]
use jobs as host;
#[cfg(not(target_family = "wasm"))]
use memory as host;

/// Why a job cannot be enqueued. Under `?` the handler's own job is tried again; that seldom helps, since the same comes of
/// it: see [`Self::kind`].
#[derive(Debug, Clone)]
pub struct EnqueueError(jobs::Error);

impl EnqueueError {
    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl fmt::Display for EnqueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "enqueue: {}", self.0.message)
    }
}

impl Error for EnqueueError {}

/// Enqueues a job in the queue of the handler's own, and returns its id. What is not granted ends the attempt.
///
/// # Errors
/// When it is larger, or one more, than the plugin's limits allow. The failure is permanent.
pub fn enqueue<P: Serialize + ?Sized>(name: &str, payload: &P) -> Result<String, Failure> {
    permanent(try_enqueue(name, payload, None::<&()>))
}

/// The same with options, the keys of an object: `queue`, `delay` ("5m"), `at`, `max_attempts`, `timeout`, `id`, `metadata`,
/// and what a job may ask of Kiln in `metadata.kiln`.
///
/// # Errors
/// As for [`enqueue`], and where an option does not exist or has a wrong value.
pub fn enqueue_with<P, O>(name: &str, payload: &P, options: &O) -> Result<String, Failure>
where
    P: Serialize + ?Sized,
    O: Serialize + ?Sized,
{
    permanent(try_enqueue(name, payload, Some(options)))
}

/// The same, for a handler that can do without.
///
/// # Errors
/// What the host says.
pub fn try_enqueue<P, O>(name: &str, payload: &P, options: Option<&O>) -> Result<String, EnqueueError>
where
    P: Serialize + ?Sized,
    O: Serialize + ?Sized,
{
    let payload = json("payload", payload)?;
    let options = options.map(|options| json("options", options)).transpose()?;
    host::enqueue(name, &payload, options.as_deref()).map_err(EnqueueError)
}

fn permanent(enqueued: Result<String, EnqueueError>) -> Result<String, Failure> {
    enqueued.map_err(|err| Failure::Permanent(err.to_string()))
}

fn json<T: Serialize + ?Sized>(what: &str, value: &T) -> Result<String, EnqueueError> {
    serde_json::to_string(value).map_err(|err| {
        EnqueueError(jobs::Error {
            kind: ErrorKind::Invalid,
            message: format!("{what}: {err}"),
        })
    })
}

#[cfg(not(target_family = "wasm"))]
pub use memory::{Enqueued, enqueued};

/// Stands in for the host where there is none, in tests.
#[cfg(not(target_family = "wasm"))]
mod memory {
    use std::cell::RefCell;

    use serde_json::Value;

    use crate::raw::kiln::flow::jobs::Error;

    thread_local! {
        static ENQUEUED: RefCell<Vec<Enqueued>> = RefCell::default();
    }

    /// What a handler has enqueued.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Enqueued {
        /// The job's name.
        pub name: String,
        /// Its payload.
        pub payload: Value,
        /// Its options; null where there are none.
        pub options: Value,
    }

    /// What handlers have enqueued on this thread since this was asked last. Only outside Wasm, for tests.
    pub fn enqueued() -> Vec<Enqueued> {
        ENQUEUED.take()
    }

    pub(super) fn enqueue(name: &str, payload: &str, options: Option<&str>) -> Result<String, Error> {
        let parsed = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
        ENQUEUED.with_borrow_mut(|enqueued| {
            enqueued.push(Enqueued {
                name: name.to_owned(),
                payload: parsed(payload),
                options: options.map_or(Value::Null, parsed),
            });
            Ok(format!("follow-up-{}", enqueued.len()))
        })
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_test_sees_what_was_enqueued() -> Result<(), Failure> {
        assert_eq!(enqueue("a", &[1])?, "follow-up-1");
        enqueue_with("b", "x", &json!({"delay": "5m"}))?;
        let found = enqueued();
        assert_eq!(
            (&*found[0].name, &found[0].payload, &found[0].options),
            ("a", &json!([1]), &json!(null))
        );
        assert_eq!((&*found[1].name, &found[1].options), ("b", &json!({"delay": "5m"})));
        assert!(enqueued().is_empty());
        Ok(())
    }
}
