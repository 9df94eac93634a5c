//! `kiln logs`: what the handlers of one job said.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::job::at;
use super::store::{StoreArgs, queue_name};
use super::{Missing, out, tell};
use crate::admin::job::{Look, Words, life, words};
use crate::outcome::{AttemptRecord, Said, SaidLine};
use crate::queue::{QueueName, Store};
use crate::text::{self, MAX_LINE_BYTES};

/// Print what a job's handler logged, and the end of its output, attempt by attempt
///
/// Kept are, by default, the words of attempts that failed. With --job-logs all, or logs = "all" in the plugin's manifest, those of
/// all are, and of an attempt that runs they are told about once a second.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln logs 3f0c6a52-9d5e-4b1f-8c39-0f9d6a2b7e11\n  kiln logs 42 --follow")]
pub(super) struct LogsArgs {
    /// The job's id
    id: String,
    /// Go on until the job has ended
    #[arg(long, short)]
    follow: bool,
    /// Look in this queue only; repeat for more [default: all that are known]
    #[arg(long = "queue", value_parser = queue_name, value_name = "NAME")]
    queues: Vec<QueueName>,
    /// Print one JSON object: the attempts that are kept, and what the one under way reports
    #[arg(long, conflicts_with = "follow")]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Time between two looks.
const AGAIN: Duration = Duration::from_millis(500);

/// Looks between two searches for the job: only these show that a job has ended of which nothing is kept.
const LOOKS: u32 = 10;

pub(super) async fn logs(args: LogsArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open().await?;
    let queues = (!args.queues.is_empty()).then_some(args.queues);
    if args.follow {
        return follow(&store, &args.id, queues).await;
    }
    let words = words(&store, &args.id, queues.as_deref()).await?;
    if args.json {
        writeln!(out(), "{}", serde_json::to_string(&words)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if Shown::default().show(&words)? {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Missing(format!("nothing is kept of what job {} said", text::name(&args.id))).into())
}

async fn follow(store: &Store, id: &str, queues: Option<Vec<QueueName>>) -> anyhow::Result<ExitCode> {
    let look = Look {
        queues,
        without_failed: true,
        ..Look::default()
    };
    let (mut shown, mut looks, mut first) = (Shown::default(), 0_u32, None);
    loop {
        let words = words(store, id, look.queues.as_deref()).await?;
        shown.show(&words)?;
        // A job that was put back has had a last attempt before.
        let last_ms = words.attempts.last().map(|attempt| attempt.ended_ms);
        if words.has_ended() && last_ms != *first.get_or_insert(last_ms) {
            return Ok(ExitCode::SUCCESS);
        }
        looks += 1;
        if looks.is_multiple_of(LOOKS) || looks == 1 {
            let life = life(store, id, &look).await?;
            if life.found.is_empty() && life.searched.all_jobs {
                // What it said last may have come between the two looks.
                shown.show(&words_again(store, id, &look).await?)?;
                tell(&format!("kiln: {} is in no queue", text::name(id)));
                return Ok(ExitCode::SUCCESS);
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn words_again(store: &Store, id: &str, look: &Look) -> anyhow::Result<Words> {
    tokio::time::sleep(AGAIN).await;
    Ok(words(store, id, look.queues.as_deref()).await?)
}

/// What was printed so far.
#[derive(Default)]
struct Shown {
    /// Lines of each attempt.
    lines: BTreeMap<u32, u64>,
    /// When the attempts ended that were printed whole.
    ended_ms: Option<i64>,
    /// The last progress.
    progress: Option<(u32, Option<u8>, String)>,
}

impl Shown {
    /// Prints what is new. False: nothing is.
    fn show(&mut self, words: &Words) -> anyhow::Result<bool> {
        let (mut out, mut any) = (out(), false);
        for attempt in &words.attempts {
            if self.ended_ms >= Some(attempt.ended_ms) {
                continue;
            }
            for line in self.of_attempt(attempt) {
                writeln!(out, "{line}")?;
                any = true;
            }
        }
        self.ended_ms = self.ended_ms.max(words.attempts.last().map(|attempt| attempt.ended_ms));
        if let Some(report) = &words.progress {
            let now = (report.attempt, report.percent, report.note.clone());
            let lines = report.said.iter().flat_map(|said| self.new_lines(report.attempt, said));
            for line in lines.collect::<Vec<_>>() {
                writeln!(out, "{line}")?;
                any = true;
            }
            if let (Some(percent), false) = (report.percent, self.progress.as_ref() == Some(&now)) {
                let note = text::line(&report.note, MAX_LINE_BYTES);
                let line = format!("{} #{} {percent}% {note}", at(report.at_ms), report.attempt);
                writeln!(out, "{}", line.trim_end())?;
                any = true;
            }
            self.progress = Some(now);
        }
        out.flush()?;
        Ok(any)
    }

    /// An attempt that is over.
    fn of_attempt(&mut self, attempt: &AttemptRecord) -> Vec<String> {
        let number = attempt.attempt;
        let mut lines = Vec::new();
        if let Some(said) = &attempt.said {
            lines.extend(self.new_lines(number, said));
            for (name, output) in [("stdout", &said.stdout), ("stderr", &said.stderr)] {
                let output = text::block(output);
                lines.extend(output.lines().map(|line| format!("  #{number} {name}  {line}")));
            }
        }
        let ended = at(attempt.ended_ms);
        lines.push(match attempt.failure {
            None => format!("{ended} #{number} completed"),
            Some(kind) => format!(
                "{ended} #{number} {kind}: {}",
                text::message(&attempt.message, MAX_LINE_BYTES)
            ),
        });
        lines
    }

    /// The lines that an attempt logged since they were printed last.
    fn new_lines(&mut self, attempt: u32, said: &Said) -> Vec<String> {
        let printed = self.lines.entry(attempt).or_default();
        let numbered = (said.dropped_lines..).zip(&said.lines);
        let new = numbered.filter(|(number, _)| *number >= *printed);
        let mut lines = Vec::new();
        if said.dropped_lines > *printed {
            lines.push(format!(
                "  #{attempt} … {} lines are not kept",
                said.dropped_lines - *printed
            ));
        }
        lines.extend(new.map(|(_, line)| of_line(attempt, line)));
        *printed = (*printed).max(said.dropped_lines + said.lines.len() as u64);
        lines
    }
}

fn of_line(attempt: u32, line: &SaidLine) -> String {
    let (level, message) = (
        text::name(&line.level).to_ascii_uppercase(),
        text::line(&line.message, MAX_LINE_BYTES),
    );
    let context = text::line(&line.context, MAX_LINE_BYTES);
    let colon = if context.is_empty() { "" } else { ": " };
    format!("{} #{attempt} {level} {context}{colon}{message}", at(line.at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(numbers: std::ops::Range<u64>) -> Said {
        let line = |n: u64| SaidLine {
            at_ms: 0,
            level: "info".to_owned(),
            context: String::new(),
            message: n.to_string(),
        };
        Said {
            dropped_lines: numbers.start,
            lines: numbers.map(line).collect(),
            ..Said::default()
        }
    }

    #[test]
    fn each_line_is_printed_once_and_what_is_missing_is_told() {
        let mut shown = Shown::default();
        let mut new = |attempt, numbers| {
            let lines = shown.new_lines(attempt, &said(numbers)).into_iter();
            lines
                .map(|line| line.rsplit(' ').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(new(1, 0..2), ["0", "1"]);
        assert_eq!(new(1, 1..3), ["2"]);
        assert_eq!(new(1, 1..3), [""; 0]);
        assert_eq!(new(1, 5..6), ["kept", "5"]);
        assert_eq!(new(2, 0..1), ["0"]);
    }
}
