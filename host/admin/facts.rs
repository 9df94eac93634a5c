//! What operators filter and group failed entries by: who failed, how, and why.

use std::fmt::Write as _;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::outcome::{Failure, FailureKind};
use crate::queue::FailedEntry;
use crate::text::{self, MAX_NAME_BYTES};

/// Bytes of a failure's message that are kept and searched.
pub const MAX_MESSAGE_BYTES: usize = 200;

/// Bytes of the place that a cause names.
const MAX_PLACE_BYTES: usize = 160;

/// Digits of a content digest that are shown everywhere.
const DIGEST_DIGITS: usize = 12;

/// What a failed entry says, as far as entries are filtered and grouped by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The job's id, cut to what is shown of it.
    pub id: String,
    /// Whether the entry has that id as it is: it names one, nothing was cut, and it has no hidden characters.
    pub id_is_whole: bool,
    /// Whether the entry holds a job at all.
    pub is_job: bool,
    /// The job's name.
    pub name: String,
    /// The queue it came from; empty where the entry does not say.
    pub queue: String,
    /// When it failed, in milliseconds since the Unix epoch; none where the entry does not say.
    pub failed_at_ms: Option<i64>,
    /// Why it failed, in one line of at most [`MAX_MESSAGE_BYTES`].
    pub message: String,
    /// What it is grouped by.
    pub cause: Cause,
}

/// What groups failures: entries of one cause most likely have one remedy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cause {
    /// How they failed; none where another program wrote the entry.
    pub kind: Option<FailureKind>,
    /// The plugin whose handler ran; the job's name where none did.
    pub plugin: String,
    /// The first twelve digits of the plugin's digest; empty where none ran.
    pub digest: String,
    /// The author's top frame. Where there is no backtrace, the message without what differs from job to job.
    pub place: String,
}

impl Facts {
    /// What an entry says. Of one that holds no job, only that.
    #[must_use]
    pub fn of(entry: &FailedEntry) -> Self {
        let job = match entry.job() {
            Ok(job) => job,
            Err(err) => {
                let message = text::line(&err.to_string(), MAX_MESSAGE_BYTES).into_owned();
                return Self {
                    id: String::new(),
                    id_is_whole: false,
                    is_job: false,
                    name: String::new(),
                    queue: String::new(),
                    failed_at_ms: None,
                    message,
                    cause: Cause {
                        place: "an entry that holds no job".to_owned(),
                        ..Cause::default()
                    },
                };
            }
        };
        let failure = entry.failure();
        let failed_at = job
            .times
            .failed_at
            .as_deref()
            .and_then(|at| at.parse::<Timestamp>().ok());
        let queue = failure.as_ref().and_then(|failure| failure.queue.as_deref());
        let message = failure.as_ref().map(|failure| failure.message.as_str());
        let message = message.or(job.error.as_deref()).unwrap_or_default();
        let id = text::line(&job.id, MAX_NAME_BYTES);
        Self {
            // An entry without an id is given another each time it is read.
            id_is_whole: id == job.id && contains(entry.bytes(), job.id.as_bytes()),
            is_job: true,
            id: id.into_owned(),
            name: text::name(&job.name).into_owned(),
            queue: text::name(queue.or(job.queue.as_deref()).unwrap_or_default()).into_owned(),
            failed_at_ms: failed_at.map(Timestamp::as_millisecond),
            message: text::message(message, MAX_MESSAGE_BYTES).into_owned(),
            cause: Cause::of(&job.name, failure.as_ref(), message),
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

impl Cause {
    fn of(job: &str, failure: Option<&Failure>, message: &str) -> Self {
        let handler = failure.map(|failure| failure.handler.as_str());
        let plugin = handler.filter(|handler| !handler.is_empty()).unwrap_or(job);
        let digest = failure.map_or("", |failure| failure.digest.as_str());
        let frame = failure.and_then(|failure| top_frame(failure.backtrace.as_deref()?));
        let place = frame.map_or_else(
            || alike(message),
            |frame| text::line(frame, MAX_PLACE_BYTES).into_owned(),
        );
        Self {
            kind: failure.map(|failure| failure.kind),
            plugin: text::name(plugin).into_owned(),
            digest: text::name(&digest[..digest.floor_char_boundary(DIGEST_DIGITS)]).into_owned(),
            place,
        }
    }

    /// Names the cause in addresses and requests: the same in every process, whatever else failed.
    #[must_use]
    pub fn id(&self) -> String {
        let kind = self.kind.map_or("", FailureKind::as_str);
        let mut digest = Sha256::new();
        for part in [kind, &self.plugin, &self.digest, &self.place] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize()[..8].iter().fold(String::new(), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        })
    }

    /// The cause of entries whose own one is not kept apart, because there are too many.
    #[must_use]
    pub fn others() -> Self {
        Self {
            place: "causes beyond the first thousands, together".to_owned(),
            ..Self::default()
        }
    }
}

/// The function of the innermost frame: Kiln has left out how the language's runtime panics.
#[must_use]
pub fn top_frame(backtrace: &str) -> Option<&str> {
    let line = backtrace.lines().next()?;
    let (_, function) = line.split_once(" - ")?;
    Some(function.trim())
}

/// A message without numbers, ids and what is quoted: those differ from job to job.
fn alike(message: &str) -> String {
    let mut alike = String::new();
    let mut quoted = None;
    let mut word = String::new();
    for c in text::message(message, MAX_MESSAGE_BYTES).chars().chain(['\n']) {
        match quoted {
            Some(quote) if c == quote || c == '\n' => {
                alike.push('…');
                alike.push(quote);
                quoted = None;
            }
            Some(_) => {}
            None if c.is_alphanumeric() || c == '_' => word.push(c),
            None => {
                push_word(&mut alike, &word);
                word.clear();
                if matches!(c, '"' | '`') {
                    quoted = Some(c);
                }
                alike.push(c);
            }
        }
    }
    text::line(alike.trim_end(), MAX_PLACE_BYTES).into_owned()
}

/// A word with a digit in it is a number, an id or a part of one. A `#` stands for it, and for all such in a row.
fn push_word(text: &mut String, word: &str) {
    if !word.contains(|c: char| c.is_ascii_digit()) {
        text.push_str(word);
    } else if !text.ends_with("#-") && !text.ends_with("#.") && !text.ends_with("#:") && !text.ends_with("#,") {
        text.push('#');
    } else {
        text.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(entry: &str) -> Facts {
        Facts::of(&FailedEntry::new(entry.as_bytes().to_vec()))
    }

    #[test]
    fn messages_that_differ_in_numbers_ids_and_quotes_have_one_cause() {
        for (one, other) in [
            ("order 17 has no lines", "order 99182 has no lines"),
            (
                "no user 3f2b8c1d-11aa-4e0b-9c1d-000000000001",
                "no user 99999999-22bb-4e0b-8888-0123456789ab",
            ),
            (
                r#"cannot read "a.csv" at line 3"#,
                r#"cannot read "b/c.csv" at line 1412"#,
            ),
            ("answered 503 after 1.25s", "answered 502 after 0.5s"),
            ("wanted 68,157,440 bytes", "wanted 67,108,864,000 bytes"),
            (r#"open quote "a"#, r#"open quote "bcd"#),
        ] {
            assert_eq!(alike(one), alike(other));
        }
        assert_ne!(alike("no such user"), alike("no such order"));
        assert_eq!(alike("took 1.25s, at most 30 allowed"), "took #, at most # allowed");
    }

    #[test]
    fn a_trap_is_told_by_its_top_frame_and_version_and_not_by_its_message() {
        let entry = |message: &str, offset: &str, digest: &str| {
            let backtrace = format!("    3: {offset} - resize.wasm!resize::crop\\n    4:   0x99 - resize.wasm!main");
            facts(&format!(
                r#"{{"id":"1","name":"resize","failure":{{"kind":"trap","message":"{message}","handler":"resize","digest":"{digest}","backtrace":"{backtrace}"}}}}"#
            ))
        };
        let one = entry("index 3 of 2", "  0x1234", "ce60aaaaaaaabbbb");
        assert_eq!(one.cause.place, "resize.wasm!resize::crop");
        assert_eq!(one.cause.digest, "ce60aaaaaaaa");
        assert_eq!(
            one.cause.id(),
            entry("something else", "  0x1239", "ce60aaaaaaaabbbb").cause.id()
        );
        assert_ne!(one.cause.id(), entry("index 3 of 2", "  0x1234", "9b12").cause.id());
    }

    #[test]
    fn an_entry_of_another_program_and_one_that_holds_no_job_have_a_cause() {
        let foreign = facts(r#"{"id":"1","name":"mail","queue":"q","error":"dial tcp 10.0.0.7:25: refused"}"#);
        assert_eq!((foreign.cause.kind, foreign.cause.plugin.as_str()), (None, "mail"));
        assert_eq!(foreign.cause.place, "dial tcp #: refused");
        assert_eq!((foreign.queue.as_str(), foreign.failed_at_ms), ("q", None));
        assert_eq!(facts("[]").cause, facts("nonsense").cause);
    }
}
