//! What handlers remember. The keys of a bucket share one slot, and each call is one script.

use super::RedisStore;
use super::scripts::{STATE_GET, STATE_LIST, STATE_WRITE};
use crate::queue::error::QueueError;
use crate::queue::moves::Once;
use crate::state::{Action, BucketId, Change, Changed, Condition, Entry, Quota, StateError};

/// How long Redis remembers that an outbox entry was written: far longer than a host may wait between reading an entry
/// and writing it.
const DONE_MS: u64 = 3_600_000;

/// Keys examined in one step of a listing.
const LOOKED_AT: usize = 2_000;

impl RedisStore {
    pub(super) async fn state_get(
        &self,
        bucket: &BucketId,
        keys: &[String],
        max_bytes: usize,
    ) -> Result<Result<Vec<Option<Entry>>, StateError>, QueueError> {
        let bucket = self.keys.bucket(bucket);
        let mut call = STATE_GET.keys(&[bucket.values, bucket.versions, bucket.expiry]);
        call.arg(max_bytes).arg(keys);
        let found: Option<Vec<Option<Vec<u8>>>> = self.pool.call(&call).await?;
        let Some(found) = found else {
            return Ok(Err(StateError::TooLarge(max_bytes)));
        };
        let entry = |pair: &[Option<Vec<u8>>]| match pair {
            [Some(value), Some(version)] => Some(Entry {
                value: value.clone(),
                version: str::from_utf8(version).ok()?.parse().ok()?,
            }),
            _ => None,
        };
        Ok(Ok(found.chunks(2).map(entry).collect()))
    }

    pub(super) async fn state_list(
        &self,
        bucket: &BucketId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, QueueError> {
        let bucket = self.keys.bucket(bucket);
        let (mut found, mut after) = (Vec::new(), after.unwrap_or_default().to_owned());
        while found.len() < limit {
            let mut call = STATE_LIST.keys(&[bucket.names.clone(), bucket.expiry.clone()]);
            call.arg(prefix).arg(&after).arg(limit - found.len()).arg(LOOKED_AT);
            let mut keys: Vec<String> = self.pool.call(&call).await?;
            if keys.is_empty() {
                break;
            }
            after = keys.remove(0);
            found.append(&mut keys);
            if after.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    pub(super) async fn state_write(
        &self,
        bucket: &BucketId,
        quota: Quota,
        changes: &[Change],
        once: Option<Once<'_>>,
    ) -> Result<Result<Vec<Changed>, StateError>, QueueError> {
        let bucket = self.keys.bucket(bucket);
        let mut call = STATE_WRITE.keys(&[
            bucket.values,
            bucket.versions,
            bucket.expiry,
            bucket.names,
            bucket.totals,
            bucket.done,
        ]);
        let id = once.map_or_else(String::new, |once| once.to_string());
        call.arg(quota.bytes).arg(quota.keys).arg(id).arg(DONE_MS);
        for change in changes {
            call.arg(&change.key);
            match &change.action {
                Action::Set(value) => call.arg("set").arg(value.as_slice()),
                Action::Delete => call.arg("delete").arg(""),
                Action::Add(by) => call.arg("add").arg(*by),
            };
            match change.condition {
                Condition::Always => call.arg(""),
                Condition::Absent => call.arg("-"),
                Condition::Version(version) => call.arg(version),
            };
            let sign = if change.keeps_time { "+" } else { "" };
            call.arg(change.ttl_ms.map_or_else(String::new, |ms| format!("{sign}{ms}")));
        }
        let bytes = changes.iter().map(Change::bytes).sum();
        let answer: Vec<String> = self.pool.call_with(&call, bytes).await?;
        let key = || answer.get(1).cloned().unwrap_or_default();
        Ok(match answer.first().map_or("", String::as_str) {
            "ok" => Ok(answer[1..].chunks(2).map(changed).collect()),
            "done" => Ok(Vec::new()),
            "conflict" => Err(StateError::Conflict { key: key() }),
            "number" => Err(StateError::NotANumber { key: key() }),
            "full" => Err(StateError::Full(quota)),
            "left" => Err(StateError::LeftOut(key().parse().unwrap_or(0))),
            other => Err(StateError::Unavailable(format!(
                "redis answers {other:?} to a change of state"
            ))),
        })
    }
}

/// Reads a version and a number from the script's answer.
fn changed(told: &[String]) -> Changed {
    let at = |place: usize| told.get(place).map_or("", String::as_str);
    Changed {
        version: at(0).parse().unwrap_or(0),
        number: at(1).parse().unwrap_or(0),
    }
}
