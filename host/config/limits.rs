//! What guests may take: every bound with its unit, its default, how far a manifest may raise it, and its reason.
//!
//! All are on by default. An operator sets them for a host; a plugin's manifest lowers them, or raises them as far as the
//! host's ceiling. Absent on purpose: a value for "no limit". Whoever needs more says how much.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{LimitWishes, parse_duration};
use bytesize::ByteSize;

/// One of the bounds that [`LIMITS`] describes, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is described in LIMITS, and only there")]
pub enum Limit {
    Timeout,
    MaxAttempts,
    CpuTime,
    MaxMemory,
    GuestMemory,
    JobMemory,
    TableElements,
    CoreInstances,
    Memories,
    Tables,
    Stack,
    HostcallBytes,
    Handles,
    RandomBytes,
    LogLines,
    LogLineBytes,
    LogBytes,
    OutputBytes,
    ProgressReports,
    ResultBytes,
    HttpRequests,
    HttpConnections,
    HttpHeaderBytes,
    HttpBodyBytes,
    HttpConnectTimeout,
    HttpFirstByteTimeout,
    HttpBetweenBytesTimeout,
    PluginBytes,
    CompileTime,
    CompileMemory,
}

/// What is bounded, and by how much.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Which it is.
    pub limit: Limit,
    /// Its name in `--limit` and in a manifest's `[limits]`.
    pub name: &'static str,
    /// What its value counts.
    pub unit: Unit,
    /// Whose it is to set.
    pub scope: Scope,
    /// The value where nobody says otherwise.
    pub default: u64,
    /// How far a manifest may raise it where the operator says nothing.
    pub ceiling: u64,
    /// What it bounds, and why so far.
    pub about: &'static str,
}

/// What the value of a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Time,
    /// Things.
    Count,
}

impl Unit {
    /// The unit as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Time => "ms",
            Self::Count => "count",
        }
    }
}

/// Whose a limit is to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One value for all plugins of a host: what it shapes is made before any plugin is there.
    Host,
    /// Each plugin's manifest may have its own.
    Plugin,
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;

const fn bytes(limit: Limit, name: &'static str, default: u64, ceiling: u64, about: &'static str) -> Spec {
    spec(limit, name, Unit::Bytes, default, ceiling, about)
}

const fn time(limit: Limit, name: &'static str, default: u64, ceiling: u64, about: &'static str) -> Spec {
    spec(limit, name, Unit::Time, default, ceiling, about)
}

const fn count(limit: Limit, name: &'static str, default: u64, ceiling: u64, about: &'static str) -> Spec {
    spec(limit, name, Unit::Count, default, ceiling, about)
}

const fn spec(limit: Limit, name: &'static str, unit: Unit, default: u64, ceiling: u64, about: &'static str) -> Spec {
    let scope = Scope::Plugin;
    Spec {
        limit,
        name,
        unit,
        scope,
        default,
        ceiling,
        about,
    }
}

impl Spec {
    const fn of_host(mut self) -> Self {
        self.scope = Scope::Host;
        self
    }
}

/// Every limit, as documentation, `kiln doctor` and messages have it.
#[rustfmt::skip]
pub const LIMITS: [Spec; 30] = [
    time(Limit::Timeout, "timeout", HOUR, HOUR,
        "an attempt, whatever its job asks for; beyond an hour a job is a service, and every deploy would interrupt it"),
    count(Limit::MaxAttempts, "max_attempts", 1000, 1_000_000,
        "attempts at a job, whatever it asks for; with the default waits they take six weeks"),
    time(Limit::CpuTime, "cpu_time", 60 * SECOND, HOUR,
        "processor time of an attempt; twice what a job without a timeout of its own could use"),
    bytes(Limit::MaxMemory, "max_memory", 128 * MIB, 4 * GIB,
        "an attempt's linear memories, and what the host keeps for its handles; enough for Python's runtime or to decode a photograph"),
    bytes(Limit::GuestMemory, "guest_memory", 4 * GIB, 4 * GIB,
        "the memory of all attempts together; half of it is kept in equal shares, the rest goes to who asks first").of_host(),
    bytes(Limit::JobMemory, "job_memory", 256 * MIB, 256 * MIB,
        "jobs of more than 64 KiB in hand together, each of which is held twice while it runs; an equal part for each queue, of at least 32 MiB").of_host(),
    count(Limit::TableElements, "table_elements", 64 * KIB, 256 * KIB,
        "an attempt's tables together; the largest known runtimes use 20,000"),
    count(Limit::CoreInstances, "core_instances", 64, 64,
        "core instances in one component; componentize-py links about a dozen modules, each with its shims").of_host(),
    count(Limit::Memories, "memories", 8, 8,
        "memories in one component; nearly all have one, a few composed into one have one each").of_host(),
    count(Limit::Tables, "tables", 32, 32,
        "tables in one component; one or two for each of its modules").of_host(),
    bytes(Limit::Stack, "stack", 512 * KIB, 512 * KIB,
        "an attempt's own frames; what the engine's makers chose, a deep parser fits in").of_host(),
    bytes(Limit::HostcallBytes, "hostcall_bytes", 6 * MIB, 96 * MIB,
        "what a guest hands over in one call to the host, which nothing can interrupt; more than a result, to tell how large one is"),
    count(Limit::Handles, "handles", 1024, 64 * KIB,
        "streams, requests and other resources an attempt holds at once; fields, paths and bodies behind them count as its memory"),
    bytes(Limit::RandomBytes, "random_bytes", 64 * KIB, MIB,
        "random bytes asked for in one call"),
    count(Limit::LogLines, "log_lines", 1000, 1_000_000,
        "lines an attempt logs through wasi:logging; more are counted and dropped"),
    bytes(Limit::LogLineBytes, "log_line_bytes", 8 * KIB, 64 * KIB,
        "one logged line, or a progress report's note; the rest of it is dropped"),
    bytes(Limit::LogBytes, "log_bytes", 256 * KIB, GIB,
        "all that an attempt logs; further lines are counted and dropped"),
    bytes(Limit::OutputBytes, "output_bytes", 16 * KIB, MIB,
        "kept of each of standard output and error: the last of it, since a panic's message comes at the end"),
    count(Limit::ProgressReports, "progress_reports", 1000, 1_000_000,
        "progress reports of an attempt; more are counted and dropped"),
    bytes(Limit::ResultBytes, "result_bytes", 4 * MIB, 64 * MIB,
        "a result; it is an answer, not a file store"),
    count(Limit::HttpRequests, "http_requests", 100, 1_000_000,
        "HTTP requests of an attempt; the next one is refused"),
    count(Limit::HttpConnections, "http_connections", 8, 256,
        "HTTP connections an attempt has open at once; each is a file of the host's"),
    bytes(Limit::HttpHeaderBytes, "http_header_bytes", 32 * KIB, 256 * KIB,
        "the header fields of an HTTP request, and those of its response"),
    bytes(Limit::HttpBodyBytes, "http_body_bytes", 64 * MIB, 4 * GIB,
        "the body of an HTTP request, and that of its response"),
    time(Limit::HttpConnectTimeout, "http_connect_timeout", 10 * SECOND, HOUR,
        "from a name to a connection: DNS, TCP and TLS"),
    time(Limit::HttpFirstByteTimeout, "http_first_byte_timeout", 120 * SECOND, HOUR,
        "from an HTTP request to the first byte of its answer; some answers take their time to be made"),
    time(Limit::HttpBetweenBytesTimeout, "http_between_bytes_timeout", 10 * SECOND, HOUR,
        "between two bytes of an HTTP body"),
    bytes(Limit::PluginBytes, "plugin_bytes", 64 * MIB, GIB,
        "a plugin's file; JavaScript's and Python's runtimes come to under 20 MB"),
    time(Limit::CompileTime, "compile_time", 120 * SECOND, HOUR,
        "processor time to compile a plugin; the largest known runtime takes 26 s on a busy machine"),
    bytes(Limit::CompileMemory, "compile_memory", 4 * GIB, 64 * GIB,
        "memory to compile a plugin; the largest known runtime takes half a gigabyte"),
];

impl Limit {
    /// What is known of it.
    #[must_use]
    pub const fn spec(self) -> &'static Spec {
        &LIMITS[self as usize]
    }

    /// Reads a value as people write it: `64MiB`, `30s`, `1000`.
    ///
    /// # Errors
    /// When the text is no such amount, or an impossible one.
    pub fn parse(self, text: &str) -> Result<u64, String> {
        let value = match self.spec().unit {
            Unit::Bytes => text
                .parse::<ByteSize>()
                .map_err(|_| format!("{text:?} is no size; write it like 64MiB"))?
                .as_u64(),
            Unit::Time => parse_duration(text)?
                .as_micros()
                .div_ceil(1000)
                .try_into()
                .unwrap_or(u64::MAX),
            Unit::Count => text
                .replace('_', "")
                .parse()
                .map_err(|_| format!("{text:?} is no whole number"))?,
        };
        if value == 0 && self.spec().unit == Unit::Time {
            return Err("must be more than 0".to_owned());
        }
        Ok(value)
    }

    /// A value of it, as people write it.
    #[must_use]
    pub fn show(self, value: u64) -> String {
        match self.spec().unit {
            Unit::Bytes => ByteSize::b(value).to_string(),
            Unit::Time => format!(
                "{:#}",
                jiff::SignedDuration::from_millis(value.try_into().unwrap_or(i64::MAX))
            ),
            Unit::Count => value.to_string(),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec().name)
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = LIMITS.iter().find(|spec| spec.name == name);
        found.map(|spec| spec.limit).ok_or_else(|| {
            let names: Vec<_> = LIMITS.iter().map(|spec| spec.name).collect();
            format!("there is no limit {name:?}; there are {}", names.join(", "))
        })
    }
}

/// A limit in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// How much, in its limit's unit.
    pub value: u64,
    /// How far a manifest may raise it.
    pub ceiling: u64,
    /// Who said so.
    pub source: Source,
}

/// Where the value of a limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nobody said otherwise.
    Default,
    /// What this machine has.
    Machine,
    /// The operator, for the whole host.
    Host,
    /// The operator, for one plugin.
    Manifest,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "default",
            Self::Machine => "machine",
            Self::Host => "host",
            Self::Manifest => "manifest",
        })
    }
}

/// A manifest asks for more than its host allows, or for what is not a plugin's to set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// More than the ceiling.
    #[error("{limit} = {}: this host allows up to {}; start it with --limit {limit}={}..{}", .limit.show(*.wanted), .limit.show(.bound.ceiling), flag(*.limit, .bound.value), flag(*.limit, *.wanted))]
    Ceiling {
        /// Which.
        limit: Limit,
        /// What the manifest says.
        wanted: u64,
        /// What the host says.
        bound: Bound,
    },
    /// One value for all plugins.
    #[error("{0} is one for all plugins; set it for the host, with --limit {0}=…")]
    Host(Limit),
}

/// A value as a flag takes it: without spaces, and not rounded.
fn flag(limit: Limit, value: u64) -> String {
    let text = limit.show(value).replace(' ', "");
    if limit.parse(&text) == Ok(value) {
        text
    } else {
        format!("{value}B")
    }
}

/// Every limit's value: of a host, or of one of its plugins.
#[derive(Debug, Clone)]
pub struct Limits([Bound; LIMITS.len()]);

impl Default for Limits {
    fn default() -> Self {
        Self(LIMITS.map(|spec| Bound {
            value: spec.default,
            ceiling: spec.ceiling,
            source: Source::Default,
        }))
    }
}

impl Limits {
    /// The limit in force.
    #[must_use]
    pub fn bound(&self, limit: Limit) -> Bound {
        self.0[limit as usize]
    }

    /// Its value, in its unit.
    #[must_use]
    pub fn get(&self, limit: Limit) -> u64 {
        self.bound(limit).value
    }

    /// Its value as a size or number in memory.
    #[must_use]
    pub fn size(&self, limit: Limit) -> usize {
        self.get(limit).try_into().unwrap_or(usize::MAX)
    }

    /// Its value as a small number.
    #[must_use]
    pub fn count(&self, limit: Limit) -> u32 {
        self.get(limit).try_into().unwrap_or(u32::MAX)
    }

    /// Its value as a time.
    #[must_use]
    pub fn time(&self, limit: Limit) -> Duration {
        Duration::from_millis(self.get(limit))
    }

    /// Sets it for the host, with a ceiling for manifests that is at least the value.
    pub fn set(&mut self, limit: Limit, value: u64, ceiling: u64, source: Source) {
        let ceiling = ceiling.max(value);
        self.0[limit as usize] = Bound { value, ceiling, source };
    }

    /// These limits as a manifest wants them.
    ///
    /// # Errors
    /// When it wants more than the host allows.
    pub fn with(&self, wishes: &LimitWishes) -> Result<Self, LimitError> {
        let mut limits = self.clone();
        for (limit, wanted) in wishes.iter() {
            let bound = self.bound(limit);
            if limit.spec().scope == Scope::Host {
                return Err(LimitError::Host(limit));
            }
            if wanted > bound.ceiling {
                return Err(LimitError::Ceiling { limit, wanted, bound });
            }
            limits.set(limit, wanted, bound.ceiling, Source::Manifest);
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_found_by_its_name_and_within_its_ceiling() {
        for (place, spec) in LIMITS.iter().enumerate() {
            assert_eq!(spec.limit as usize, place, "{}", spec.name);
            assert_eq!(spec.name.parse(), Ok(spec.limit));
            assert!(spec.default <= spec.ceiling, "{}", spec.name);
            assert_eq!(
                spec.limit.parse(&flag(spec.limit, spec.default)),
                Ok(spec.default),
                "{}",
                spec.name
            );
        }
    }

    #[test]
    fn a_manifest_lowers_a_limit_or_raises_it_as_far_as_the_host_allows() {
        let mut host = Limits::default();
        host.set(Limit::HttpRequests, 10, 20, Source::Host);
        let wish = |limit, value| {
            let mut wishes = LimitWishes::default();
            wishes.add(limit, value);
            host.with(&wishes)
        };
        assert_eq!(
            wish(Limit::HttpRequests, 20).map(|limits| limits.get(Limit::HttpRequests)),
            Ok(20)
        );
        assert_eq!(
            wish(Limit::HttpRequests, 0).map(|limits| limits.bound(Limit::HttpRequests).source),
            Ok(Source::Manifest)
        );
        assert_eq!(
            wish(Limit::HttpRequests, 21).unwrap_err().to_string(),
            "http_requests = 21: this host allows up to 20; start it with --limit http_requests=10..21"
        );
        assert_eq!(
            wish(Limit::CompileTime, 2 * HOUR).unwrap_err().to_string(),
            "compile_time = 2h: this host allows up to 1h; start it with --limit compile_time=2m..2h"
        );
        assert_eq!(wish(Limit::Stack, 1).unwrap_err(), LimitError::Host(Limit::Stack));
    }
}
