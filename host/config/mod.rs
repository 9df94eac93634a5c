//! Validated settings, and every bound with its unit and reason.
//!
//! Reads no flag, no file and no environment: `cli` and `plugins` hand the values in.

mod compile;
mod grants;
mod manifest;
mod retry;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

pub use compile::{
    COMPILE_NICENESS, COMPILE_WAIT_FACTOR, CompileLimits, Compiler, MAX_COMPILE_MEMORY, MAX_COMPILE_TIME,
};
pub use grants::{Grants, HttpGrant, Origin};
pub use manifest::Manifest;
pub use retry::{Backoff, RetryPolicy, RetryWish};

/// Memory one attempt may have, over all its linear memories, where the manifest names none. Enough for a runtime such
/// as Python's (13 MB) and to decode a large photograph.
pub const MAX_MEMORY_DEFAULT: ByteSize = ByteSize::mib(128);

/// The most time a job may ask for. Beyond an hour a job is a service, and a deploy would always interrupt it.
pub const MAX_TIMEOUT_DEFAULT: Duration = Duration::from_hours(1);

/// Table elements one attempt may have, over each of its tables. The largest known runtimes use 20,000.
pub const MAX_TABLE_ELEMENTS: usize = 64 * 1024;

/// Core instances one component may hold; componentize-py links about a dozen modules, each with its shims.
pub const MAX_CORE_INSTANCES: u32 = 64;

/// Linear memories one component may hold. Nearly all have one; a few composed into one have one each.
pub const MAX_MEMORIES: u32 = 8;

/// Tables one component may hold: one or two for each module that brings its own memory.
pub const MAX_TABLES: u32 = 32;

/// Bytes of a used memory that are reset by writing instead of being given back to the system. It covers all of a small
/// guest, whose sandbox then costs a third; it stays resident for every slot of the pool that was ever used.
pub const KEEP_RESIDENT_BYTES: usize = 256 * 1024;

/// Sandboxes beyond `concurrency`: so that a component that takes several runs even where one attempt at once is allowed.
pub const SPARE_SLOTS: u32 = 8;

/// Bytes of stack for a guest's own frames. What the engine's makers chose; native code of a deep parser fits in.
pub const MAX_STACK_BYTES: usize = 512 * 1024;

/// Bytes of a result that are kept. A result is an answer, not a file store.
pub const MAX_RESULT_BYTES: usize = 16 * 1024 * 1024;

/// Bytes kept of each of standard output and error: the last ones, since a panic's message comes at the end.
pub const MAX_OUTPUT_BYTES: usize = 16 * 1024;

/// Lines one attempt may log through `wasi:logging`; more are counted and dropped.
pub const MAX_LOG_LINES: u32 = 1_000;

/// Bytes of one logged line that are kept.
pub const MAX_LOG_LINE_BYTES: usize = 8 * 1024;

/// Progress reports one attempt may make; more are dropped.
pub const MAX_PROGRESS_REPORTS: u32 = 1_000;

/// Resource handles (streams, requests, pollables …) one attempt may hold at once. The host keeps up to some ten kilobytes
/// for each.
pub const MAX_HANDLES: usize = 1024;

/// Bytes a guest may hand over in one call to the host. Must hold a request body chunk and a log line, no more.
pub const MAX_HOSTCALL_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of randomness a guest may ask for in one call.
pub const MAX_RANDOM_BYTES: u64 = 64 * 1024;

/// HTTP requests one attempt may make.
pub const MAX_HTTP_REQUESTS: u32 = 100;

/// Bytes of an HTTP request's headers, with what the host needs to keep them.
pub const MAX_HTTP_FIELDS_BYTES: usize = 32 * 1024;

/// Bytes of an HTTP request's body that are handed over at once.
pub const MAX_HTTP_CHUNK_BYTES: usize = 64 * 1024;

/// Time to connect, and between two bytes, of a guest's HTTP request that does not say otherwise. The answer's first byte
/// may take as long as the attempt.
pub const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// Frames kept of a trap's backtrace.
pub const MAX_BACKTRACE_FRAMES: usize = 32;

/// Bytes of a plugin file. JavaScript's and Python's runtimes come to under 20 MB.
pub const MAX_PLUGIN_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of a manifest. A thousand granted origins come to a tenth of it.
pub const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

/// Imports, and exports, of one component. Those of the largest known runtimes come to fifty.
pub const MAX_INTERFACES: u32 = 1_000;

/// Names that a message lists; it counts the others.
pub const MAX_LISTED_NAMES: usize = 10;

/// Characters of a name out of a component that are shown.
pub const MAX_NAME_CHARS: usize = 120;

/// Characters of what the engine says about a component that are shown.
pub const MAX_REASON_CHARS: usize = 500;

/// How often a running guest is asked whether it should stop or let others run.
pub const EPOCH_TICK: Duration = Duration::from_millis(2);

/// What the sandbox is built with.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// Attempts that may run at once; the pool is made for as many.
    pub concurrency: NonZeroU32,
    /// Where compiled components are cached; none: nothing is cached.
    pub cache_dir: Option<PathBuf>,
    /// Compiles, within bounds, what is not cached yet; none: this process does, without bounds.
    pub compiler: Option<Compiler>,
    /// The most time any attempt may take.
    pub max_timeout: Duration,
    /// The memory an attempt may have where its plugin's manifest names none.
    pub max_memory: ByteSize,
}

impl SandboxSettings {
    /// The defaults, for this many attempts at once.
    #[must_use]
    pub fn new(concurrency: NonZeroU32) -> Self {
        Self {
            concurrency,
            cache_dir: None,
            compiler: None,
            max_timeout: MAX_TIMEOUT_DEFAULT,
            max_memory: MAX_MEMORY_DEFAULT,
        }
    }
}

/// Reads a duration as people write it: `100ms`, `30s`, `1h 30m`.
///
/// # Errors
/// When the text is no duration, or a negative one.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is not a duration; write it like 100ms, 30s, 1h30m or 48h"))?;
    Duration::try_from(span).map_err(|_| format!("{text:?} is negative"))
}
