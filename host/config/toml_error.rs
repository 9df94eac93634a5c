//! What is wrong in a manifest, and where: one line of bounded length, whatever the manifest holds.

use std::ops::Range;

use crate::text::{self, MAX_LINE_BYTES};

/// What the parser says, and where.
pub(super) fn told(text: &str, err: &toml::de::Error) -> String {
    at(text, err.span(), err.message())
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
