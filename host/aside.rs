//! The host's own long computations, kept off what waits for their thread.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Bytes of JSON from which on it is read or written while other jobs go on. A megabyte takes up to ten milliseconds.
pub(crate) const LONG_BYTES: usize = 256 * 1024;

/// Computes something that takes time with so many bytes. Where that is long, the other tasks of this thread go on elsewhere.
pub(crate) fn aside<T>(bytes: usize, compute: impl FnOnce() -> T) -> T {
    let has_threads = || Handle::try_current().is_ok_and(|rt| rt.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes > LONG_BYTES && has_threads() {
        block_in_place(compute)
    } else {
        compute()
    }
}
