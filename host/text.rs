//! Text of producers, guests, plugins and operators, made fit for terminals, logs and messages.
//!
//! One rule holds for all of it: a [hidden](is_hidden) character is shown as JSON writes it, `\u001b`. So JSON stays
//! the same JSON, and a reader sees what was sent. Text without hidden characters, which is nearly all, is neither
//! copied nor allocated.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;

/// Bytes of a line that quotes such text: an error, a failure's message.
pub const MAX_LINE_BYTES: usize = 4 * 1024;

/// Bytes shown of a job's id, and of a name: producers may send megabytes, and every line about a job repeats both.
pub const MAX_NAME_BYTES: usize = 128;

/// Names that a message lists; it counts the others.
const MAX_LISTED_NAMES: usize = 10;

/// What stands where text was cut off.
const CUT: char = '…';

/// Whether a character has no place in a line: it moves the cursor, ends the line, reorders its neighbours, or is seen by
/// programs and not by people.
///
/// - C0, DEL and C1 steer terminals; U+2028 and U+2029 end lines for JavaScript and some log viewers.
/// - Bidi controls (U+061C, U+200E–F, U+202A–E, U+2066–9) show text in another order than it has.
/// - Soft hyphen, zero-width space, word joiner and its kin, deprecated format characters, byte order mark, annotation
///   marks and tags hide text, or make two names look the same.
///
/// The joiners U+200C and U+200D and variation selectors stay: Persian, the scripts of India and emoji need them, and they
/// change no more than the shape of their neighbours.
#[must_use]
pub const fn is_hidden(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether a character has no place in text of several lines, where line feeds and tabs may stand.
const fn is_hidden_in_block(c: char) -> bool {
    !matches!(c, '\n' | '\t') && is_hidden(c)
}

/// Makes one line of a text, of at most `max_bytes` and a mark that more was cut off. Line breaks are shown as `\n`.
#[must_use]
pub fn line(text: &str, max_bytes: usize) -> Cow<'_, str> {
    // Cut before escaping, so that no time is lost with text that goes anyway; and again below, since escapes are
    // longer.
    let kept = &text[..text.floor_char_boundary(max_bytes)];
    let mut cut = kept.len() < text.len();
    if !cut && !has(kept, is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(kept.len() + 16);
    for c in kept.chars() {
        let before = line.len();
        push(&mut line, c, is_hidden);
        if line.len() > max_bytes {
            line.truncate(before);
            cut = true;
            break;
        }
    }
    if cut {
        line.push(CUT);
    }
    Cow::Owned(line)
}

/// A job's id or a name, as a value of a log line or of a table: one line of at most [`MAX_NAME_BYTES`].
#[must_use]
pub fn name(name: &str) -> Cow<'_, str> {
    line(name, MAX_NAME_BYTES)
}

/// Makes one message of a text that may have several lines: they are joined by `; `.
#[must_use]
pub fn message(text: &str, max_bytes: usize) -> Cow<'_, str> {
    if !text.contains(['\n', '\r']) {
        return line(text, max_bytes);
    }
    // Text beyond this is cut off anyway, so its lines need not be looked at.
    let text = &text[..text.floor_char_boundary(2 * max_bytes)];
    let lines = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    let joined = lines.collect::<Vec<_>>().join("; ");
    Cow::Owned(line(&joined, max_bytes).into_owned())
}

/// The first of these names, and how many more there are.
#[must_use]
pub(crate) fn list<T: AsRef<str>>(names: &[T], separator: &str) -> String {
    let listed = names.iter().take(MAX_LISTED_NAMES).map(AsRef::as_ref);
    let listed = listed.collect::<Vec<_>>().join(separator);
    match names.len().saturating_sub(MAX_LISTED_NAMES) {
        0 => listed,
        more => format!("{listed}{separator}and {more} more"),
    }
}

/// Text of several lines, as long as it is: line feeds and tabs stay.
#[must_use]
pub fn block(text: &str) -> Cow<'_, str> {
    if !has(text, is_hidden_in_block) {
        return Cow::Borrowed(text);
    }
    let mut block = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push(&mut block, c, is_hidden_in_block));
    Cow::Owned(block)
}

/// Whether some character of the text is hidden. Quick for ASCII.
fn has(text: &str, is_hidden: fn(char) -> bool) -> bool {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~');
    !text.as_bytes().iter().all(is_plain) && text.contains(is_hidden)
}

fn push(text: &mut String, c: char, is_hidden: fn(char) -> bool) {
    match c {
        c if !is_hidden(c) => text.push(c),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        c => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
}

/// Writes text of one line, with hidden characters shown. For text that is formatted piece by piece.
#[derive(Debug)]
pub(crate) struct LineWriter<W>(pub(crate) W);

impl<W: fmt::Write> fmt::Write for LineWriter<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&line(text, usize::MAX))
    }
}

/// Writes text of several lines, with hidden characters shown. Expects whole characters; bytes that are no UTF-8 become
/// U+FFFD.
#[derive(Debug)]
pub(crate) struct BlockWriter<W>(pub(crate) W);

impl<W: io::Write> io::Write for BlockWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for chunk in bytes.utf8_chunks() {
            self.0.write_all(block(chunk.valid()).as_bytes())?;
            if !chunk.invalid().is_empty() {
                write!(self.0, "{}", char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_forges_no_other_and_steers_no_terminal() {
        let forged = "no\n\r\u{1b}[2J2026-01-01 INFO job completed\0\u{9b}\u{85}\u{7f}!";
        let shown = "no\\n\\r\\u001b[2J2026-01-01 INFO job completed\\u0000\\u009b\\u0085\\u007f!";
        assert_eq!(line(forged, 1000), shown);
        assert_eq!(
            line("a\u{202e}b\u{2066}c\u{61c}d\u{2028}", 99),
            "a\\u202eb\\u2066c\\u061cd\\u2028"
        );
        assert_eq!(
            line("\u{feff}a\u{200b}b\u{e0041}", 99),
            "\\ufeffa\\u200bb\\udb40\\udc41"
        );
        let joined = "می\u{200c}خواهم 👩\u{200d}💻 ❤\u{fe0f}";
        assert!(matches!(line(joined, 99), Cow::Borrowed(same) if same == joined));
        assert_eq!(line("één", 3), "é…", "no character is cut in two");
    }

    #[test]
    fn several_lines_become_one_message() {
        assert_eq!(message("first\r\n\n  second\n", 99), "first; second");
        assert_eq!(message(&"a\n".repeat(10_000), 10), "a; a; a; a…");
    }

    #[test]
    fn a_block_keeps_its_lines_and_json_its_meaning() {
        let mut written = Vec::new();
        BlockWriter(&mut written).write_all(b"a\n\tb\x1b[2J\xff\n").unwrap();
        assert_eq!(written, "a\n\tb\\u001b[2J\u{fffd}\n".as_bytes());
        let json = serde_json::to_string("\u{7f}\u{9b}\u{202e}\u{e0041}\n").unwrap();
        assert_eq!(
            serde_json::from_str::<String>(&block(&json)).unwrap(),
            "\u{7f}\u{9b}\u{202e}\u{e0041}\n"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_shown_within_its_bounds(
            // Every kind of character, the hidden ones often.
            chars in prop::collection::vec(prop_oneof![
                any::<char>(), prop::char::range('\0', '\u{ff}'), prop::char::range('\u{2000}', '\u{2070}'),
                prop::char::range('\u{e0000}', '\u{e0080}'),
            ], 0..200),
            max_bytes in 0..300_usize,
        ) {
            let text: String = chars.into_iter().collect();
            for shown in [line(&text, max_bytes), message(&text, max_bytes)] {
                prop_assert!(!shown.contains(is_hidden) && shown.len() <= max_bytes + CUT.len_utf8(), "{shown:?}");
            }
            prop_assert!(!block(&text).contains(is_hidden_in_block));
            if text.len() <= max_bytes && !text.contains(is_hidden) {
                prop_assert!(matches!(line(&text, max_bytes), Cow::Borrowed(_)), "a copy without need");
            }
            let mut written = String::new();
            LineWriter(&mut written).write_str(&text).unwrap();
            prop_assert_eq!(&*written, line(&text, usize::MAX));
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&block(&json)).unwrap(), text);
        }
    }
}
