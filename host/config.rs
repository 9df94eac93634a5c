//! Validated settings, and every bound with its unit and reason.
//!
//! Reads no flag, no file and no environment: `cli` and `plugins` hand the values in.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer};

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
        }
    }
}

/// What the operator says about a plugin: the `.toml` beside its `.wasm`. Every key may be left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// The job names it handles; the file's stem where it names none.
    pub jobs: Option<Vec<String>>,
    /// The most time an attempt may take; a job that asks for more gets this.
    #[serde(deserialize_with = "optional_duration")]
    pub timeout: Option<Duration>,
    /// The most memory an attempt may have, over all its linear memories.
    pub max_memory: Option<ByteSize>,
    /// Attempts at once on one host.
    pub concurrency: Option<NonZeroU32>,
    /// When failed attempts are made again.
    pub retry: RetryPolicy,
    /// Capabilities beyond the default.
    pub grants: Grants,
    /// What `wasi:config` serves.
    pub config: BTreeMap<String, String>,
}

/// Capabilities beyond the default. None by default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Where it may send HTTP requests.
    pub http: Vec<HttpGrant>,
    /// The environment it sees.
    pub env: BTreeMap<String, String>,
}

/// One place HTTP requests may go to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// `scheme://host` or `scheme://host:port`; the host's first label may be `*`.
    pub origin: Origin,
}

/// Scheme, host and port of an HTTP server, or of all servers below a domain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of a request.
    #[must_use]
    pub fn new(https: bool, host: &str, port: Option<u16>) -> Self {
        Self {
            https,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(if https { 443 } else { 80 }),
        }
    }

    /// Whether a request to `origin` is covered by this grant. `*.example.com` covers every name below `example.com`,
    /// but not `example.com`.
    #[must_use]
    pub fn covers(&self, origin: &Self) -> bool {
        let host = match self.host.strip_prefix('*') {
            Some(domain) => origin.host.len() > domain.len() && origin.host.ends_with(domain),
            None => origin.host == self.host,
        };
        host && self.https == origin.https && self.port == origin.port
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scheme, default) = if self.https { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == default {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |why: &str| format!("origin {text:?}: {why}; expected scheme://host or scheme://host:port");
        let (https, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(wrong("the scheme must be http or https")),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                Some(port.parse().map_err(|_| wrong("the port is no number below 65536"))?),
            ),
            _ => (rest, None),
        };
        let name = host.strip_prefix("*.").unwrap_or(host);
        if name.is_empty() || name.contains(['/', '*', '@', '?', '#', ' ']) {
            return Err(wrong(
                "the host must be a name or an address, with * as its first label at most",
            ));
        }
        Ok(Self::new(https, host, port))
    }
}

/// When a failed attempt is made again.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// How the wait grows.
    pub policy: Backoff,
    /// The wait after the first failed attempt.
    #[serde(deserialize_with = "duration")]
    pub base: Duration,
    /// The longest wait; also caps what a handler asks for with `retry-after`.
    #[serde(deserialize_with = "duration")]
    pub max: Duration,
    /// By how much a wait varies, so that jobs which failed together do not come back together: 0.2 is ± 20 %.
    #[serde(deserialize_with = "fraction")]
    pub jitter: f64,
}

/// What of a [`RetryPolicy`] a job wants otherwise.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryWish {
    /// How the wait grows.
    pub policy: Option<Backoff>,
    /// The wait after the first failed attempt.
    #[serde(deserialize_with = "some_duration")]
    pub base: Option<Duration>,
    /// The longest wait.
    #[serde(deserialize_with = "some_duration")]
    pub max: Option<Duration>,
    /// By how much a wait varies.
    #[serde(deserialize_with = "some_fraction")]
    pub jitter: Option<f64>,
}

impl RetryPolicy {
    /// This policy where the job wants nothing else.
    #[must_use]
    pub fn with(&self, wish: &RetryWish) -> Self {
        Self {
            policy: wish.policy.unwrap_or(self.policy),
            base: wish.base.unwrap_or(self.base),
            max: wish.max.unwrap_or(self.max),
            jitter: wish.jitter.unwrap_or(self.jitter),
        }
    }
}

/// How the wait between attempts grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// Doubles each time.
    Exponential,
    /// Grows by the base each time.
    Linear,
    /// Stays the base.
    Fixed,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            policy: Backoff::Exponential,
            base: Duration::from_secs(2),
            max: Duration::from_hours(1),
            jitter: 0.2,
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

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn some_fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    fraction(deserializer).map(Some)
}

fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    match duration(deserializer)? {
        Duration::ZERO => Err(serde::de::Error::custom("must be more than 0")),
        value => Ok(Some(value)),
    }
}

fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(serde::de::Error::custom("jitter must be between 0 and 1"))
    }
}
