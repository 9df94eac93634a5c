//! What a handler may say to the host and ask of it. Outside Wasm, in tests, there is none: what is said goes to
//! standard error, what is asked has the answer of a host with time to spare and nothing configured.

use std::time::Duration;

use crate::raw::kiln::job::context;
use crate::raw::wasi::config::store;

/// What a job has that asks for no other timeout.
const REMAINING_IN_TESTS: Duration = Duration::from_secs(30);

const IS_WASM: bool = cfg!(target_family = "wasm");

/// Reports how far the attempt has come, in percent, with a note; an empty one is none.
pub fn progress(percent: u8, note: &str) {
    if IS_WASM {
        context::progress(percent, Some(note).filter(|note| !note.is_empty()));
    } else {
        eprintln!("progress: {percent} % {note}");
    }
}

/// The time until the attempt is interrupted as timed out.
pub fn remaining() -> Duration {
    if IS_WASM {
        Duration::from_millis(context::remaining_ms())
    } else {
        REMAINING_IN_TESTS
    }
}

/// Whether the host is shutting down. A long handler does best to return [`Failure::retry`](crate::Failure::retry)
/// soon: the attempt then does not count, and the job goes back to its queue.
pub fn is_cancelled() -> bool {
    IS_WASM && context::is_cancelled()
}

/// A value from `[config]` in the plugin's manifest.
pub fn config(key: &str) -> Option<String> {
    // The host holds its values in memory: it has no error to return.
    if IS_WASM { store::get(key).ok().flatten() } else { None }
}
