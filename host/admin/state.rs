//! What handlers remember, for operators to read and mend. No quota holds here: it is a plugin's, by its manifest.

use std::time::Duration;

use super::AdminError;
use crate::queue::StateStore;
use crate::state::{Action, BucketId, Change, Condition, Entry, Keeper as _, MAX_KEY_BYTES, MAX_LISTED, Quota};

/// Bytes of one value that is read: no limit of a plugin lets it be larger.
const MAX_VALUE_BYTES: usize = 4 * 1024 * 1024;

const NO_QUOTA: Quota = Quota {
    bytes: u64::MAX,
    keys: u64::MAX,
};

/// The value of a key.
///
/// # Errors
/// When the store fails.
pub async fn get(store: &StateStore, bucket: &BucketId, key: &str) -> Result<Option<Entry>, AdminError> {
    let found = store.get(bucket, &[key.to_owned()], MAX_VALUE_BYTES).await?;
    Ok(found.into_iter().next().flatten())
}

/// Some of the keys that begin with `prefix`, in order, after one of them. Fewer than a thousand: these are the last.
///
/// # Errors
/// When the store fails.
pub async fn list(
    store: &StateStore,
    bucket: &BucketId,
    prefix: &str,
    after: Option<&str>,
) -> Result<Vec<String>, AdminError> {
    Ok(store.list(bucket, prefix, after, MAX_LISTED).await?)
}

/// Whether a page of keys is the last.
#[must_use]
pub fn is_last(page: &[String]) -> bool {
    page.len() < MAX_LISTED
}

/// Makes this the value of a key, for so long if a time is given.
///
/// # Errors
/// When the key is none, or the store fails.
pub async fn set(
    store: &StateStore,
    bucket: &BucketId,
    key: &str,
    value: Vec<u8>,
    ttl: Option<Duration>,
) -> Result<(), AdminError> {
    if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Err(AdminError::Key);
    }
    let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    let change = change(key, Action::Set(value), ttl_ms);
    store.write(bucket, NO_QUOTA, &[change]).await?;
    Ok(())
}

/// Takes the value of a key away, and tells whether there was one.
///
/// # Errors
/// When the store fails.
pub async fn delete(store: &StateStore, bucket: &BucketId, key: &str) -> Result<bool, AdminError> {
    let was_there = get(store, bucket, key).await?.is_some();
    store
        .write(bucket, NO_QUOTA, &[change(key, Action::Delete, None)])
        .await?;
    Ok(was_there)
}

fn change(key: &str, action: Action, ttl_ms: Option<u64>) -> Change {
    Change {
        key: key.to_owned(),
        action,
        condition: Condition::Always,
        ttl_ms,
    }
}
