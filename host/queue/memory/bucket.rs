//! What handlers remember, in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::state::{Action, Change, Changed, Entry, Quota, StateError, whole_number};

/// Values by their keys.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    values: BTreeMap<String, Value>,
    version: u64,
}

#[derive(Debug)]
struct Value {
    bytes: Vec<u8>,
    version: u64,
    /// Unix milliseconds; none: the value does not expire.
    ends_ms: Option<i64>,
}

impl Bucket {
    pub(super) fn get(
        &mut self,
        keys: &[String],
        max_bytes: usize,
        now_ms: i64,
    ) -> Result<Vec<Option<Entry>>, StateError> {
        self.expire(now_ms);
        let found: Vec<_> = keys.iter().map(|key| self.values.get(key)).collect();
        let bytes: usize = found.iter().flatten().map(|value| value.bytes.len()).sum();
        if bytes > max_bytes {
            return Err(StateError::TooLarge(max_bytes));
        }
        let entry = |value: &Value| Entry {
            value: value.bytes.clone(),
            version: value.version,
        };
        Ok(found.into_iter().map(|value| value.map(entry)).collect())
    }

    pub(super) fn list(&mut self, prefix: &str, after: Option<&str>, limit: usize, now_ms: i64) -> Vec<String> {
        self.expire(now_ms);
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let keys = self
            .values
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(key, _)| key);
        let keys = keys.take_while(|key| key.starts_with(prefix));
        keys.take(limit).cloned().collect()
    }

    pub(super) fn write(&mut self, quota: Quota, changes: &[Change], now_ms: i64) -> Result<Vec<Changed>, StateError> {
        self.expire(now_ms);
        let mut values = Vec::with_capacity(changes.len());
        let (mut bytes, mut keys) = (self.bytes(), self.values.len() as u64);
        let (bytes_before, keys_before) = (bytes, keys);
        for change in changes {
            let key = &change.key;
            let old = self.values.get(key);
            if !change.condition.holds(old.map(|value| value.version)) {
                return Err(StateError::Conflict { key: key.clone() });
            }
            let new = self.new_value(change)?;
            let size = |value: Option<&[u8]>| value.map_or(0, |value| (key.len() + value.len()) as u64);
            bytes = bytes + size(new.as_deref()) - size(old.map(|value| &*value.bytes));
            keys = keys + u64::from(new.is_some()) - u64::from(old.is_some());
            values.push(new);
        }
        let grows = bytes > bytes_before || keys > keys_before;
        if grows && (bytes > quota.bytes || keys > quota.keys) {
            return Err(StateError::Full(quota));
        }
        Ok(changes
            .iter()
            .zip(values)
            .map(|(change, value)| self.put(change, value, now_ms))
            .collect())
    }

    /// Makes each of these changes that can be made, and returns how many were left out.
    pub(super) fn write_what_can_be(&mut self, quota: Quota, changes: &[Change], now_ms: i64) -> usize {
        let mut refused = 0;
        for change in changes {
            refused += usize::from(self.write(quota, std::slice::from_ref(change), now_ms).is_err());
        }
        refused
    }

    /// The value after a change; none: the change deletes it.
    fn new_value(&self, change: &Change) -> Result<Option<Vec<u8>>, StateError> {
        Ok(match &change.action {
            Action::Set(value) => Some(value.clone()),
            Action::Delete => None,
            Action::Add(by) => {
                let old = self
                    .values
                    .get(&change.key)
                    .map_or("0".as_bytes(), |value| &value.bytes);
                let sum = whole_number(old).and_then(|number| number.checked_add(*by));
                let not = || StateError::NotANumber {
                    key: change.key.clone(),
                };
                Some(sum.ok_or_else(not)?.to_string().into_bytes())
            }
        })
    }

    fn put(&mut self, change: &Change, value: Option<Vec<u8>>, now_ms: i64) -> Changed {
        let Some(bytes) = value else {
            self.values.remove(&change.key);
            return Changed::default();
        };
        self.version += 1;
        let added = matches!(change.action, Action::Add(_));
        let kept = self.values.get(&change.key).filter(|_| added);
        let ends_ms = match change.ttl_ms {
            Some(_) if change.keeps_time && kept.is_some_and(|value| value.ends_ms.is_some()) => {
                kept.and_then(|value| value.ends_ms)
            }
            Some(ms) => Some(now_ms.saturating_add_unsigned(ms)),
            None => kept.and_then(|value| value.ends_ms),
        };
        let number = if added { whole_number(&bytes) } else { None };
        let version = self.version;
        let value = Value {
            bytes,
            version,
            ends_ms,
        };
        self.values.insert(change.key.clone(), value);
        Changed {
            version,
            number: number.unwrap_or(0),
        }
    }

    fn bytes(&self) -> u64 {
        let sizes = self.values.iter().map(|(key, value)| key.len() + value.bytes.len());
        sizes.sum::<usize>() as u64
    }

    fn expire(&mut self, now_ms: i64) {
        self.values
            .retain(|_, value| value.ends_ms.is_none_or(|ends| ends > now_ms));
    }
}
