//! Buckets as a handler that is only tried sees them: the values that are really there, and on top of them its own changes.
//!
//! Nothing is written. Quotas and times to live are not reckoned with: what they would do shows in the real attempt.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::state::{Action, BucketId, Change, Changed, Entry, Keeper, Quota, StateError, Write, whole_number};

/// The values of a store that is only read, under the changes of one attempt.
#[derive(Default)]
pub(super) struct Overlay {
    /// Where the values are; none: all buckets are empty.
    real: Option<Arc<dyn Keeper>>,
    changed: Mutex<Own>,
}

/// What the attempt has changed.
#[derive(Debug, Default)]
struct Own {
    /// The values as they would be; none: deleted.
    values: BTreeMap<(BucketId, String), Option<Entry>>,
    writes: Vec<Write>,
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").finish_non_exhaustive()
    }
}

impl Overlay {
    pub(super) fn over(real: Option<Arc<dyn Keeper>>) -> Self {
        let changed = Mutex::default();
        Self { real, changed }
    }

    /// What would have been written.
    pub(super) fn take_writes(&self) -> Vec<Write> {
        std::mem::take(&mut self.changed.lock().writes)
    }

    async fn read(
        &self,
        bucket: &BucketId,
        keys: &[String],
        max_bytes: usize,
    ) -> Result<Vec<Option<Entry>>, StateError> {
        let mut entries = match &self.real {
            Some(real) => real.get(bucket, keys, max_bytes).await?,
            None => vec![None; keys.len()],
        };
        let own = self.changed.lock();
        for (key, entry) in keys.iter().zip(&mut entries) {
            if let Some(changed) = own.values.get(&(bucket.clone(), key.clone())) {
                entry.clone_from(changed);
            }
        }
        let bytes: usize = entries.iter().flatten().map(|entry| entry.value.len()).sum();
        if bytes > max_bytes {
            return Err(StateError::TooLarge(max_bytes));
        }
        Ok(entries)
    }

    async fn names(
        &self,
        bucket: &BucketId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StateError> {
        let changed: Vec<_> = {
            let own = self.changed.lock();
            let of_bucket = own.values.iter().filter(|((of, key), _)| {
                of == bucket && key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
            });
            of_bucket
                .map(|((_, key), value)| (key.clone(), value.is_some()))
                .collect()
        };
        // As many more as may be gone.
        let asked = limit + changed.len();
        let mut keys = match &self.real {
            Some(real) => real.list(bucket, prefix, after, asked).await?,
            None => Vec::new(),
        };
        keys.retain(|key| !changed.iter().any(|(changed, _)| changed == key));
        keys.extend(
            changed
                .into_iter()
                .filter(|(_, is_there)| *is_there)
                .map(|(key, _)| key),
        );
        keys.sort();
        keys.truncate(limit);
        Ok(keys)
    }

    async fn change(&self, bucket: &BucketId, quota: Quota, changes: &[Change]) -> Result<Vec<Changed>, StateError> {
        let keys: Vec<_> = changes.iter().map(|change| change.key.clone()).collect();
        let before = self.read(bucket, &keys, usize::MAX).await?;
        let made = changes
            .iter()
            .zip(&before)
            .map(|(change, before)| made(change, before.as_ref()));
        let made: Vec<_> = made.collect::<Result<_, _>>()?;
        let told = made.iter().map(|value| Changed {
            version: value.as_ref().map_or(0, |entry| entry.version),
            number: value.as_ref().and_then(|entry| whole_number(&entry.value)).unwrap_or(0),
        });
        let adds = changes.iter().map(|change| matches!(change.action, Action::Add(_)));
        let told = told.zip(adds).map(|(told, adds)| Changed {
            number: if adds { told.number } else { 0 },
            ..told
        });
        let told = told.collect();
        let mut own = self.changed.lock();
        for (key, value) in keys.into_iter().zip(made) {
            own.values.insert((bucket.clone(), key), value);
        }
        let (bucket, changes) = (bucket.clone(), changes.to_vec());
        own.writes.push(Write { bucket, quota, changes });
        Ok(told)
    }
}

/// What a value is after a change.
fn made(change: &Change, before: Option<&Entry>) -> Result<Option<Entry>, StateError> {
    let key = || change.key.clone();
    if !change.condition.holds(before.map(|entry| entry.version)) {
        return Err(StateError::Conflict { key: key() });
    }
    let value = match &change.action {
        Action::Delete => return Ok(None),
        Action::Set(value) => value.clone(),
        Action::Add(by) => {
            let now = before.map_or(Some(0), |entry| whole_number(&entry.value));
            let sum = now.and_then(|now| now.checked_add(*by));
            sum.ok_or_else(|| StateError::NotANumber { key: key() })?
                .to_string()
                .into_bytes()
        }
    };
    let version = before.map_or(0, |entry| entry.version) + 1;
    Ok(Some(Entry { value, version }))
}

impl Keeper for Overlay {
    fn get<'a>(
        &'a self,
        bucket: &'a BucketId,
        keys: &'a [String],
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Option<Entry>>, StateError>> {
        Box::pin(self.read(bucket, keys, max_bytes))
    }

    fn list<'a>(
        &'a self,
        bucket: &'a BucketId,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, StateError>> {
        Box::pin(self.names(bucket, prefix, after, limit))
    }

    fn write<'a>(
        &'a self,
        bucket: &'a BucketId,
        quota: Quota,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<Vec<Changed>, StateError>> {
        Box::pin(self.change(bucket, quota, changes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{StateStore, Store, StoreSettings};
    use crate::state::Condition;

    const QUOTA: Quota = Quota { bytes: 1_000, keys: 10 };

    fn change(key: &str, action: Action) -> Change {
        Change {
            key: key.to_owned(),
            action,
            condition: Condition::Always,
            ttl_ms: None,
            keeps_time: false,
        }
    }

    fn set(key: &str, value: &str) -> Change {
        change(key, Action::Set(value.as_bytes().to_vec()))
    }

    #[tokio::test]
    async fn own_changes_lie_over_the_real_values_which_stay_as_they_are() {
        let bucket = BucketId::of_plugin("p", "seen");
        let real = Arc::new(StateStore::of(
            Store::open(&StoreSettings::new("memory:")).await.unwrap(),
        ));
        let there = [set("a", "1"), set("b", "2"), set("d", "4")];
        real.write(&bucket, QUOTA, &there).await.unwrap();
        let overlay = Overlay::over(Some(Arc::clone(&real) as Arc<dyn Keeper>));
        let own = [change("a", Action::Add(6)), change("b", Action::Delete), set("c", "3")];
        let told = overlay.write(&bucket, QUOTA, &own).await.unwrap();
        assert_eq!(told.iter().map(|told| told.number).collect::<Vec<_>>(), [7, 0, 0]);
        assert_eq!(told[1].version, 0);
        let keys = ["a", "b", "c", "d"].map(str::to_owned);
        let values = |entries: Vec<Option<Entry>>| {
            let text = |entry: Entry| String::from_utf8(entry.value).unwrap();
            entries
                .into_iter()
                .map(|entry| entry.map(text).unwrap_or_default())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            values(overlay.get(&bucket, &keys, 1_000).await.unwrap()),
            ["7", "", "3", "4"]
        );
        assert_eq!(
            values(real.get(&bucket, &keys, 1_000).await.unwrap()),
            ["1", "2", "", "4"]
        );
        assert_eq!(overlay.list(&bucket, "", None, 2).await.unwrap(), ["a", "c"]);
        assert_eq!(overlay.list(&bucket, "", Some("a"), 9).await.unwrap(), ["c", "d"]);
        let late = Change {
            condition: Condition::Absent,
            ..set("a", "x")
        };
        assert!(matches!(
            overlay.write(&bucket, QUOTA, &[late]).await,
            Err(StateError::Conflict { .. })
        ));
        let version = overlay.get(&bucket, &keys[3..], 9).await.unwrap()[0]
            .as_ref()
            .unwrap()
            .version;
        let seen = Change {
            condition: Condition::Version(version),
            ..set("d", "5")
        };
        overlay.write(&bucket, QUOTA, &[seen]).await.unwrap();
        let writes: Vec<_> = overlay
            .take_writes()
            .into_iter()
            .map(|write| write.changes.len())
            .collect();
        assert_eq!(writes, [3, 1], "what failed would not have been written");
        let nowhere = Overlay::default();
        assert_eq!(nowhere.list(&bucket, "", None, 9).await.unwrap(), Vec::<String>::new());
    }
}
