//! Text with places that a request fills in: `t={timestamp},v1={hex}`.

use http::HeaderName;
use serde::Deserialize;

/// Text as a manifest has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Slot(Slot),
}

/// What is filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    /// The time, in seconds since 1970.
    Timestamp,
    Method,
    /// The path and its query, as they are sent.
    Path,
    Body,
    /// A header's value.
    Header(HeaderName),
    /// The signature in hexadecimal digits.
    Hex,
    /// The signature in Base64.
    Base64,
}

impl Slot {
    /// Whether it is the signature itself.
    pub(super) fn is_signature(&self) -> bool {
        matches!(self, Self::Hex | Self::Base64)
    }
}

impl Template {
    pub(super) fn of(slot: Slot) -> Self {
        Self(vec![Piece::Slot(slot)])
    }

    /// What is to be filled in, in its order.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Slot(slot) => Some(slot),
            Piece::Text(_) => None,
        })
    }

    /// Its text with every slot filled in.
    pub(super) fn filled<E>(&self, mut fill: impl FnMut(&Slot, &mut Vec<u8>) -> Result<(), E>) -> Result<Vec<u8>, E> {
        let mut filled = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.extend_from_slice(text.as_bytes()),
                Piece::Slot(slot) => fill(slot, &mut filled)?,
            }
        }
        Ok(filled)
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| format!("{text:?}: a {{ without its }}"))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Slot(slot(name).ok_or_else(|| {
                format!(
                    "{text:?}: {{{name}}} is none of {{timestamp}}, {{method}}, {{path}}, {{body}}, {{header.NAME}}, \
                     {{hex}} and {{base64}}"
                )
            })?));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }
}

fn slot(name: &str) -> Option<Slot> {
    Some(match name {
        "timestamp" => Slot::Timestamp,
        "method" => Slot::Method,
        "path" => Slot::Path,
        "body" => Slot::Body,
        "hex" => Slot::Hex,
        "base64" => Slot::Base64,
        _ => Slot::Header(name.strip_prefix("header.")?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_braces_is_filled_in() {
        let template = Template::try_from("v0:{timestamp}:{header.X-Id}:{body}".to_owned()).unwrap();
        let filled = template.filled(|slot, filled| {
            filled.extend_from_slice(match slot {
                Slot::Timestamp => b"1",
                Slot::Header(name) => name.as_str().as_bytes(),
                Slot::Body => b"{body}",
                _ => return Err(()),
            });
            Ok(())
        });
        assert_eq!(filled, Ok(b"v0:1:x-id:{body}".to_vec()));
    }

    #[test]
    fn what_cannot_be_filled_in_is_refused() {
        for (text, why) in [
            ("{bdy}", "{bdy} is none of {timestamp}, "),
            ("{header.}", "{header.} is none of"),
            ("a{body", "a { without its }"),
        ] {
            let message = Template::try_from(text.to_owned()).unwrap_err();
            assert!(message.contains(why), "{message}");
        }
    }
}
