//! What a manifest wants of the limits.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::Limit;

/// What a manifest's `[limits]` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitWishes(BTreeMap<Limit, u64>);

impl LimitWishes {
    /// What it wants.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Limit, u64)> {
        self.0.iter().map(|(limit, value)| (*limit, *value))
    }

    /// Wants this, too.
    pub fn add(&mut self, limit: Limit, value: u64) {
        self.0.insert(limit, value);
    }
}

impl<'de> Deserialize<'de> for LimitWishes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wishes;
        impl<'de> Visitor<'de> for Wishes {
            type Value = LimitWishes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of limits")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LimitWishes, A::Error> {
                let mut wishes = LimitWishes::default();
                while let Some(Name(limit)) = map.next_key()? {
                    wishes.add(limit, map.next_value_seed(ValueOf(limit))?);
                }
                Ok(wishes)
            }
        }
        deserializer.deserialize_map(Wishes)
    }
}

/// A limit's name in a manifest. Read by itself, so that an error tells its place.
struct Name(Limit);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = String::deserialize(deserializer)?.parse().map_err(de::Error::custom)?;
        if matches!(limit, Limit::Timeout | Limit::MaxMemory) {
            let why = format!("{limit} stands at the top of the manifest, not in [limits]");
            return Err(de::Error::custom(why));
        }
        Ok(Self(limit))
    }
}

/// A limit's value in a manifest: a number, or text with a unit.
pub(super) struct ValueOf(pub(super) Limit);

impl<'de> DeserializeSeed<'de> for ValueOf {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a whole number, or text such as \"64MiB\" or \"30s\""
        )]
        enum Amount {
            Number(u64),
            Text(String),
        }
        let text = match Amount::deserialize(deserializer)? {
            Amount::Number(number) => number.to_string(),
            Amount::Text(text) => text,
        };
        self.0.parse(&text).map_err(de::Error::custom)
    }
}
