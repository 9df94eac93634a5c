//! Reads what a producer sent, and says of what does not fit where it does not.

use serde::Deserialize;

use crate::Failure;

/// What makes no sense makes none the next time either.
pub(crate) fn read<'a, T: Deserialize<'a>>(what: &str, text: &'a str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|err| misfit(what, text, &err))
}

#[cold]
fn misfit(what: &str, text: &str, err: &serde_json::Error) -> Failure {
    let line: usize = text
        .split_inclusive('\n')
        .take(err.line().saturating_sub(1))
        .map(str::len)
        .sum();
    let place = path(text, line + err.column());
    let colon = if place.is_empty() { "" } else { ": " };
    Failure::Permanent(format!("{what}: {place}{colon}{err}"))
}

/// A step from a value to one within it.
enum Step<'a> {
    /// Empty until one has been read.
    Key(&'a str),
    Index(usize),
}

/// The way to what stands before the byte `end` of a JSON text: `items[2].quantity`. The errors of `serde_json` know the
/// line and the column, which say little of a text that stands on one line.
fn path(text: &str, end: usize) -> String {
    let bytes = &text.as_bytes()[..end.min(text.len())];
    let mut steps: Vec<Step<'_>> = Vec::new();
    let mut string = "";
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, steps.last_mut()) {
            (b'"', _) => {
                let start = at + 1;
                at = start;
                while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                string = text.get(start..at).unwrap_or_default();
            }
            (b'{', _) => steps.push(Step::Key("")),
            (b'[', _) => steps.push(Step::Index(0)),
            (b'}' | b']', _) => drop(steps.pop()),
            (b':', Some(Step::Key(key))) => *key = string,
            (b',', Some(Step::Key(key))) => *key = "",
            (b',', Some(Step::Index(index))) => *index += 1,
            _ => {}
        }
        at += 1;
    }
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key("") => {}
            Step::Key(key) if path.is_empty() => path += key,
            Step::Key(key) => path = path + "." + key,
            Step::Index(index) => path += &format!("[{index}]"),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is only read")]
    struct Order {
        customer: String,
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is only read")]
    struct Item {
        name: String,
        quantity: u32,
    }

    fn misfit(text: &str) -> String {
        match read::<Order>("payload", text) {
            Err(Failure::Permanent(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place() {
        let cases = [
            ("null", "payload: invalid type: null"),
            ("{}", "payload: missing field `customer`"),
            (r#"{"customer": 5}"#, "payload: customer: invalid type: integer `5`"),
            (r#"{"customer": "A", "items": {}}"#, "payload: items: invalid type: map"),
            (
                r#"{"customer": "A", "items": [{"name": "b"}]}"#,
                "payload: items[0]: missing field `quantity`",
            ),
            (
                r#"{"customer": "{\"[\\", "items": [{"name": "b", "quantity": 1}, {"quantity": "c"}]}"#,
                "payload: items[1].quantity: invalid type: string \"c\", expected u32",
            ),
            (
                "{\n\"customer\": \"Ü\",\n\"items\": [{\"name\": [],\n\"quantity\": 1}]}",
                "payload: items[0].name: invalid type: sequence",
            ),
            (
                r#"{"customer": "A", "items": [{"quantity": -1}]}"#,
                "payload: items[0].quantity: invalid value: integer `-1`",
            ),
        ];
        for (text, message) in cases {
            assert!(misfit(text).starts_with(message), "{text}: {}", misfit(text));
        }
    }

    #[test]
    fn a_text_cut_short_is_no_harm() {
        let text = r#"{"customer": "A\"", "items": [{"name": "b\\"#;
        for end in 0..=text.len() + 2 {
            path(text, end);
        }
    }
}
