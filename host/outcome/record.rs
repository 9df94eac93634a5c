//! What is kept of an attempt, for whoever asks what a job went through.

use serde::{Deserialize, Serialize};

use super::FailureKind;

/// Bytes of what is kept of one attempt. Beyond it the handler's words go first, the oldest before the newest.
pub const MAX_RECORD_BYTES: usize = 32 * 1024;

/// Bytes kept of the lines that the handler of one attempt logged: the last of them.
pub const MAX_SAID_BYTES: usize = 8 * 1024;

/// Bytes kept of each of its output streams: the last of them.
pub const MAX_OUTPUT_KEPT_BYTES: usize = 4 * 1024;

/// What is kept of one attempt. Its texts are those of producers and guests, in one line each except the output.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Which attempt it was, counted from 1; 0 where the job ended without being run.
    pub attempt: u32,
    /// When the job was due, in milliseconds since the Unix epoch, as the job says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<i64>,
    /// When the host took it.
    pub fetched_ms: i64,
    /// When the attempt began; none where none was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<i64>,
    /// When it ended.
    pub ended_ms: i64,
    /// The host that ran it, or that decided about the job.
    pub host: String,
    /// The plugin; empty where none ran.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plugin: String,
    /// What the plugin's manifest calls this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The first twelve digits of the plugin's content digest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// How it failed; none: it completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How long the job then waits for its next attempt; none: it gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_in_ms: Option<u64>,
    /// Processor time that it took, in microseconds.
    pub cpu_us: u64,
    /// The most linear memory that it held at once.
    pub peak_memory_bytes: u64,
    /// The last progress that it reported, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_percent: Option<u8>,
    /// What its handler said; none: nothing, or that was not to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Said>,
}

/// What an attempt that runs has reported last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningReport {
    /// The queue the job was taken from.
    pub queue: String,
    /// The host that runs it.
    pub host: String,
    /// The plugin.
    pub plugin: String,
    /// The first twelve digits of its content digest.
    pub digest: String,
    /// Which attempt it is, counted from 1.
    pub attempt: u32,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// When it last said something.
    pub at_ms: i64,
    /// Its progress, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// What the handler said with it, one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// What the handler has logged so far; none unless that is told while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Said>,
}

/// What the handler of one attempt said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The last lines that it logged, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<SaidLine>,
    /// How many lines it logged before those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_lines: u64,
    /// The last of what it wrote to standard output.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// The last of what it wrote to standard error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr: String,
}

/// A line that a handler logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidLine {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// How much it matters: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// What part of the handler spoke; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub context: String,
    /// What it said.
    pub message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Said {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Leaves half of it out: the older half of each part. False: nothing is left.
    fn halve(&mut self) -> bool {
        let lines = self.lines.len().div_ceil(2);
        self.lines.drain(..lines);
        self.dropped_lines += lines as u64;
        for text in [&mut self.stdout, &mut self.stderr] {
            *text = text.split_off(text.ceil_char_boundary(text.len().div_ceil(2)));
        }
        !(self.lines.is_empty() && self.stdout.is_empty() && self.stderr.is_empty())
    }
}

impl AttemptRecord {
    /// Its JSON in one line, of at most [`MAX_RECORD_BYTES`].
    #[must_use]
    pub fn encode(mut self) -> String {
        loop {
            // Cannot fail: it has text for keys.
            let json = serde_json::to_string(&self).unwrap_or_default();
            if json.len() <= MAX_RECORD_BYTES {
                return json;
            }
            if let Some(said) = &mut self.said {
                if !said.halve() {
                    self.said = None;
                }
            } else {
                self.message.clear();
            }
        }
    }

    /// Reads the records of a job, a line each. A line that another version of Kiln wrote may be left out.
    #[must_use]
    pub fn read(lines: &str) -> Vec<Self> {
        let records = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
        records.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_fits_whatever_was_said_and_the_newest_words_stay() {
        let line = |n: u32| SaidLine {
            at_ms: 1,
            level: "info".to_owned(),
            context: String::new(),
            message: format!("{n}"),
        };
        let said = Said {
            lines: (0..100).map(line).collect(),
            stdout: "\0".repeat(MAX_OUTPUT_KEPT_BYTES * 2),
            stderr: format!("{}the end", "é".repeat(MAX_RECORD_BYTES)),
            dropped_lines: 0,
        };
        let record = AttemptRecord {
            message: "why".to_owned(),
            said: Some(said),
            ..AttemptRecord::default()
        };
        let json = record.encode();
        assert!(json.len() <= MAX_RECORD_BYTES && !json.contains('\n'), "{}", json.len());
        let read = AttemptRecord::read(&format!("no record\n{json}\n"));
        assert_eq!((read.len(), read[0].message.as_str()), (1, "why"));
        let said = read[0].said.as_ref().expect("some of it");
        assert!(said.stderr.ends_with("the end"));
        assert_eq!(said.lines.last().map(|line| line.message.as_str()), Some("99"));
        assert_eq!(said.lines.len() as u64 + said.dropped_lines, 100);
    }

    #[test]
    fn of_a_record_that_is_too_long_without_words_the_message_goes() {
        let record = AttemptRecord {
            message: "\u{1}".repeat(MAX_RECORD_BYTES),
            attempt: 7,
            ..AttemptRecord::default()
        };
        assert_eq!(AttemptRecord::read(&record.encode())[0].attempt, 7);
    }
}
