//! Validated settings, and every bound with its unit and reason.
//!
//! Reads no flag, no file and no environment: `cli` and `plugins` hand the values in.

mod egress;
mod grants;
mod manifest;
mod origin;
mod retry;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

pub use egress::{EgressLimits, Resolver};
pub use grants::{Gap, Grants, HttpGrant, Methods, PathPrefix, SecretGrant};
pub use manifest::Manifest;
pub use origin::Origin;
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

/// HTTP connections one attempt may have at once. A request beyond them gets an error and does not wait: a handler that
/// keeps answers unread would wait for itself.
pub const MAX_HTTP_CONNECTIONS: u32 = 8;

/// Bytes of an HTTP request's headers, with what the host needs to keep them; and of an answer's status line and headers.
pub const MAX_HTTP_HEADER_BYTES: usize = 32 * 1024;

/// Bytes of an HTTP request's body, and of an answer's. They pass through the host, which holds some chunks at a time.
pub const MAX_HTTP_BODY_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of an HTTP request's body that are handed over at once.
pub const MAX_HTTP_CHUNK_BYTES: usize = 64 * 1024;

/// The most time an HTTP request may take to resolve the name, to connect and for the TLS handshake.
pub const HTTP_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most time an HTTP server may take until the head of its answer is there. Some compute for a minute.
pub const HTTP_FIRST_BYTE_TIMEOUT: Duration = Duration::from_mins(2);

/// The most time in which no byte of a body moves, in either direction.
pub const HTTP_BETWEEN_BYTES_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a secret. A certificate chain with its key fits in.
pub const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Frames kept of a trap's backtrace.
pub const MAX_BACKTRACE_FRAMES: usize = 32;

/// Bytes of a plugin file. JavaScript's and Python's runtimes come to under 20 MB.
pub const MAX_PLUGIN_BYTES: u64 = 64 * 1024 * 1024;

/// How often a running guest is asked whether it should stop or let others run.
pub const EPOCH_TICK: Duration = Duration::from_millis(2);

/// What the sandbox is built with.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// Attempts that may run at once; the pool is made for as many.
    pub concurrency: NonZeroU32,
    /// Where compiled components are cached; none: nothing is cached.
    pub cache_dir: Option<PathBuf>,
    /// The most time any attempt may take.
    pub max_timeout: Duration,
    /// The memory an attempt may have where its plugin's manifest names none.
    pub max_memory: ByteSize,
    /// Where the values of secrets are looked for that are not in the host's environment as `KILN_SECRET_NAME`: one file
    /// for each, after its name. None: only in the environment.
    pub secrets_dir: Option<PathBuf>,
    /// How the names in guests' HTTP requests become addresses.
    pub resolver: Resolver,
}

impl SandboxSettings {
    /// The defaults, for this many attempts at once.
    #[must_use]
    pub fn new(concurrency: NonZeroU32) -> Self {
        Self {
            concurrency,
            cache_dir: None,
            max_timeout: MAX_TIMEOUT_DEFAULT,
            max_memory: MAX_MEMORY_DEFAULT,
            secrets_dir: None,
            resolver: Resolver::default(),
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
