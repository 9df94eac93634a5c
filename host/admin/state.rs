//! What handlers remember, for operators to read and mend. Quotas do not apply here: they belong to plugins' manifests.

use std::time::Duration;

use super::AdminError;
use crate::queue::StateStore;
use crate::state::{Action, BucketId, Change, Condition, Entry, Keeper as _, MAX_KEY_BYTES, MAX_LISTED, Quota};

/// Largest value that is read or set, in bytes: no plugin's limit allows a larger one.
pub const MAX_VALUE_BYTES: usize = 4 * 1024 * 1024;

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

/// The next keys that begin with `prefix`, in order, after a given one. Fewer than a thousand means that these are the
/// last.
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

/// Sets the value of a key, for a limited time if one is given.
///
/// # Errors
/// When the key is none, the value is longer than [`MAX_VALUE_BYTES`], or the store fails.
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
    if value.len() > MAX_VALUE_BYTES {
        return Err(AdminError::Value(value.len()));
    }
    let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    let change = change(key, Action::Set(value), ttl_ms);
    store.write(bucket, NO_QUOTA, &[change]).await?;
    Ok(())
}

/// Deletes a key, and returns whether it had a value.
///
/// # Errors
/// When the store fails.
pub async fn delete(store: &StateStore, bucket: &BucketId, key: &str) -> Result<bool, AdminError> {
    // Of the keys that begin with this one, it is the first. Its value may be too long to be read.
    let found = store.list(bucket, key, None, 1).await?;
    let was_there = found.first().is_some_and(|first| first == key);
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
        keeps_time: false,
    }
}
