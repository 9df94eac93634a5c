//! What a guest says about its work: log lines and progress, as tracing events at target `guest`; and what it is told:
//! its configuration, the time it has left, whether the host is shutting down.
//!
//! A guest's words are data. They are bounded, and control characters in them are escaped, so that no line of the
//! host's log can be forged.

use std::borrow::Cow;
use std::sync::Arc;

use super::bindings::kiln::job::context;
use super::bindings::wasi::config::store;
use super::bindings::wasi::logging::logging::{self, Level};
use super::plugin::Plugin;
use super::state::State;
use crate::config::Limit;

/// Where one attempt's words go, and how many there were.
pub(super) struct Voice {
    /// The job's id and name, as they stand in every event.
    pub(super) job_id: String,
    pub(super) job_name: String,
    pub(super) plugin: Arc<Plugin>,
    pub(super) log_lines: Count,
    /// Bytes of those that were passed on.
    log_bytes: u64,
    pub(super) reports: Count,
    pub(super) percent: Option<u8>,
}

/// How much was said, and how much of it was dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Passed on.
    pub kept: u32,
    /// Over the limit.
    pub dropped: u32,
}

impl Count {
    /// Counts one more. Whether it is within `limit`.
    fn admit(&mut self, limit: u32) -> bool {
        let admitted = self.kept < limit;
        let count = if admitted { &mut self.kept } else { &mut self.dropped };
        *count = count.saturating_add(1);
        admitted
    }
}

impl Voice {
    pub(super) fn new(job_id: String, job_name: String, plugin: Arc<Plugin>) -> Self {
        let (log_lines, reports) = (Count::default(), Count::default());
        Self {
            job_id,
            job_name,
            plugin,
            log_lines,
            log_bytes: 0,
            reports,
            percent: None,
        }
    }

    fn log(&mut self, level: Level, context: &str, message: &str) {
        let limits = &self.plugin.limits;
        let keep = limits.size(Limit::LogLineBytes);
        let (context, message) = (line(context, keep), line(message, keep));
        let bytes = self.log_bytes + (context.len() + message.len()) as u64;
        let fits = bytes <= limits.get(Limit::LogBytes);
        if !self
            .log_lines
            .admit(if fits { limits.count(Limit::LogLines) } else { 0 })
        {
            return;
        }
        self.log_bytes = bytes;
        macro_rules! event {
            ($level:ident) => {
                tracing::event!(
                    target: "guest", tracing::Level::$level,
                    id = self.job_id, name = self.job_name, plugin = self.plugin.name, digest = self.plugin.short_digest(),
                    context = &*context, "{message}"
                )
            };
        }
        match level {
            Level::Trace => event!(TRACE),
            Level::Debug => event!(DEBUG),
            Level::Info => event!(INFO),
            Level::Warn => event!(WARN),
            Level::Error | Level::Critical => event!(ERROR),
        }
    }

    fn progress(&mut self, percent: u8, note: &str) {
        self.percent = Some(percent);
        if !self.reports.admit(self.plugin.limits.count(Limit::ProgressReports)) {
            return;
        }
        tracing::debug!(
            target: "guest",
            id = self.job_id, name = self.job_name, plugin = self.plugin.name, digest = self.plugin.short_digest(), percent, "{}", line(note, self.plugin.limits.size(Limit::LogLineBytes))
        );
    }
}

impl logging::Host for State {
    fn log(&mut self, level: Level, context: String, message: String) {
        self.voice.log(level, &context, &message);
    }
}

impl context::Host for State {
    fn progress(&mut self, percent: u8, note: Option<String>) {
        self.voice
            .progress(percent.min(100), note.as_deref().unwrap_or_default());
    }

    fn remaining_ms(&mut self) -> u64 {
        u64::try_from(self.deadline.remaining().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_cancelled(&mut self) -> bool {
        self.cancel.draining.is_cancelled()
    }
}

impl store::Host for State {
    fn get(&mut self, key: String) -> Result<Option<String>, store::Error> {
        Ok(self.plugin.config.get(&key).cloned())
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, store::Error> {
        Ok(self.plugin.config.clone().into_iter().collect())
    }
}

impl super::bindings::kiln::job::types::Host for State {}

/// Makes one bounded line of what a guest said.
fn line(text: &str, keep: usize) -> Cow<'_, str> {
    let text = &text[..text.floor_char_boundary(keep)];
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.trim_end().chars() {
        if c.is_control() && c != '\t' {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
        if escaped.len() >= keep {
            break;
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_forges_no_line_and_steers_no_terminal() {
        let forged = "no\n\r\u{1b}[2J2026-01-01 INFO job completed\0\u{9b}\u{85}!\n";
        assert_eq!(
            line(forged, 1000),
            "no\\n\\r\\u{1b}[2J2026-01-01 INFO job completed\\u{0}\\u{9b}\\u{85}!"
        );
        assert_eq!(line("één\ttab", 1000), "één\ttab");
        assert_eq!(line("één", 3), "é", "no character is cut in two");
    }
}
