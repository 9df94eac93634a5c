//! What handlers say while they run: kept for the record of their attempt, and told to operators about once a second.
//!
//! An attempt that ends within that time costs no command, however much it says.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::outcome::{MAX_SAID_BYTES, RunningReport, Said, SaidLine};
use crate::queue::ProgressReport;
use crate::sandbox::{Listener, LogLine, Speaker};
use crate::stop::StopToken;

/// Time between two reports of one running attempt, and before its first.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Attempts that are told of at once. The others follow with the next round.
const REPORTED_AT_ONCE: usize = 256;

/// The attempts of a host that have something to report.
#[derive(Debug)]
pub struct Live {
    host: String,
    changed: Mutex<VecDeque<Arc<AttemptLog>>>,
    bell: Notify,
}

impl Live {
    /// For the host of this name.
    pub(super) fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            changed: Mutex::default(),
            bell: Notify::new(),
        }
    }

    /// Returns once an attempt has something to report. It may have been there before.
    pub async fn has_news(&self) {
        self.bell.notified().await;
    }

    /// What is to be told now.
    #[must_use]
    pub fn take(&self) -> Vec<ProgressReport> {
        let some: Vec<_> = {
            let mut changed = self.changed.lock();
            let count = changed.len().min(REPORTED_AT_ONCE);
            let some = changed.drain(..count).collect();
            if !changed.is_empty() {
                self.bell.notify_one();
            }
            some
        };
        some.iter().filter_map(|log| log.report(&self.host)).collect()
    }

    fn add(&self, log: Arc<AttemptLog>) {
        self.changed.lock().push_back(log);
        self.bell.notify_one();
    }
}

/// Hears what the handler of one attempt says.
pub(super) struct AttemptLog {
    this: Weak<Self>,
    live: Arc<Live>,
    /// Knows the job's id, and for how long it runs.
    stop: Arc<StopToken>,
    /// Whether lines are kept for the record.
    keeps_lines: bool,
    /// Whether they are told while the attempt runs.
    tells_lines: bool,
    /// Whoever else listens.
    next: Option<Arc<dyn Listener>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<SaidLine>,
    /// Bytes of these lines.
    bytes: usize,
    dropped_lines: u64,
    /// What the report of the running attempt says, without the lines.
    report: Option<Box<RunningReport>>,
    /// Stands among the changed.
    is_waiting: bool,
    /// Was told of.
    is_told: bool,
    has_ended: bool,
}

impl fmt::Debug for AttemptLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptLog")
            .field("id", &self.stop.job_id())
            .finish_non_exhaustive()
    }
}

/// Which lines of an attempt are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    /// For the record.
    pub(super) kept: bool,
    /// And told while it runs.
    pub(super) told: bool,
}

impl AttemptLog {
    pub(super) fn new(
        live: &Arc<Live>,
        stop: &Arc<StopToken>,
        lines: Lines,
        next: Option<Arc<dyn Listener>>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            live: Arc::clone(live),
            stop: Arc::clone(stop),
            keeps_lines: lines.kept,
            tells_lines: lines.told,
            next,
            state: Mutex::default(),
        })
    }

    /// Ends it with its attempt, and returns what was said.
    pub(super) fn end(&self) -> Said {
        let mut state = self.state.lock();
        state.has_ended = true;
        if state.is_told {
            self.wait_in(&mut state);
        }
        Said {
            lines: std::mem::take(&mut state.lines).into(),
            dropped_lines: state.dropped_lines,
            ..Said::default()
        }
    }

    /// Notes that there is something to tell.
    fn wait_in(&self, state: &mut State) {
        if !state.is_waiting
            && let Some(this) = self.this.upgrade()
        {
            state.is_waiting = true;
            self.live.add(this);
        }
    }

    /// What is to be told of it now, if anything.
    fn report(&self, host: &str) -> Option<ProgressReport> {
        let id = self.stop.job_id()?.to_owned();
        let mut state = self.state.lock();
        state.is_waiting = false;
        if state.has_ended {
            return state.is_told.then_some(ProgressReport { id, json: None });
        }
        let said = self.tells_lines.then(|| Said {
            lines: state.lines.iter().cloned().collect(),
            dropped_lines: state.dropped_lines,
            ..Said::default()
        });
        let report = state.report.as_mut()?;
        host.clone_into(&mut report.host);
        report.said = said;
        let json = serde_json::to_string(report).ok()?;
        state.is_told = true;
        Some(ProgressReport { id, json: Some(json) })
    }

    /// The report, made when there is first something to say.
    fn report_of<'s>(&self, state: &'s mut State, speaker: &Speaker<'_>) -> &'s mut RunningReport {
        state.report.get_or_insert_with(|| {
            let ran_for = self.stop.runs_for().unwrap_or_default();
            let started = Timestamp::now().checked_sub(ran_for).unwrap_or(Timestamp::MIN);
            Box::new(RunningReport {
                queue: speaker.queue.to_owned(),
                plugin: speaker.plugin.to_owned(),
                digest: speaker.digest.get(..12).unwrap_or(speaker.digest).to_owned(),
                attempt: speaker.attempt,
                started_ms: started.as_millisecond(),
                ..RunningReport::default()
            })
        })
    }
}

impl State {
    fn keep(&mut self, line: SaidLine) {
        self.bytes += line.context.len() + line.message.len();
        self.lines.push_back(line);
        while self.bytes > MAX_SAID_BYTES
            && self.lines.len() > 1
            && let Some(first) = self.lines.pop_front()
        {
            self.bytes -= first.context.len() + first.message.len();
            self.dropped_lines += 1;
        }
    }
}

impl Listener for AttemptLog {
    fn log(&self, speaker: &Speaker<'_>, line: &LogLine<'_>) {
        if self.keeps_lines {
            let mut state = self.state.lock();
            state.keep(SaidLine {
                at_ms: Timestamp::now().as_millisecond(),
                level: line.level.as_str().to_ascii_lowercase(),
                context: line.context.to_owned(),
                message: line.message.to_owned(),
            });
            if self.tells_lines {
                self.report_of(&mut state, speaker).at_ms = Timestamp::now().as_millisecond();
                self.wait_in(&mut state);
            }
        }
        if let Some(next) = &self.next {
            next.log(speaker, line);
        }
    }

    fn progress(&self, speaker: &Speaker<'_>, percent: u8, note: &str) {
        {
            let mut state = self.state.lock();
            let report = self.report_of(&mut state, speaker);
            report.at_ms = Timestamp::now().as_millisecond();
            report.percent = Some(percent);
            note.clone_into(&mut report.note);
            self.wait_in(&mut state);
        }
        if let Some(next) = &self.next {
            next.progress(speaker, percent, note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaker() -> Speaker<'static> {
        Speaker {
            id: "7",
            name: "hello",
            queue: "default",
            attempt: 1,
            plugin: "hello",
            digest: "0123456789abcdef",
        }
    }

    fn log(live: &Arc<Live>, lines: Lines) -> Arc<AttemptLog> {
        let stop = Arc::new(StopToken::default());
        stop.set_job_id("7");
        AttemptLog::new(live, &stop, lines, None)
    }

    fn line(message: &str) -> LogLine<'_> {
        LogLine {
            level: tracing::Level::WARN,
            context: "",
            message,
        }
    }

    const KEPT: Lines = Lines {
        kept: true,
        told: false,
    };

    #[test]
    fn progress_is_told_once_for_all_that_came_and_taken_back_at_the_end() {
        let live = Arc::new(Live::new("host"));
        let log = log(&live, KEPT);
        log.progress(&speaker(), 10, "begun");
        log.progress(&speaker(), 20, "goes on");
        let told = live.take();
        assert_eq!(told.len(), 1);
        let report: RunningReport = serde_json::from_str(told[0].json.as_ref().unwrap()).unwrap();
        assert_eq!(
            (report.percent, report.note.as_str(), report.host.as_str()),
            (Some(20), "goes on", "host")
        );
        assert_eq!((report.digest.as_str(), report.said), ("0123456789ab", None));
        assert!(report.started_ms > 0 && report.started_ms <= report.at_ms);
        assert!(live.take().is_empty(), "nothing is new");
        log.end();
        let id = "7".to_owned();
        assert_eq!(live.take(), [ProgressReport { id, json: None }]);
        assert!(live.take().is_empty());
    }

    #[test]
    fn an_attempt_that_ends_before_it_is_told_of_costs_nothing() {
        let live = Arc::new(Live::new("host"));
        let log = log(&live, Lines { kept: true, told: true });
        log.progress(&speaker(), 10, "");
        log.log(&speaker(), &line("a word"));
        assert_eq!(log.end().lines.len(), 1);
        assert!(live.take().is_empty());
    }

    #[test]
    fn the_last_lines_are_kept_and_told_only_where_that_is_wanted() {
        let live = Arc::new(Live::new("host"));
        let quiet = log(&live, KEPT);
        quiet.log(&speaker(), &line("a word"));
        assert!(live.take().is_empty());
        let open = log(&live, Lines { kept: true, told: true });
        let long = "x".repeat(MAX_SAID_BYTES / 4);
        for _ in 0..6 {
            open.log(&speaker(), &line(&long));
        }
        open.log(&speaker(), &line("the end"));
        let told = live.take();
        let report: RunningReport = serde_json::from_str(told[0].json.as_ref().unwrap()).unwrap();
        let said = open.end();
        assert_eq!(report.said.as_ref(), Some(&said));
        assert_eq!((said.lines.len(), said.dropped_lines), (4, 3));
        assert_eq!(
            (said.lines[3].message.as_str(), said.lines[3].level.as_str()),
            ("the end", "warn")
        );
        let none = log(
            &live,
            Lines {
                kept: false,
                told: false,
            },
        );
        none.log(&speaker(), &line("a word"));
        assert!(none.end().is_empty());
    }

    #[test]
    fn no_more_attempts_are_told_of_at_once_than_may_be() {
        let live = Arc::new(Live::new("host"));
        let logs: Vec<_> = (0..=REPORTED_AT_ONCE).map(|_| log(&live, KEPT)).collect();
        for log in &logs {
            log.progress(&speaker(), 1, "");
        }
        assert_eq!((live.take().len(), live.take().len()), (REPORTED_AT_ONCE, 1));
    }
}
