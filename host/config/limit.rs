//! What can be bounded: every limit with its unit, its default, how far a manifest may raise it and how far it goes at all,
//! each with its reason.
//!
//! Absent on purpose: a value for "no limit". Whoever needs more says how much.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::parse_duration;
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
    HttpSignedBodyBytes,
    HttpConnectTimeout,
    HttpFirstByteTimeout,
    HttpBetweenBytesTimeout,
    FollowUps,
    FollowUpBytes,
    FollowUpDepth,
    StateCalls,
    StateValueBytes,
    StateCommitBytes,
    TcpConnections,
    TcpConnects,
    TcpBytes,
    TcpConnectTimeout,
    TcpIdleTimeout,
    TmpBytes,
    TmpFiles,
    PluginBytes,
    CompileTime,
    CompileMemory,
}

impl Limit {
    /// How many there are. Not the length of [`LIMITS`]: an optimised build would have to know the type of every closure in
    /// this crate before it knew that length (rustc 1.95, error E0391).
    pub(crate) const COUNT: usize = Self::CompileMemory as usize + 1;
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
    /// The least that it can be set to.
    pub least: u64,
    /// The most that it, or its ceiling, can be set to.
    pub greatest: u64,
    /// Why it is no less and no more.
    pub range: &'static str,
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
const TIB: u64 = 1024 * GIB;
const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
const WEEK: u64 = 7 * 24 * HOUR;

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
        least: 0,
        greatest: u64::MAX,
        range: "",
    }
}

impl Spec {
    const fn of_host(mut self) -> Self {
        self.scope = Scope::Host;
        self
    }

    const fn within(mut self, least: u64, greatest: u64, why: &'static str) -> Self {
        (self.least, self.greatest, self.range) = (least, greatest, why);
        self
    }

    /// From the least to the most that it can be set to, as people write it.
    #[must_use]
    pub fn show_range(&self) -> String {
        format!("{} to {}", self.limit.show(self.least), self.limit.show(self.greatest))
    }
}

/// Every limit, as documentation, `kiln doctor` and messages have it.
#[rustfmt::skip]
pub const LIMITS: [Spec; Limit::COUNT] = [
    time(Limit::Timeout, "timeout", HOUR, HOUR,
        "an attempt, whatever its job asks for; beyond an hour a job is a service, and every deploy would interrupt it")
        .within(1, WEEK, "what runs for longer is a service"),
    count(Limit::MaxAttempts, "max_attempts", 1000, 1_000_000,
        "attempts at a job, whatever it asks for; with the default waits they take six weeks")
        .within(1, 1_000_000, "every job has a first attempt; a million come once a minute for two years"),
    time(Limit::CpuTime, "cpu_time", 60 * SECOND, HOUR,
        "processor time of an attempt; twice what a job without a timeout of its own could use")
        .within(1, WEEK, "as far as timeout goes"),
    bytes(Limit::MaxMemory, "max_memory", 128 * MIB, 4 * GIB,
        "an attempt's linear memories, and what the host keeps for its handles and files; enough for Python's runtime or to decode a photograph")
        .within(64 * KIB, 64 * GIB, "a Wasm memory grows by 64 KiB, and sixteen of the largest come to 64 GiB"),
    bytes(Limit::GuestMemory, "guest_memory", 4 * GIB, 4 * GIB,
        "the memory of all attempts together; half of it is kept in equal shares, the rest goes to who asks first").of_host()
        .within(MIB, 16 * TIB, "with less no attempt has a page of its own; no machine has more"),
    bytes(Limit::JobMemory, "job_memory", 256 * MIB, 256 * MIB,
        "jobs of more than 64 KiB in hand together, each of which is held twice while it runs; an equal part for each queue, of at least 32 MiB; what finds no room waits, and keeps no small job waiting").of_host()
        .within(32 * MIB, 16 * TIB, "the largest job has to fit; no machine has more"),
    count(Limit::TableElements, "table_elements", 64 * KIB, 256 * KIB,
        "an attempt's tables together; the largest known runtimes use 20,000")
        .within(1, 4 * 1024 * 1024, "every compiled program has a table; addresses for the most that manifests may have are reserved for every sandbox"),
    count(Limit::CoreInstances, "core_instances", 64, 64,
        "core instances in one component; componentize-py links about a dozen modules, each with its shims").of_host()
        .within(1, 1000, "every component has one; the host keeps a record of each"),
    count(Limit::Memories, "memories", 8, 8,
        "memories in one component; nearly all have one, a few composed into one have one each").of_host()
        .within(1, 100, "a handler without memory gets no job; addresses for each are reserved"),
    count(Limit::Tables, "tables", 32, 32,
        "tables in one component; one or two for each of its modules").of_host()
        .within(1, 400, "four for each memory"),
    bytes(Limit::Stack, "stack", 512 * KIB, 512 * KIB,
        "an attempt's own frames; what the engine's makers chose, a deep parser fits in").of_host()
        .within(64 * KIB, 64 * MIB, "a handler with less cannot start; addresses for it are reserved for every sandbox"),
    bytes(Limit::HostcallBytes, "hostcall_bytes", 6 * MIB, 96 * MIB,
        "what a guest hands over in one call to the host, which nothing can interrupt; more than a result, to tell how large one is")
        .within(64 * KIB, 256 * MIB, "a line of output comes in one call; to copy more takes a second, in which nothing can interrupt it"),
    count(Limit::Handles, "handles", 1024, 64 * KIB,
        "streams, requests and other resources an attempt holds at once; fields, paths and bodies behind them count as its memory")
        .within(16, 1024 * 1024, "language runtimes hold some from their start; each is a record of the host's"),
    bytes(Limit::RandomBytes, "random_bytes", 64 * KIB, MIB,
        "random bytes asked for in one call")
        .within(64, 16 * MIB, "language runtimes ask for seeds of that length; to make more takes long, and nothing can interrupt it"),
    count(Limit::LogLines, "log_lines", 1000, 1_000_000,
        "lines an attempt logs through wasi:logging; more are counted and dropped")
        .within(0, 1_000_000_000, "0: none"),
    bytes(Limit::LogLineBytes, "log_line_bytes", 8 * KIB, 64 * KIB,
        "one logged line, or a progress report's note; the rest of it is dropped")
        .within(64, MIB, "less tells nothing; the log itself holds 4 MiB"),
    bytes(Limit::LogBytes, "log_bytes", 256 * KIB, GIB,
        "all that an attempt logs; further lines are counted and dropped")
        .within(0, TIB, "0: none"),
    bytes(Limit::OutputBytes, "output_bytes", 16 * KIB, MIB,
        "kept of each of standard output and error: the last of it, since a panic's message comes at the end")
        .within(0, 16 * MIB, "0: nothing is kept; the host holds it for each attempt, and Redis for each failed one"),
    count(Limit::ProgressReports, "progress_reports", 1000, 1_000_000,
        "progress reports of an attempt; more are counted and dropped")
        .within(0, 1_000_000_000, "0: none"),
    bytes(Limit::ResultBytes, "result_bytes", 4 * MIB, 64 * MIB,
        "a result; it is an answer, not a file store")
        .within(0, 256 * MIB, "0: only results without a value; Redis takes no value of more than 512 MiB"),
    count(Limit::HttpRequests, "http_requests", 100, 1_000_000,
        "HTTP requests of an attempt; the next one is refused")
        .within(0, 1_000_000_000, "0: none, whatever is granted"),
    count(Limit::HttpConnections, "http_connections", 8, 256,
        "HTTP connections an attempt has open at once; each is a file of the host's")
        .within(1, 4096, "one request takes one; a process may open some thousands"),
    bytes(Limit::HttpHeaderBytes, "http_header_bytes", 32 * KIB, 256 * KIB,
        "the header fields of an HTTP request, and those of its response")
        .within(KIB, 16 * MIB, "less holds no ordinary request; the host holds them whole"),
    bytes(Limit::HttpBodyBytes, "http_body_bytes", 64 * MIB, 4 * GIB,
        "the body of an HTTP request, and that of its response")
        .within(0, TIB, "0: requests and answers without a body"),
    bytes(Limit::HttpSignedBodyBytes, "http_signed_body_bytes", MIB, 64 * MIB,
        "the body of an HTTP request that a signature covers; it is held whole, and counts as the attempt's memory")
        .within(0, GIB, "0: only requests without a body; the host holds it whole"),
    time(Limit::HttpConnectTimeout, "http_connect_timeout", 10 * SECOND, HOUR,
        "from a name to a connection: DNS, TCP and TLS")
        .within(1, WEEK, "as far as timeout goes"),
    time(Limit::HttpFirstByteTimeout, "http_first_byte_timeout", 120 * SECOND, HOUR,
        "from an HTTP request to the first byte of its answer; some answers take their time to be made")
        .within(1, WEEK, "as far as timeout goes"),
    time(Limit::HttpBetweenBytesTimeout, "http_between_bytes_timeout", 10 * SECOND, HOUR,
        "between two bytes of an HTTP body")
        .within(1, WEEK, "as far as timeout goes"),
    count(Limit::FollowUps, "follow_ups", 100, 10_000,
        "jobs an attempt enqueues; the next one is refused")
        .within(0, 100_000, "0: none, whatever is granted; all of them go with one acknowledgement"),
    bytes(Limit::FollowUpBytes, "follow_up_bytes", 256 * KIB, MIB,
        "all jobs that an attempt enqueues, 512 bytes for each included; they go with the acknowledgement")
        .within(0, 4 * MIB, "0: none; what comes with them, too, has to fit into one message"),
    count(Limit::FollowUpDepth, "follow_up_depth", 16, 1000,
        "how many generations of follow-ups a handler's job may be away from what a producer pushed, so that handlers which enqueue each other come to an end")
        .within(0, 1_000_000, "0: none; each follow-up carries the number"),
    count(Limit::StateCalls, "state_calls", 1000, 1_000_000,
        "calls of kiln:state an attempt makes; the next one is refused")
        .within(0, 1_000_000_000, "0: none, whatever is granted"),
    bytes(Limit::StateValueBytes, "state_value_bytes", 64 * KIB, MIB,
        "one value that is kept; what is larger belongs into a store of its own")
        .within(0, 4 * MIB, "0: only empty ones; a hundred of them come in one message"),
    bytes(Limit::StateCommitBytes, "state_commit_bytes", 128 * KIB, 256 * KIB,
        "all that an attempt writes on completion, 64 bytes for each change included; it goes with the acknowledgement")
        .within(0, 256 * KIB, "0: nothing; what every Redis takes together with an acknowledgement"),
    count(Limit::TcpConnections, "tcp_connections", 8, 256,
        "TCP connections an attempt has open at once; each is a file of the host's, and counts as 256 KiB of its memory")
        .within(1, 4096, "a handler that is granted TCP needs one; a process may open some thousands"),
    count(Limit::TcpConnects, "tcp_connects", 100, 1_000_000,
        "TCP connections an attempt makes in all; the next one is refused")
        .within(0, 1_000_000_000, "0: none, whatever is granted"),
    bytes(Limit::TcpBytes, "tcp_bytes", 256 * MIB, 64 * GIB,
        "all that goes over an attempt's TCP connections, in both directions; a table of a million rows fits")
        .within(0, TIB, "0: only connections without a byte"),
    time(Limit::TcpConnectTimeout, "tcp_connect_timeout", 10 * SECOND, HOUR,
        "from a name to a TCP connection: DNS, TCP and TLS; and a handshake after STARTTLS")
        .within(1, WEEK, "as far as timeout goes"),
    time(Limit::TcpIdleTimeout, "tcp_idle_timeout", 120 * SECOND, HOUR,
        "between two bytes of a TCP connection that a handler waits for; some queries take their time to be answered")
        .within(1, WEEK, "as far as timeout goes"),
    bytes(Limit::TmpBytes, "tmp_bytes", 64 * MIB, 4 * GIB,
        "the files in an attempt's /tmp, with their names and half a kibibyte for each; they count as its memory, too")
        .within(0, 64 * GIB, "0: none; as far as max_memory goes"),
    count(Limit::TmpFiles, "tmp_files", 1000, 100_000,
        "files and folders in an attempt's /tmp; what unpacks an archive makes some hundreds")
        .within(0, 1_000_000, "0: none; each is a record of the host's"),
    bytes(Limit::PluginBytes, "plugin_bytes", 64 * MIB, GIB,
        "a plugin's file; JavaScript's and Python's runtimes come to under 20 MB")
        .within(KIB, 4 * GIB, "no handler is smaller; the host reads it whole"),
    time(Limit::CompileTime, "compile_time", 120 * SECOND, HOUR,
        "processor time to compile a plugin; the largest known runtime takes 26 s on a busy machine")
        .within(1, 24 * HOUR, "whole seconds are counted, of less one; a plugin that takes a day serves nobody"),
    bytes(Limit::CompileMemory, "compile_memory", 4 * GIB, 64 * GIB,
        "memory to compile a plugin; the largest known runtime takes half a gigabyte")
        .within(64 * MIB, 16 * TIB, "a handler of a megabyte takes as much; no machine has more"),
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
    /// When the text is no such amount, or one that the limit cannot be set to.
    pub fn parse(self, text: &str) -> Result<u64, String> {
        self.check(self.amount(text)?)
    }

    fn amount(self, text: &str) -> Result<u64, String> {
        Ok(match self.spec().unit {
            Unit::Bytes => text
                .parse::<ByteSize>()
                .map_err(|_| format!("{text:?} is no size; write it like 64MiB"))?
                .as_u64(),
            Unit::Time => Self::of_time(parse_duration(text)?),
            Unit::Count => text
                .replace('_', "")
                .parse()
                .map_err(|_| format!("{text:?} is no whole number"))?,
        })
    }

    /// The value, if the limit can be set to it.
    ///
    /// # Errors
    /// How far it goes, and why no further.
    pub fn check(self, value: u64) -> Result<u64, String> {
        let spec = self.spec();
        if (spec.least..=spec.greatest).contains(&value) {
            Ok(value)
        } else {
            Err(format!("{self} goes from {}: {}", spec.show_range(), spec.range))
        }
    }

    /// The value of a limit that is a time. Rounded up: none at all is nothing that anybody wants.
    pub(crate) fn of_time(time: Duration) -> u64 {
        time.as_micros().div_ceil(1000).try_into().unwrap_or(u64::MAX)
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

    /// A value as a flag takes it: without spaces, and not rounded.
    pub(super) fn flag(self, value: u64) -> String {
        let text = self.show(value).replace(' ', "");
        if self.amount(&text) == Ok(value) {
            text
        } else {
            format!("{value}B")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_found_by_its_name_and_its_values_are_within_its_range() {
        for (place, spec) in LIMITS.iter().enumerate() {
            let (name, limit) = (spec.name, spec.limit);
            assert_eq!(limit as usize, place, "{name}");
            assert_eq!(name.parse(), Ok(limit));
            assert!(!spec.range.is_empty(), "{name}");
            assert!(spec.default <= spec.ceiling, "{name}");
            for value in [spec.least, spec.default, spec.ceiling, spec.greatest] {
                assert_eq!(limit.parse(&limit.flag(value)), Ok(value), "{name}");
            }
            for value in spec.least.checked_sub(1).into_iter().chain([spec.greatest + 1]) {
                let refused = limit.parse(&limit.flag(value)).unwrap_err();
                assert!(refused.starts_with(&format!("{name} goes from ")), "{name}: {refused}");
            }
        }
    }
}
