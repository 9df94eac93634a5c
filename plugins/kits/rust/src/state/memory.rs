//! Stands in for the host where there is none, in tests. No bounds, and no end of time.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::raw::kiln::state::values::{Action, Change, Changed, Condition, Entry, Error, ErrorKind};

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

#[derive(Clone, Default)]
struct Kept {
    /// With their versions, by bucket and key.
    values: BTreeMap<(String, String), (Vec<u8>, u64)>,
    /// Also of values that are gone: no two ever have the same.
    last_version: u64,
}

pub(super) fn get(bucket: &str, keys: &[String]) -> Result<Vec<Option<Entry>>, Error> {
    KEPT.with_borrow(|kept| {
        let entry = |key: &String| {
            let (value, version) = kept.values.get(&(bucket.to_owned(), key.clone()))?.clone();
            Some(Entry { value, version })
        };
        Ok(keys.iter().map(entry).collect())
    })
}

pub(super) fn list_keys(bucket: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
    KEPT.with_borrow(|kept| {
        let keys = kept.values.keys().filter(|(of, _)| of == bucket);
        let keys = keys.map(|(_, key)| key);
        let keys = keys.filter(|key| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
        Ok(keys.take(limit as usize).cloned().collect())
    })
}

pub(super) fn write(bucket: &str, changes: &[Change]) -> Result<Vec<Changed>, Error> {
    KEPT.with_borrow_mut(|kept| {
        let mut next = kept.clone();
        let written = changes.iter().map(|change| next.write(bucket, change));
        let written = written.collect::<Result<_, _>>()?;
        *kept = next;
        Ok(written)
    })
}

impl Kept {
    fn write(&mut self, bucket: &str, change: &Change) -> Result<Changed, Error> {
        let key = (bucket.to_owned(), change.key.clone());
        let old = self.values.get(&key);
        let holds = match (change.condition, old) {
            (Condition::Always, _) | (Condition::Absent, None) => true,
            (Condition::Version(wanted), Some((_, version))) => wanted == *version,
            _ => false,
        };
        if !holds {
            return Err(error(ErrorKind::Conflict, &change.key));
        }
        let (value, number) = match &change.action {
            Action::Set(value) => (value.clone(), 0),
            Action::Add(by) => {
                let old = old.map_or("0", |(value, _)| str::from_utf8(value).unwrap_or(""));
                let sum = old.parse::<i64>().ok().and_then(|number| number.checked_add(*by));
                let sum = sum.ok_or_else(|| error(ErrorKind::NotANumber, &change.key))?;
                (sum.to_string().into_bytes(), sum)
            }
            Action::Delete => {
                self.values.remove(&key);
                return Ok(Changed { version: 0, number: 0 });
            }
        };
        self.last_version += 1;
        let version = self.last_version;
        self.values.insert(key, (value, version));
        Ok(Changed { version, number })
    }
}

/// A test's call of a handler is taken for a job that is acknowledged.
pub(super) fn write_on_completion(bucket: &str, changes: &[Change]) -> Result<(), Error> {
    write(bucket, changes).map(|_| ())
}

fn error(kind: ErrorKind, key: &str) -> Error {
    Error {
        kind,
        message: format!("the value of {key:?} is not as the change expects it"),
    }
}
