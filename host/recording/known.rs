//! Values that no recording may hold, found in every spelling in which they stand.

use std::cmp::Reverse;

/// Values, and what takes the place of each. It cannot be printed.
#[derive(Clone, Default)]
pub(crate) struct Known(Vec<(Vec<u8>, String)>);

impl Known {
    /// Adds a value, unless it is there. Text beyond ASCII is looked for in UTF-8 and in Latin-1, in which headers stand.
    pub(crate) fn add(&mut self, value: &[u8], stand_in: &str) {
        let latin1: Option<Vec<u8>> = str::from_utf8(value)
            .ok()
            .and_then(|text| text.chars().map(|c| u8::try_from(c).ok()).collect());
        for value in [Some(value.to_vec()), latin1].into_iter().flatten() {
            if !value.is_empty() && self.0.iter().all(|(known, _)| *known != value) {
                self.0.push((value, stand_in.to_owned()));
            }
        }
        // One value may be the beginning of another.
        self.0.sort_by_key(|(value, _)| Reverse(value.len()));
    }

    /// A text without the values.
    pub(crate) fn concealed(&self, text: Vec<u8>) -> Vec<u8> {
        let begins = |byte: u8| b"%+\\".contains(&byte) || self.0.iter().any(|(value, _)| value[0] == byte);
        let begins: Vec<bool> = (0..=u8::MAX).map(begins).collect();
        let mut concealed = Vec::new();
        let (mut done, mut at) = (0, 0);
        while let Some(byte) = text.get(at) {
            let found = begins[usize::from(*byte)].then(|| self.found(&text[at..])).flatten();
            let Some((len, stand_in)) = found else {
                at += 1;
                continue;
            };
            concealed.extend_from_slice(&text[done..at]);
            concealed.extend_from_slice(stand_in.as_bytes());
            at += len;
            done = at;
        }
        if done == 0 {
            return text;
        }
        concealed.extend_from_slice(&text[done..]);
        concealed
    }

    /// The value that a text begins with: how many bytes of the text it takes, and what takes its place.
    fn found(&self, text: &[u8]) -> Option<(usize, &str)> {
        let spelt = |value: &[u8]| SPELLINGS.iter().find_map(|spelling| spelling.spelt(value, text));
        let mut values = self.0.iter();
        values.find_map(|(value, stand_in)| Some((spelt(value)?, stand_in.as_str())))
    }
}

/// How a value stands in a text. In each spelling any character may stand for itself.
#[derive(Clone, Copy)]
enum Spelling {
    Plain,
    /// `%2F`, and `+` for a space, as in URLs and forms.
    Url,
    /// `\n` and `\u00fc`, as in JSON.
    Json,
}

const SPELLINGS: [Spelling; 3] = [Spelling::Plain, Spelling::Url, Spelling::Json];

impl Spelling {
    /// How many bytes a value takes with which the text begins. None: it begins with something else.
    fn spelt(self, value: &[u8], text: &[u8]) -> Option<usize> {
        let (mut value, mut at) = (value, 0);
        while let Some(wanted) = value.first() {
            let rest = &text[at..];
            let (len, taken) = match (self, rest.first()?) {
                (Self::Url, b'%') => (usize::from(byte(rest.get(1..3)?)? == *wanted), 3),
                (Self::Url, b'+') if *wanted == b' ' => (1, 1),
                (Self::Json, b'\\') => {
                    let (char, taken) = escaped(rest)?;
                    let mut bytes = [0; 4];
                    let bytes = char.encode_utf8(&mut bytes).as_bytes();
                    (if value.starts_with(bytes) { bytes.len() } else { 0 }, taken)
                }
                (_, byte) => (usize::from(byte == wanted), 1),
            };
            if len == 0 {
                return None;
            }
            (value, at) = (&value[len..], at + taken);
        }
        Some(at)
    }
}

/// The character that a text's escape in JSON stands for, and how many bytes the escape takes.
fn escaped(text: &[u8]) -> Option<(char, usize)> {
    let unit = |text: &[u8]| {
        let digits = text.strip_prefix(b"\\u")?.get(..4)?;
        Some(u16::from_be_bytes([byte(&digits[..2])?, byte(&digits[2..])?]))
    };
    let short = match text.get(1)? {
        b'u' => {
            let first = unit(text)?;
            if let Some(Ok(char)) = char::decode_utf16([first]).next() {
                return Some((char, 6));
            }
            let pair = char::decode_utf16([first, unit(text.get(6..)?)?]).next()?;
            return Some((pair.ok()?, 12));
        }
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        other => char::from(*other),
    };
    Some((short, 2))
}

/// The byte that two hexadecimal digits stand for.
fn byte(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| {
        char::from(digits[at])
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit(0)? << 4 | digit(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(values: &[&str]) -> Known {
        let mut known = Known::default();
        for (at, value) in values.iter().enumerate() {
            known.add(value.as_bytes(), &format!("<{at}>"));
        }
        known
    }

    #[test]
    fn a_value_is_found_in_every_spelling() {
        let known = known(&["s3 cr/e-t~\"ü😀", "ends in \"", "größe"]);
        for (text, shown) in [
            ("a s3 cr/e-t~\"ü😀 b", "a <0> b"),
            // As `encodeURIComponent` has it, as forms do, with everything encoded, in lower case.
            ("?q=s3%20cr%2Fe-t~%22%C3%BC%F0%9F%98%80&", "?q=<0>&"),
            ("q=s3+cr%2Fe-t%7E%22%C3%BC%F0%9F%98%80", "q=<0>"),
            ("%733%20cr%2fe%2dt%7e%22%c3%bc%f0%9f%98%80", "<0>"),
            (r#""s3 cr/e-t~\"ü😀""#, r#""<0>""#),
            (r#""s3 cr\/e-t~\"\u00fc\ud83d\uDE00""#, r#""<0>""#),
            (r#""\u00733 cr\u002fe-t~\u0022\u00FC😀""#, r#""<0>""#),
            (r#""ends in \"""#, r#""<1>""#),
            ("gr%F6%DFe", "<2>"),
            (r"s3 cr/e-t~\ü😀", r"s3 cr/e-t~\ü😀"),
            ("s3%20cr%2", "s3%20cr%2"),
            (r"\u007", r"\u007"),
        ] {
            let found = known.concealed(text.into());
            assert_eq!(String::from_utf8_lossy(&found), shown, "{text}");
        }
        assert_eq!(known.concealed(b"gr\xf6\xdfe".to_vec()), b"<2>", "as Latin-1");
        assert_eq!(Known::default().concealed(b"a".to_vec()), b"a");
    }

    #[test]
    fn the_longest_value_counts_and_what_takes_its_place_is_not_looked_at() {
        let known = known(&["abcd", "abcdefgh", "<0>", "abcd"]);
        assert_eq!(known.concealed(b"abcdefgh abcdef".to_vec()), b"<1> <0>ef");
    }
}
