//! Parameters as the payload has them.

use std::collections::BTreeMap;
use std::error::Error;

use bytes::BytesMut;
use kiln_handler::Failure;
use serde_json::value::RawValue;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

pub(crate) type Payload = BTreeMap<String, Box<RawValue>>;

/// A value as text, which the server reads as what the statement has in its place. A string is its text, `null` is NULL,
/// anything else is its JSON: numbers keep all their digits, arrays and objects go where the statement says `::jsonb`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameter(Option<String>);

impl Parameter {
    /// Those that have these names, in their order.
    pub(crate) fn all(names: &[String], payload: &Payload) -> Result<Vec<Self>, Failure> {
        let value = |name: &String| {
            let missing = || Failure::permanent(format!("payload: {name} is missing"));
            Ok(Self::of(payload.get(name).ok_or_else(missing)?))
        };
        names.iter().map(value).collect()
    }

    fn of(value: &RawValue) -> Self {
        match value.get() {
            "null" => Self(None),
            json => Self(Some(serde_json::from_str(json).unwrap_or_else(|_| json.to_owned()))),
        }
    }
}

impl ToSql for Parameter {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(text) = &self.0 else {
            return Ok(IsNull::Yes);
        };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn values_become_the_text_that_the_server_reads() {
        let json = r#"{"a": "d'Or", "b": 9007199254740993.10, "c": null, "d": [1, "x"], "e": true}"#;
        let payload: Payload = serde_json::from_str(json).unwrap();
        let names: Vec<String> = "e d c b a".split(' ').map(str::to_owned).collect();
        let texts = [
            Some("true"),
            Some(r#"[1, "x"]"#),
            None,
            Some("9007199254740993.10"),
            Some("d'Or"),
        ];
        let parameters = texts.map(|text| Parameter(text.map(str::to_owned)));
        assert_eq!(Parameter::all(&names, &payload).unwrap(), parameters);
    }

    #[test]
    fn a_member_that_is_missing_is_no_null() {
        let missing = Parameter::all(&["customer".to_owned()], &Payload::new()).unwrap_err();
        assert!(
            format!("{missing:?}").contains("payload: customer is missing"),
            "{missing:?}"
        );
    }
}
