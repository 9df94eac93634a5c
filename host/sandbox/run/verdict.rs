//! What an attempt came to: from the guest's answer, or from the error that ended it, to an outcome. Pure.
//!
//! Every error that ends a guest is the guest's fault, except a stop from outside and a fault of the host's own.

use std::any::Any;
use std::time::Duration;

use serde::de::IgnoredAny;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::backtrace;
use super::deadline::{Interrupt, SetBy, TimeLimit};
use super::last_words::last_words;
use super::memory::Exceeded;
use crate::config::Limit;
use crate::outcome::{Boundary, Failure, FailureKind, Outcome, Output, Report, RetryHint};
use crate::sandbox::bindings::exports::kiln::job::handler::Failure as Answer;
use crate::sandbox::capabilities::Denied;
use crate::sandbox::load::plugin::Plugin;
use crate::stop::StopReason;

/// A job larger than this fraction (1/8) of its handler's memory is to blame if that memory runs out. Most runtimes keep
/// the job's text and the values read from it, which take several times its length.
const LARGE_JOB_SHARE: usize = 8;

/// What the call came back with: the handler's answer, or what ended it.
pub(in crate::sandbox) type Returned = wasmtime::Result<Result<Option<String>, Answer>>;

/// The facts of an attempt that its failure carries.
pub(in crate::sandbox) struct Facts<'a> {
    pub(in crate::sandbox) plugin: &'a Plugin,
    pub(in crate::sandbox) attempt: u32,
    /// The time it had.
    pub(in crate::sandbox) limit: TimeLimit,
    pub(in crate::sandbox) report: &'a Report,
    /// Why it had to stop, if it had to.
    pub(in crate::sandbox) stopped: Option<StopReason>,
}

/// Decides what an attempt came to.
pub(in crate::sandbox) fn judge(returned: Returned, facts: &Facts<'_>) -> Outcome {
    match returned {
        Ok(Ok(result)) => completed(result, facts),
        // An operator cancelled the job: it is not run again, however the attempt failed.
        _ if facts.stopped == Some(StopReason::Cancelled) => stopped(facts),
        Ok(Err(Answer::Retry(_))) if facts.report.heard_of_drain => Outcome::Stopped,
        Ok(Err(Answer::Retry(message))) => facts.failed(FailureKind::Error, message, RetryHint::ByPolicy),
        Ok(Err(Answer::RetryAfter((message, ms)))) => {
            let wait = Duration::from_millis(ms);
            let retry = if facts.report.heard_of_drain {
                RetryHint::NotBeforeUncounted(wait)
            } else {
                RetryHint::NotBefore(wait)
            };
            facts.failed(FailureKind::Error, message, retry)
        }
        Ok(Err(Answer::Permanent(message))) => facts.failed(FailureKind::Rejected, message, RetryHint::Never),
        Err(err) => ended(&err, facts),
    }
}

/// The outcome of an attempt that was stopped, whatever its guest did.
pub(in crate::sandbox) fn stopped(facts: &Facts<'_>) -> Outcome {
    match facts.stopped {
        Some(StopReason::Cancelled) => {
            let Failure { kind, message, .. } = Failure::cancelled();
            facts.failed(kind, message, RetryHint::Never)
        }
        Some(StopReason::Host) | None => Outcome::Stopped,
    }
}

/// The outcome of an attempt in which the host itself panicked.
pub(in crate::sandbox) fn host_panic(panic: &(dyn Any + Send), facts: &Facts<'_>) -> Outcome {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    let retry = match facts.stopped {
        Some(StopReason::Cancelled) => RetryHint::Never,
        Some(StopReason::Host) | None => RetryHint::ByPolicy,
    };
    facts.failed(FailureKind::Internal, format!("host panic: {text}"), retry)
}

/// A handler that returned `ok`. The effects of its run are there, and another run would not mend a wrong result.
fn completed(result: Option<String>, facts: &Facts<'_>) -> Outcome {
    let wrong = result.as_deref().and_then(|result| {
        if result.len() > facts.plugin.limits.size(Limit::ResultBytes) {
            let asked = Limit::ResultBytes.show(result.len() as u64);
            return Some(facts.bound(Limit::ResultBytes, &format!("returned ok with a result of {asked}")));
        }
        let wrong = match serde_json::from_str::<IgnoredAny>(result) {
            Err(err) => err.to_string(),
            Ok(_) if has_lone_surrogate(result) => "a lone surrogate, which is no character".to_owned(),
            Ok(_) => return None,
        };
        Some(format!("returned ok with a result that is not JSON: {wrong}"))
    });
    match wrong {
        None => Outcome::Completed { result },
        Some(message) => facts.failed(FailureKind::Rejected, message, RetryHint::Never),
    }
}

/// Whether an escape in valid JSON stands for half a character. The grammar allows it; but it is no Unicode text, and many
/// parsers refuse all of a document for it.
fn has_lone_surrogate(json: &str) -> bool {
    // In valid JSON, a backslash stands in a string, with a whole escape after it.
    let escape = |at: usize| {
        let digits = json.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut at = 0;
    while let Some(found) = json[at..].find('\\') {
        at += found;
        at += match escape(at) {
            Some(0xd800..=0xdbff) if matches!(escape(at + 6), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => return true,
            _ => 2,
        };
    }
    false
}

/// A handler that did not return.
fn ended(err: &wasmtime::Error, facts: &Facts<'_>) -> Outcome {
    let backtrace = err.downcast_ref::<WasmBacktrace>();
    let (kind, message) = match err.downcast_ref::<Interrupt>() {
        Some(Interrupt::Stopped) => return Outcome::Stopped,
        Some(Interrupt::TimedOut) => (FailureKind::Timeout, facts.too_late()),
        Some(Interrupt::OutOfCpu) => {
            let message = facts.bound(Limit::CpuTime, "used more processor time than it may");
            (FailureKind::Timeout, message)
        }
        // Without a frame the guest was not in a call to the host, but about to return.
        None if backtrace.is_none() && matches!(engine_bound(err), Some((Limit::HostcallBytes, _))) => {
            let message = facts.bound(Limit::HostcallBytes, "returned more than the host takes over at once");
            return facts.failed(FailureKind::Rejected, message, RetryHint::Never);
        }
        None => fault(err, facts),
    };
    // Another attempt would be denied, too.
    let retry = if kind == FailureKind::Denied {
        RetryHint::Never
    } else {
        RetryHint::ByPolicy
    };
    let mut outcome = facts.failed(kind, message, retry);
    if let Outcome::Failed { failure, .. } = &mut outcome {
        failure.backtrace = backtrace.map(backtrace::show);
    }
    outcome
}

/// The fault that ended a guest, as kind and message.
fn fault(err: &wasmtime::Error, facts: &Facts<'_>) -> (FailureKind, String) {
    if let Some(exceeded) = err.downcast_ref::<Exceeded>() {
        return (FailureKind::Memory, exceeded.to_string());
    }
    if let Some(denied) = err.downcast_ref::<Denied>() {
        return (FailureKind::Denied, denied.told(&facts.plugin.name));
    }
    if let Some(full) = err.downcast_ref::<PoolConcurrencyLimitError>() {
        return (FailureKind::Internal, full.to_string());
    }
    if let Some(I32Exit(code)) = err.downcast_ref::<I32Exit>() {
        let message = last_words(&facts.report.stderr.text).filter(|_| *code != 0);
        return (
            FailureKind::Trap,
            // WASI's `exit` knows only success and failure, no codes.
            message.unwrap_or_else(|| match code {
                0 => "called exit, with success, before it had answered".to_owned(),
                _ => "called exit, with a failure".to_owned(),
            }),
        );
    }
    if let Some((limit, what)) = engine_bound(err) {
        return (FailureKind::Trap, facts.bound(limit, what));
    }
    let message = match err.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => facts.bound(Limit::Stack, &plain(Trap::StackOverflow)),
        // Only these two can come from a language's own way to abort, which it announces on standard error.
        Some(Trap::UnreachableCodeReached) | None => last_words(&facts.report.stderr.text)
            .or_else(|| err.downcast_ref::<Trap>().copied().map(plain))
            .unwrap_or_else(|| err.root_cause().to_string()),
        Some(Trap::MemoryOutOfBounds) => {
            format!(
                "{}: a wild pointer, or more stack than it is linked with (docs/languages.md: Stack)",
                plain(Trap::MemoryOutOfBounds)
            )
        }
        Some(trap) => plain(*trap),
    };
    (FailureKind::Trap, message)
}

/// A trap in the engine's words, without its prefix.
fn plain(trap: Trap) -> String {
    trap.to_string().trim_start_matches("wasm trap: ").to_owned()
}

/// The bound that ended a guest, if one did.
pub(in crate::sandbox) fn boundary(err: &wasmtime::Error) -> Option<Boundary> {
    if let Some(denied) = err.downcast_ref::<Denied>() {
        return Some(Boundary::Grant(denied.capability));
    }
    let limit = match err.downcast_ref::<Interrupt>() {
        Some(Interrupt::Stopped) => return None,
        Some(Interrupt::TimedOut) => Limit::Timeout,
        Some(Interrupt::OutOfCpu) => Limit::CpuTime,
        None => match (err.downcast_ref::<Exceeded>(), err.downcast_ref::<Trap>()) {
            (Some(Exceeded::Own { limit, .. }), _) => *limit,
            (Some(Exceeded::Shared { .. } | Exceeded::Whole { .. }), _) => Limit::GuestMemory,
            (None, Some(Trap::StackOverflow)) => Limit::Stack,
            (None, _) => engine_bound(err)?.0,
        },
    };
    Some(Boundary::Limit(limit.spec().name))
}

/// The bound that the engine says was exceeded, and what a guest did to exceed it. The engine keeps the types of these
/// errors to itself; tests watch their texts.
fn engine_bound(err: &wasmtime::Error) -> Option<(Limit, &'static str)> {
    let text = err.root_cause().to_string();
    let is = |part| text.contains(part);
    if is("fuel allocated for hostcalls") {
        return Some((Limit::HostcallBytes, "handed too much to the host in one call"));
    }
    if is("store handle limit exceeded") || is("resource table has no free keys") {
        return Some((Limit::Handles, "held too many resource handles at once"));
    }
    is("requested len").then_some((Limit::RandomBytes, "asked for too many random bytes at once"))
}

impl Facts<'_> {
    /// What a guest did, and the limit it met.
    fn bound(&self, limit: Limit, what: &str) -> String {
        let value = self.plugin.limits.get(limit);
        format!("{what}; the limit {limit} is {}", limit.show(value))
    }

    fn too_late(&self) -> String {
        let took = format!("took longer than {}", duration(self.limit.time));
        let name = &self.plugin.name;
        match self.limit.set_by {
            SetBy::Job => format!("{took}, the timeout of its job"),
            SetBy::Manifest => format!("{took}, the timeout in {name}.toml"),
            SetBy::Host => format!("{took}, the limit timeout of the host"),
            SetBy::Default => format!("{took}, the default; a timeout in {name}.toml or in its job sets another"),
        }
    }

    /// Whether the job alone explains the outcome: it asked for less time than the plugin would give, or has so many
    /// bytes that little memory is left. Such an outcome says nothing about the handler.
    pub(in crate::sandbox) fn caused_by_job(&self, outcome: &Outcome, given_bytes: usize) -> bool {
        let Outcome::Failed { failure, .. } = outcome else {
            return false;
        };
        match failure.kind {
            FailureKind::Timeout => self.limit.is_short() && self.report.duration >= self.limit.time,
            FailureKind::Memory => given_bytes > self.plugin.limits.size(Limit::MaxMemory) / LARGE_JOB_SHARE,
            _ => false,
        }
    }

    fn failed(&self, kind: FailureKind, message: String, retry: RetryHint) -> Outcome {
        let tail = |output: &Output| (!output.text.is_empty()).then(|| output.text.clone());
        let mut failure = Failure::new(kind, message);
        self.plugin.name.clone_into(&mut failure.handler);
        self.plugin.digest.clone_into(&mut failure.digest);
        failure.attempt = self.attempt;
        failure.duration_ms = ms(self.report.duration);
        failure.cpu_ms = ms(self.report.cpu);
        failure.peak_memory_bytes = self.report.peak_memory_bytes;
        failure.stdout = tail(&self.report.stdout);
        failure.stderr = tail(&self.report.stderr);
        Outcome::Failed { failure, retry }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration as people write it: `5s`, `1h 30m`.
fn duration(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration)
        .map_or_else(|_| format!("{duration:?}"), |duration| format!("{duration:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Manifest, SandboxSettings, Source};
    use crate::job::Job;
    use std::num::NonZeroU32;

    #[test]
    fn a_panic_of_the_host_is_no_fault_of_the_guest() {
        let report = Report::default();
        let settings = SandboxSettings::new(NonZeroU32::MIN);
        let plugin = Plugin::new("h", String::new(), &Manifest::default(), &settings).unwrap();
        let job = Job::decode(br#"{"name":"h"}"#).unwrap();
        let facts = Facts {
            plugin: &plugin,
            attempt: 2,
            limit: TimeLimit::of(&job, &plugin.limits),
            report: &report,
            stopped: None,
        };
        let panic = std::panic::catch_unwind(|| panic!("index {} out of range", 7)).unwrap_err();
        let Outcome::Failed { failure, retry } = host_panic(&*panic, &facts) else {
            panic!("not failed")
        };
        assert_eq!((failure.kind, failure.attempt), (FailureKind::Internal, 2));
        assert_eq!(failure.message, "host panic: index 7 out of range");
        assert_eq!(retry, RetryHint::ByPolicy);
    }

    #[test]
    fn half_a_character_is_found_wherever_it_stands() {
        for whole in [
            r#""""#,
            r#""\ud83d\uDE00""#,
            r#""\\ud800""#,
            r#"["\u00e9","\ud800\udc00\n"]"#,
        ] {
            assert!(!has_lone_surrogate(whole), "{whole}");
        }
        for half in [
            r#""\ud800""#,
            r#""\uDC00""#,
            r#""\ud800\ud800\udc00""#,
            r#""\\\ud800 ""#,
            r#"{"\udfffé":1}"#,
            r#""\ud800é\udc00""#,
            r#""\udc00\ud800""#,
        ] {
            assert!(has_lone_surrogate(half), "{half}");
        }
    }

    #[test]
    fn a_timeout_is_told_with_whose_word_it_was() {
        let mut host = SandboxSettings::new(NonZeroU32::MIN);
        host.limits.set(Limit::Timeout, 60_000, 60_000, Source::Host);
        let too_late = |manifest: &str, job: &str| {
            let manifest = Manifest::parse(manifest).unwrap();
            let plugin = Plugin::new("h", String::new(), &manifest, &host).unwrap();
            let job = Job::decode(format!(r#"{{"name":"h"{job}}}"#).as_bytes()).unwrap();
            let (limit, report) = (TimeLimit::of(&job, &plugin.limits), Report::default());
            let facts = Facts {
                plugin: &plugin,
                attempt: 1,
                limit,
                report: &report,
                stopped: None,
            };
            (facts.too_late(), limit.is_short())
        };
        let (five, forty, ninety) = (
            r#","timeout":5000000000"#,
            r#","timeout":40000000000"#,
            r#","timeout":90000000000"#,
        );
        for (manifest, job, told, short) in [
            (
                "",
                "",
                "30s, the default; a timeout in h.toml or in its job sets another",
                false,
            ),
            ("", five, "5s, the timeout of its job", true),
            ("", forty, "40s, the timeout of its job", false),
            ("", ninety, "1m, the limit timeout of the host", false),
            ("timeout = \"50s\"", "", "50s, the timeout in h.toml", false),
            ("timeout = \"50s\"", forty, "40s, the timeout of its job", true),
            ("timeout = \"50s\"", ninety, "50s, the timeout in h.toml", false),
            ("timeout = \"2s\"", five, "2s, the timeout in h.toml", false),
        ] {
            let told = format!("took longer than {told}");
            assert_eq!(too_late(manifest, job), (told, short), "{manifest} {job}");
        }
    }

    #[test]
    fn a_time_limit_reads_as_people_write_it() {
        assert_eq!(duration(Duration::from_secs(5)), "5s");
        assert_eq!(duration(Duration::from_millis(50)), "50ms");
        assert_eq!(duration(Duration::from_mins(90)), "1h 30m");
    }
}
