//! Finds one value in JSON text, without making a tree of the rest.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Job;

impl Job {
    /// The text, number or boolean to which a JSON pointer leads in the payload, as text; none if it leads to nothing, or to
    /// something else.
    #[must_use]
    pub fn payload_at(&self, pointer: &str) -> Option<String> {
        let mut json = self.payload.get();
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let mut inner = serde_json::Deserializer::from_str(json);
            json = Step(&step).deserialize(&mut inner).ok().flatten()?.get();
        }
        match json.as_bytes().first()? {
            b'"' => serde_json::from_str::<Cow<'_, str>>(json).ok().map(Cow::into_owned),
            b'{' | b'[' | b'n' => None,
            _ => Some(json.to_owned()),
        }
    }
}

/// One step of a pointer: into an object by its key, or into an array by its place.
struct Step<'s>(&'s str);

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let place = self.0.parse::<usize>().ok();
        let (mut at, mut found) = (0, None);
        while let Some(value) = seq.next_element()? {
            if Some(at) == place {
                found = Some(value);
            }
            at += 1;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_leads_to_text_numbers_and_booleans() {
        let payload = r#"{"a":{"b/c":[1,"t\"wo",true,null]},"~":-1.50e3,"twice":1,"twice":2}"#;
        let job = format!(r#"{{"name":"x","payload":{payload}}}"#);
        let job = Job::decode(job.as_bytes()).expect("a job");
        for (pointer, text) in [
            ("/a/b~1c/0", Some("1")),
            ("/a/b~1c/1", Some("t\"wo")),
            ("/a/b~1c/2", Some("true")),
            ("/a/b~1c/3", None),
            ("/a/b~1c/4", None),
            ("/a/b~1c/-", None),
            ("/a/b~1c", None),
            ("/a/0", None),
            ("/~0", Some("-1.50e3")),
            ("/twice", Some("2")),
            ("/twice/0", None),
            ("", None),
        ] {
            assert_eq!(job.payload_at(pointer).as_deref(), text, "{pointer}");
        }
        let job = Job::decode(br#"{"name":"x","payload":"all of it"}"#).expect("a job");
        assert_eq!(job.payload_at("").as_deref(), Some("all of it"));
    }
}
