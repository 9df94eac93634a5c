//! Stands in for the host where there is none, in tests. No bounds, and no end of time.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::raw::kiln::state::values::{Action, Change, Changed, Condition, Entry, Error, ErrorKind};

thread_local! {
    static VALUES: RefCell<BTreeMap<(String, String), (Vec<u8>, u64)>> = RefCell::default();
}

pub(super) fn get(bucket: &str, keys: &[String]) -> Result<Vec<Option<Entry>>, Error> {
    VALUES.with_borrow(|values| {
        let entry = |key: &String| {
            let (value, version) = values.get(&(bucket.to_owned(), key.clone()))?.clone();
            Some(Entry { value, version })
        };
        Ok(keys.iter().map(entry).collect())
    })
}

pub(super) fn list_keys(bucket: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
    VALUES.with_borrow(|values| {
        let keys = values.keys().filter(|(of, _)| of == bucket).map(|(_, key)| key);
        let keys = keys.filter(|key| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
        Ok(keys.take(limit as usize).cloned().collect())
    })
}

pub(super) fn write(bucket: &str, changes: &[Change]) -> Result<Vec<Changed>, Error> {
    VALUES.with_borrow_mut(|values| {
        let mut next = values.clone();
        let last = values.values().map(|(_, version)| *version).max().unwrap_or(0);
        let mut written = Vec::new();
        for (version, change) in (last + 1..).zip(changes) {
            let key = (bucket.to_owned(), change.key.clone());
            let holds = match (change.condition, next.get(&key)) {
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
                    let old = next
                        .get(&key)
                        .map_or("0", |(value, _)| str::from_utf8(value).unwrap_or(""));
                    let sum = old.parse::<i64>().ok().and_then(|number| number.checked_add(*by));
                    let sum = sum.ok_or_else(|| error(ErrorKind::NotANumber, &change.key))?;
                    (sum.to_string().into_bytes(), sum)
                }
                Action::Delete => {
                    next.remove(&key);
                    written.push(Changed { version: 0, number: 0 });
                    continue;
                }
            };
            next.insert(key, (value, version));
            written.push(Changed { version, number });
        }
        *values = next;
        Ok(written)
    })
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
