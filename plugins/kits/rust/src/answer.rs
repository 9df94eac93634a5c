//! What a handler returned, on its way to the host.

use serde::Serialize;

use crate::Failure;

/// A result. Its method of its own, where it has one, goes before that of [`Json`]: so `()` and `None` are told from the
/// JSON `null`, which is a result too.
pub struct Answer<R>(pub R);

impl Answer<()> {
    pub fn json(self) -> Result<Option<String>, Failure> {
        Ok(None)
    }
}

impl<R: Serialize> Answer<Option<R>> {
    pub fn json(self) -> Result<Option<String>, Failure> {
        self.0.map(|result| json(&result)).transpose()
    }
}

pub trait Json {
    fn json(self) -> Result<Option<String>, Failure>;
}

impl<R: Serialize> Json for Answer<R> {
    fn json(self) -> Result<Option<String>, Failure> {
        json(&self.0).map(Some)
    }
}

fn json(result: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(result).map_err(|err| Failure::Permanent(format!("result: {err}")))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn nothing_is_no_result_and_null_is_one() {
        assert_eq!(Answer(()).json(), Ok(None));
        assert_eq!(Answer(None::<u8>).json(), Ok(None));
        assert_eq!(Answer(serde_json::Value::Null).json(), Ok(Some("null".to_owned())));
        assert_eq!(Answer(Some(5)).json(), Ok(Some("5".to_owned())));
    }

    #[test]
    fn json_text_leaves_as_it_is() {
        let text = || RawValue::from_string("[ 12345678901234567890 ]".to_owned()).unwrap();
        assert_eq!(Answer(text()).json(), Ok(Some("[ 12345678901234567890 ]".to_owned())));
        assert_eq!(
            Answer(Some(text())).json(),
            Ok(Some("[ 12345678901234567890 ]".to_owned()))
        );
    }
}
