//! `wasi:logging`, and where progress reports go: each is an event at target `guest`, and told to the attempt's listener.
//!
//! A handler's words are data: each is one bounded line, so that no line of the host's log can be forged.

mod names;

use std::sync::Arc;

use wasmtime::component::{HasData, Linker};

use super::offer::{Interfaces, Offer};
use crate::config::{Limit, Limits};
use crate::outcome::{Count, Report};
use crate::sandbox::bindings::exports::kiln::job::handler::Job;
use crate::sandbox::bindings::wasi::logging::logging::{self, Level};
use crate::sandbox::run::context::{Listener, LogLine, Speaker};
use crate::text;
use names::Names;

pub(super) const OFFERS: &[Interfaces] = &[Interfaces {
    package: "wasi:logging",
    version: "0.1.0-draft",
    names: &["logging"],
    offer: Offer::Always,
}];

/// Whose log it is, and how many lines are passed on: the same for all attempts of a plugin.
pub(in crate::sandbox) struct LogRules {
    plugin: String,
    digest: String,
    lines: u32,
    line_bytes: usize,
    bytes: u64,
    reports: u32,
}

impl LogRules {
    pub(super) fn new(plugin: &str, digest: &str, limits: &Limits) -> Self {
        Self {
            plugin: plugin.to_owned(),
            digest: digest.to_owned(),
            lines: limits.count(Limit::LogLines),
            line_bytes: limits.size(Limit::LogLineBytes),
            bytes: limits.get(Limit::LogBytes),
            reports: limits.count(Limit::ProgressReports),
        }
    }

    /// Enough of the digest to tell versions apart.
    fn short_digest(&self) -> &str {
        self.digest.get(..12).unwrap_or(&self.digest)
    }
}

/// What one attempt has said.
pub(in crate::sandbox) struct Log {
    job: Names,
    attempt: u32,
    listener: Option<Arc<dyn Listener>>,
    lines: Count,
    /// Bytes of the lines that were passed on.
    bytes: u64,
    reports: Count,
    percent: Option<u8>,
}

impl Log {
    pub(super) fn new(job: &Job, listener: Option<Arc<dyn Listener>>) -> Self {
        Self {
            job: Names::of(job),
            attempt: job.attempt,
            listener,
            lines: Count::default(),
            bytes: 0,
            reports: Count::default(),
            percent: None,
        }
    }

    pub(super) fn view<'a>(&'a mut self, rules: &'a LogRules) -> View<'a> {
        View { log: self, rules }
    }

    pub(super) fn report(&self, report: &mut Report) {
        report.log_lines = self.lines;
        report.progress_reports = self.reports;
        report.progress_percent = self.percent;
    }
}

/// The log of one attempt, as its handler calls it.
pub(super) struct View<'a> {
    log: &'a mut Log,
    rules: &'a LogRules,
}

impl View<'_> {
    pub(super) fn progress(&mut self, percent: u8, note: &str) {
        self.log.percent = Some(percent);
        if !self.log.reports.admit(self.rules.reports) {
            return;
        }
        let (job, rules) = (&self.log.job, self.rules);
        let note = &*text::line(note, rules.line_bytes);
        tracing::debug!(
            target: "guest",
            id = job.id(), name = job.name(), queue = job.queue(), trace_id = job.trace_id(), plugin = rules.plugin, digest = rules.short_digest(), percent, "{note}"
        );
        if let Some(listener) = &self.log.listener {
            listener.progress(&self.speaker(), percent, note);
        }
    }

    fn speaker(&self) -> Speaker<'_> {
        Speaker {
            id: self.log.job.id(),
            name: self.log.job.name(),
            queue: self.log.job.queue(),
            attempt: self.log.attempt,
            plugin: &self.rules.plugin,
            digest: &self.rules.digest,
        }
    }
}

impl logging::Host for View<'_> {
    fn log(&mut self, level: Level, context: String, message: String) {
        let keep = self.rules.line_bytes;
        // A message may be very long: look at no more of it than shows that it is cut off.
        let message = message[..message.floor_char_boundary(keep + 4)].trim_end();
        let (context, message) = (&*text::line(&context, keep), &*text::line(message, keep));
        let bytes = self.log.bytes + (context.len() + message.len()) as u64;
        let lines = if bytes <= self.rules.bytes { self.rules.lines } else { 0 };
        if !self.log.lines.admit(lines) {
            return;
        }
        self.log.bytes = bytes;
        let (job, rules) = (&self.log.job, self.rules);
        macro_rules! event {
            ($level:ident) => {{
                tracing::event!(
                    target: "guest", tracing::Level::$level,
                    id = job.id(), name = job.name(), queue = job.queue(), trace_id = job.trace_id(), plugin = rules.plugin, digest = rules.short_digest(),
                    context, "{message}"
                );
                tracing::Level::$level
            }};
        }
        let level = match level {
            Level::Trace => event!(TRACE),
            Level::Debug => event!(DEBUG),
            Level::Info => event!(INFO),
            Level::Warn => event!(WARN),
            Level::Error | Level::Critical => event!(ERROR),
        };
        if let Some(listener) = &self.log.listener {
            let line = LogLine {
                level,
                context,
                message,
            };
            listener.log(&self.speaker(), &line);
        }
    }
}

/// Makes a [`View`] of an attempt's data.
struct OfAttempt;

impl HasData for OfAttempt {
    type Data<'a> = View<'a>;
}

pub(super) fn link<T: 'static>(linker: &mut Linker<T>, view: fn(&mut T) -> View<'_>) -> wasmtime::Result<()> {
    logging::add_to_linker::<_, OfAttempt>(linker, view)
}

#[cfg(test)]
mod tests {
    use logging::Host as _;
    use parking_lot::Mutex;

    use super::*;
    use crate::config::Source;

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Listener for Heard {
        fn log(&self, speaker: &Speaker<'_>, line: &LogLine<'_>) {
            let said = format!("{} {}: {}", speaker.id, line.level, line.message);
            self.0.lock().push(said);
        }

        fn progress(&self, speaker: &Speaker<'_>, percent: u8, note: &str) {
            self.0.lock().push(format!("{} {percent} {note}", speaker.attempt));
        }
    }

    /// Says what a handler says, and returns what was heard and what is reported.
    fn said(limit: Limit, value: u64, say: impl Fn(&mut View<'_>)) -> (Vec<String>, Report) {
        let mut limits = Limits::default();
        limits.set(limit, value, value, Source::Host);
        let job = Job {
            id: "7".to_owned(),
            name: "hello".to_owned(),
            queue: "default".to_owned(),
            payload: String::new(),
            attempt: 2,
            max_attempts: 3,
            created_at_ms: 0,
            metadata: String::new(),
        };
        let (heard, rules) = (Arc::new(Heard::default()), LogRules::new("hello", "00", &limits));
        let mut log = Log::new(&job, Some(heard.clone()));
        say(&mut log.view(&rules));
        let mut report = Report::default();
        log.report(&mut report);
        (std::mem::take(&mut heard.0.lock()), report)
    }

    #[test]
    fn lines_within_the_limits_are_heard_and_the_others_counted() {
        let log = |view: &mut View<'_>, message: &str| view.log(Level::Critical, String::new(), message.to_owned());
        let lines = |view: &mut View<'_>| ["a\nb", "c", "d"].iter().for_each(|line| log(view, line));
        let (heard, report) = said(Limit::LogLines, 2, lines);
        assert_eq!(heard, ["7 ERROR: a\\nb", "7 ERROR: c"]);
        assert_eq!(report.log_lines, Count { kept: 2, dropped: 1 });
        let (heard, report) = said(Limit::LogBytes, 4, lines);
        assert_eq!((heard.len(), report.log_lines.dropped), (1, 2));
        let (heard, _) = said(Limit::LogLineBytes, 3, |view| log(view, &"x".repeat(9_000)));
        assert_eq!(heard, ["7 ERROR: xxx…"]);
    }

    #[test]
    fn the_last_progress_is_reported_even_if_it_was_not_heard() {
        let (heard, report) = said(Limit::ProgressReports, 1, |view| {
            view.progress(10, "begun");
            view.progress(90, "nearly");
        });
        assert_eq!(heard, ["2 10 begun"]);
        assert_eq!(report.progress_reports, Count { kept: 1, dropped: 1 });
        assert_eq!(report.progress_percent, Some(90));
    }
}
