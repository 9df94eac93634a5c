//! Shows JSON as text, without the values that an operator does not want shown.
//!
//! The text is walked through as it is: a JSON tree would round its numbers and reorder its keys.

use crate::outcome::{Failure, FailureKind};
use crate::text;

/// Deepest nesting that is indented further.
const MAX_DEPTH: usize = 64;

/// What stands for a value that is not shown.
const HIDDEN: &str = "\"(redacted)\"";

/// Paths in a job whose values are not shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Redaction(Vec<Vec<String>>);

impl Redaction {
    /// Paths like `payload.card.number`. Elements of arrays have the path of the array.
    pub(super) fn new(paths: &[String]) -> Self {
        let keys = |path: &String| path.split('.').map(str::to_owned).collect();
        Self(paths.iter().map(keys).collect())
    }

    /// Whether anything is not shown.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What to show in place of a payload that may hold the bytes of a whole job, in which nothing can be found by its path.
    pub(super) fn instead_of_bytes(&self, failure: Option<&Failure>, payload: &str) -> Option<String> {
        let is_whole_job =
            failure.is_some_and(|failure| matches!(failure.kind, FailureKind::Malformed | FailureKind::Internal));
        let hides_all = is_whole_job && !self.is_empty();
        hides_all.then(|| format!("(redacted: {} bytes that may hold a whole job)", payload.len()))
    }

    /// Whether nothing at this path is hidden, and nothing that it is a part of.
    pub(super) fn shows(&self, path: &str) -> bool {
        let is_in = |whole: &[String]| path.split('.').zip(whole).all(|(key, hidden)| key == hidden);
        !self.0.iter().any(|hidden| is_in(hidden))
    }

    fn hides(&self, path: &[String]) -> bool {
        self.0.iter().any(|hidden| hidden.as_slice() == path)
    }

    /// JSON text on several lines, indented; `at` is its path in the job. Hidden characters are shown as JSON writes them.
    pub(super) fn pretty(&self, json: &str, at: &[&str]) -> String {
        text::block(&self.write(json, at, true)).into_owned()
    }

    /// JSON text as it is, but for what is not shown.
    pub(super) fn plain(&self, json: &str, at: &[&str]) -> String {
        if self.is_empty() {
            return json.to_owned();
        }
        self.write(json, at, false)
    }

    fn write(&self, json: &str, at: &[&str], pretty: bool) -> String {
        let mut writer = Writer {
            rest: json,
            out: String::with_capacity(json.len() + json.len() / 4),
            path: at.iter().map(|key| (*key).to_owned()).collect(),
            depth: 0,
            pretty,
            redaction: self,
        };
        writer.value();
        writer.out
    }
}

/// Goes through JSON text. It expects it to be JSON: it was decoded once. Other text ends it early.
struct Writer<'a> {
    rest: &'a str,
    out: String,
    path: Vec<String>,
    depth: usize,
    pretty: bool,
    redaction: &'a Redaction,
}

impl<'a> Writer<'a> {
    fn value(&mut self) {
        if self.redaction.hides(&self.path) {
            self.out.push_str(HIDDEN);
            let before = self.out.len();
            self.shown_value();
            self.out.truncate(before);
        } else {
            self.shown_value();
        }
    }

    fn shown_value(&mut self) {
        self.skip_space();
        match self.rest.chars().next() {
            Some('{') => self.items('{', '}'),
            Some('[') => self.items('[', ']'),
            Some('"') => {
                let string = self.string();
                self.out.push_str(string);
            }
            _ => {
                let end = self.rest.find(|c: char| ",]}".contains(c) || c.is_whitespace());
                let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
                self.out.push_str(word);
                self.rest = rest;
            }
        }
    }

    fn items(&mut self, open: char, close: char) {
        self.rest = &self.rest[1..];
        self.out.push(open);
        self.depth += 1;
        let mut any = false;
        loop {
            self.skip_space();
            match self.rest.chars().next() {
                None => return,
                Some(c) if c == close => break,
                Some(',') => {
                    self.rest = &self.rest[1..];
                    self.out.push(',');
                    continue;
                }
                Some(_) => {}
            }
            any = true;
            self.new_line();
            let before = self.rest.len();
            if open == '{' {
                self.entry();
            } else if self.depth > MAX_DEPTH * 4 {
                return;
            } else {
                self.value();
            }
            if self.rest.len() == before {
                return;
            }
        }
        self.rest = &self.rest[1..];
        self.depth -= 1;
        if any {
            self.new_line();
        }
        self.out.push(close);
    }

    fn entry(&mut self) {
        if !self.rest.starts_with('"') || self.depth > MAX_DEPTH * 4 {
            self.rest = "";
            return;
        }
        let key = self.string();
        self.out.push_str(key);
        self.skip_space();
        self.rest = self.rest.strip_prefix(':').unwrap_or(self.rest);
        self.out.push_str(if self.pretty { ": " } else { ":" });
        let key = serde_json::from_str(key).unwrap_or_default();
        self.path.push(key);
        self.value();
        self.path.pop();
    }

    /// The string that begins here, with its quotes.
    fn string(&mut self) -> &'a str {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let (string, rest) = self.rest.split_at(end.map_or(self.rest.len(), |(at, _)| at + 1));
        self.rest = rest;
        string
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn new_line(&mut self) {
        if self.pretty {
            self.out.push('\n');
            let depth = self.depth.min(MAX_DEPTH);
            self.out.extend(std::iter::repeat_n("  ", depth));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_is_shown_as_it_is_but_for_what_is_redacted() {
        let redaction = Redaction::new(&["payload.card".to_owned(), "payload.items.pin".to_owned()]);
        let json =
            r#"{"n":1.000000000000000000001,"card":{"number":"4111"},"items":[{"pin":1,"b":[]},{"pin":"\"}"}],"e":{}}"#;
        let plain = r#"{"n":1.000000000000000000001,"card":"(redacted)","items":[{"pin":"(redacted)","b":[]},{"pin":"(redacted)"}],"e":{}}"#;
        assert_eq!(redaction.plain(json, &["payload"]), plain);
        assert_eq!(redaction.plain(json, &["metadata"]), json);
        assert_eq!(
            Redaction::default().pretty(r#"{"a":[1,"x, y"],"b":{}}"#, &[]),
            "{\n  \"a\": [\n    1,\n    \"x, y\"\n  ],\n  \"b\": {}\n}"
        );
    }

    #[test]
    fn a_key_written_with_escapes_is_redacted_too() {
        let redaction = Redaction::new(&["payload.card".to_owned()]);
        assert_eq!(
            redaction.plain(r#"{"c\u0061rd":"4111"}"#, &["payload"]),
            r#"{"c\u0061rd":"(redacted)"}"#
        );
    }

    proptest! {
        #[test]
        fn any_json_stays_the_same_json(json in any::<Vec<(String, Option<i64>)>>()) {
            let json = serde_json::to_string(&json).unwrap();
            let pretty = Redaction::default().pretty(&json, &[]);
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            prop_assert_eq!(read(&pretty), read(&json));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            Redaction::new(&["a".to_owned()]).write(&text, &[], true);
        }
    }
}
