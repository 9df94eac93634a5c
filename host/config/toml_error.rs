//! What is wrong in a manifest, and where: one line of bounded length, whatever the manifest holds.

use std::borrow::Cow;
use std::ops::Range;

use crate::text::{self, MAX_LINE_BYTES};

/// What the parser says, and where.
pub(super) fn told(text: &str, err: &toml::de::Error) -> String {
    // A schedule is checked as a whole, and the parser takes all of the text for its place. It is named by its id.
    let span = err.span().filter(|_| !err.message().starts_with("schedule "));
    at(text, span, &in_words(err.message()))
}

/// Names what was expected as an operator would, not as Rust does.
fn in_words(message: &str) -> Cow<'_, str> {
    let Some((found, expected)) = message.rsplit_once("expected ") else {
        return message.into();
    };
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" => "a whole number of 0 or more",
        "a nonzero u32" => "a whole number of 1 or more",
        "a sequence" => "a list",
        "a map" => "a table",
        _ if expected.starts_with("struct ") => "a table",
        _ => return message.into(),
    };
    format!("{found}expected {expected}").into()
}

/// Another fault at this place, in the same form.
pub(super) fn at(text: &str, span: Option<Range<usize>>, message: &str) -> String {
    let before = span.and_then(|span| text.get(..span.start));
    let located = match before {
        Some(before) => {
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            format!("line {line}, column {column}: {message}")
        }
        None => message.to_owned(),
    };
    text::message(&located, MAX_LINE_BYTES).into_owned()
}
