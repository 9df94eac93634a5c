//! What a guest says about its work: log lines and progress, as tracing events at target `guest`; and what it is told:
//! its configuration, the time it has left, whether the host is shutting down.
//!
//! A guest's words are data: each is one bounded line, so that no line of the host's log can be forged.

use std::sync::Arc;

use super::bindings::exports::kiln::job::handler::Job;
use super::bindings::kiln::job::context;
use super::bindings::wasi::config::store;
use super::bindings::wasi::logging::logging::{self, Level};
use super::context::{Listener, LogLine, Speaker};
use super::plugin::Plugin;
use super::state::State;
use crate::config::Limit;
use crate::outcome::Count;
use crate::text;

/// Where one attempt's words go, and how many there were.
pub(super) struct GuestLog {
    job: Names,
    attempt: u32,
    listener: Option<Arc<dyn Listener>>,
    pub(super) plugin: Arc<Plugin>,
    pub(super) log_lines: Count,
    /// Bytes of those that were passed on.
    log_bytes: u64,
    pub(super) reports: Count,
    pub(super) percent: Option<u8>,
    /// It has asked whether the host is shutting down, and was told so.
    pub(super) heard_of_drain: bool,
}

/// A job's id, name and queue, as they stand in every event: bounded, since each line repeats them, and in one piece, since
/// every attempt makes them.
struct Names {
    all: String,
    /// Where the id ends, and where the name does.
    ends: [usize; 2],
}

impl Names {
    fn of(job: &Job) -> Self {
        let parts = [&job.id, &job.name, &job.queue].map(|part| text::name(part));
        let id = parts[0].len();
        let ends = [id, id + parts[1].len()];
        Self {
            all: parts.concat(),
            ends,
        }
    }

    fn id(&self) -> &str {
        &self.all[..self.ends[0]]
    }

    fn name(&self) -> &str {
        &self.all[self.ends[0]..self.ends[1]]
    }

    fn queue(&self) -> &str {
        &self.all[self.ends[1]..]
    }
}

impl GuestLog {
    pub(super) fn new(job: &Job, plugin: Arc<Plugin>, listener: Option<Arc<dyn Listener>>) -> Self {
        let (log_lines, reports) = (Count::default(), Count::default());
        Self {
            job: Names::of(job),
            attempt: job.attempt,
            listener,
            plugin,
            log_lines,
            log_bytes: 0,
            reports,
            percent: None,
            heard_of_drain: false,
        }
    }

    fn log(&mut self, level: Level, context: &str, message: &str) {
        let limits = &self.plugin.limits;
        let keep = limits.size(Limit::LogLineBytes);
        // Its end may be far away: no more is looked at than shows that it is cut off.
        let message = message[..message.floor_char_boundary(keep + 4)].trim_end();
        let (context, message) = (text::line(context, keep), text::line(message, keep));
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
            ($level:ident) => {{
                tracing::event!(
                    target: "guest", tracing::Level::$level,
                    id = self.job.id(), name = self.job.name(), queue = self.job.queue(), plugin = self.plugin.name, digest = self.plugin.short_digest(),
                    context = &*context, "{message}"
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
        if let Some(listener) = &self.listener {
            let (context, message) = (&*context, &*message);
            listener.log(
                &self.speaker(),
                &LogLine {
                    level,
                    context,
                    message,
                },
            );
        }
    }

    fn progress(&mut self, percent: u8, note: &str) {
        self.percent = Some(percent);
        if !self.reports.admit(self.plugin.limits.count(Limit::ProgressReports)) {
            return;
        }
        let note = &*text::line(note, self.plugin.limits.size(Limit::LogLineBytes));
        tracing::debug!(
            target: "guest",
            id = self.job.id(), name = self.job.name(), queue = self.job.queue(), plugin = self.plugin.name, digest = self.plugin.short_digest(), percent, "{note}"
        );
        if let Some(listener) = &self.listener {
            listener.progress(&self.speaker(), percent, note);
        }
    }

    fn speaker(&self) -> Speaker<'_> {
        Speaker {
            id: self.job.id(),
            name: self.job.name(),
            queue: self.job.queue(),
            attempt: self.attempt,
            plugin: &self.plugin.name,
            digest: &self.plugin.digest,
        }
    }
}

impl logging::Host for State {
    fn log(&mut self, level: Level, context: String, message: String) {
        self.guest_log.log(level, &context, &message);
    }
}

impl context::Host for State {
    fn progress(&mut self, percent: u8, note: Option<String>) {
        self.guest_log
            .progress(percent.min(100), note.as_deref().unwrap_or_default());
    }

    fn remaining_ms(&mut self) -> u64 {
        u64::try_from(self.deadline.remaining().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_cancelled(&mut self) -> bool {
        let draining = self.context.draining.is_cancelled();
        self.guest_log.heard_of_drain |= draining;
        draining
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
