//! What a plugin may do with its buckets, what one attempt has done, and the calls of `kiln:state/values`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use wasmtime::Result;

use super::grant::{self, KEY};
use super::staged::Staged;
use crate::config::{Grants, Limit, Limits};
use crate::sandbox::bindings::kiln::state::values;
use crate::sandbox::bindings::kiln::state::values::{Error, ErrorKind};
use crate::sandbox::capabilities::denied::Denied;
use crate::state::{
    Action, BucketId, Change, Condition, Keeper, MAX_BATCH, MAX_KEY_BYTES, MAX_LISTED, Quota, StateError, Write,
};
use crate::text;

/// What a function of the interface answers.
type Answer<T> = std::result::Result<T, Error>;

/// Which buckets a plugin reaches, and how much it may ask: the same for all of its attempts.
pub(in crate::sandbox::capabilities) struct StateRules {
    buckets: BTreeMap<String, Bucket>,
    keeper: Option<Arc<dyn Keeper>>,
    calls: u32,
    value_bytes: usize,
    answer_bytes: usize,
    staged_bytes: usize,
}

pub(super) struct Bucket {
    id: BucketId,
    read_only: bool,
    quota: Quota,
    ttl: Option<Duration>,
}

impl StateRules {
    pub(in crate::sandbox::capabilities) fn new(
        plugin: &str,
        grants: &Grants,
        limits: &Limits,
        keeper: Option<Arc<dyn Keeper>>,
    ) -> std::result::Result<Self, String> {
        let bucket = |(name, grant): (String, grant::BucketGrant)| {
            let bucket = Bucket {
                id: grant.id(plugin, &name),
                read_only: grant.read_only,
                quota: grant.quota(),
                ttl: grant.ttl,
            };
            (name, bucket)
        };
        Ok(Self {
            buckets: grant::buckets(grants)?.into_iter().map(bucket).collect(),
            keeper,
            calls: limits.count(Limit::StateCalls),
            value_bytes: limits.size(Limit::StateValueBytes),
            answer_bytes: limits.size(Limit::HostcallBytes),
            staged_bytes: limits.size(Limit::StateCommitBytes),
        })
    }

    pub(super) fn bucket(&self, name: &str) -> std::result::Result<&Bucket, Denied> {
        let shown = text::name(name);
        let denied = || format!("state bucket \"{shown}\": not granted; add [grants.state.{shown}] to");
        self.buckets.get(name).ok_or_else(|| Denied::new(KEY, denied()))
    }

    fn to_change(&self, name: &str) -> std::result::Result<&Bucket, Denied> {
        let bucket = self.bucket(name)?;
        if bucket.read_only {
            let what = format!("change of state bucket {name:?}: it is read-only; see [grants.state.{name}] in");
            return Err(Denied::new(KEY, what));
        }
        Ok(bucket)
    }

    fn keeper(&self) -> Answer<&Arc<dyn Keeper>> {
        let none = || error(ErrorKind::Unavailable, "this host keeps no state");
        self.keeper.as_ref().ok_or_else(none)
    }
}

/// What one attempt has done with its buckets.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct State {
    calls: u32,
    staged: Staged,
}

impl State {
    pub(in crate::sandbox::capabilities) fn view<'a>(&'a mut self, rules: &'a StateRules) -> View<'a> {
        View { rules, state: self }
    }

    /// What is to be written if the attempt has completed the job.
    pub(in crate::sandbox::capabilities) fn take_writes(&mut self) -> Vec<Write> {
        self.staged.take()
    }
}

/// Serves a handler's calls: the attempt's [`State`], and the plugin's rules.
pub(in crate::sandbox::capabilities) struct View<'a> {
    pub(super) rules: &'a StateRules,
    state: &'a mut State,
}

impl View<'_> {
    fn count_call(&mut self) -> Answer<()> {
        self.state.calls = self.state.calls.saturating_add(1);
        if self.state.calls > self.rules.calls {
            return Err(error(ErrorKind::TooMany, "more calls than state_calls"));
        }
        Ok(())
    }

    fn check_keys<'k>(keys: impl IntoIterator<Item = &'k String>) -> Answer<()> {
        for (place, key) in keys.into_iter().enumerate() {
            if place >= MAX_BATCH {
                let message = format!("more than {MAX_BATCH} keys in one call");
                return Err(error(ErrorKind::TooLarge, &message));
            }
            if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
                let (shown, len) = (text::name(key), key.len());
                let message = format!("a key has 1 to {MAX_KEY_BYTES} bytes, and {shown:?} has {len}");
                return Err(error(ErrorKind::Invalid, &message));
            }
        }
        Ok(())
    }

    /// Changes as they are made, with the bucket's bounds on them.
    fn changes(&self, bucket: &Bucket, changes: Vec<values::Change>) -> Answer<Vec<Change>> {
        Self::check_keys(changes.iter().map(|change| &change.key))?;
        let keys: BTreeSet<_> = changes.iter().map(|change| &change.key).collect();
        if keys.len() < changes.len() {
            return Err(error(ErrorKind::Invalid, "a key stands there twice"));
        }
        let greatest_ms = bucket.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let change = |change: values::Change| {
            let action = match change.action {
                values::Action::Set(value) if value.len() > self.rules.value_bytes => {
                    let (key, len, most) = (text::name(&change.key), value.len(), self.rules.value_bytes);
                    let message = format!("the value of {key:?} has {len} bytes, more than {most} (state_value_bytes)");
                    return Err(error(ErrorKind::TooLarge, &message));
                }
                values::Action::Set(value) => Action::Set(value),
                values::Action::Delete => Action::Delete,
                values::Action::Add(by) => Action::Add(by),
            };
            let asked_ms = change.ttl_ms.into_iter().chain(greatest_ms).min();
            // An addition keeps the time to live that its value has. That was bounded when the value was made.
            let keeps_time = matches!(action, Action::Add(_)) && change.ttl_ms.is_none() && greatest_ms.is_some();
            Ok(Change {
                key: change.key,
                ttl_ms: asked_ms,
                keeps_time,
                action,
                condition: match change.condition {
                    values::Condition::Always => Condition::Always,
                    values::Condition::Absent => Condition::Absent,
                    values::Condition::Version(version) => Condition::Version(version),
                },
            })
        };
        changes.into_iter().map(change).collect()
    }
}

impl values::Host for View<'_> {
    async fn get(&mut self, bucket: String, keys: Vec<String>) -> Result<Answer<Vec<Option<values::Entry>>>> {
        let rules = self.rules;
        let bucket = rules.bucket(&bucket)?;
        let found = async {
            self.count_call()?;
            Self::check_keys(&keys)?;
            let found = rules.keeper()?.get(&bucket.id, &keys, rules.answer_bytes);
            found.await.map_err(|err| told(&err))
        };
        let entry = |entry: crate::state::Entry| values::Entry {
            value: entry.value,
            version: entry.version,
        };
        let entries = |found: Vec<Option<_>>| found.into_iter().map(|found| found.map(entry)).collect();
        Ok(found.await.map(entries))
    }

    async fn list_keys(
        &mut self,
        bucket: String,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Answer<Vec<String>>> {
        let rules = self.rules;
        let bucket = rules.bucket(&bucket)?;
        let found = async {
            self.count_call()?;
            if [Some(&prefix), after.as_ref()]
                .into_iter()
                .flatten()
                .any(|text| text.len() > MAX_KEY_BYTES)
            {
                let message = format!("a key has no more than {MAX_KEY_BYTES} bytes");
                return Err(error(ErrorKind::Invalid, &message));
            }
            let limit = (limit as usize).min(MAX_LISTED);
            let found = rules.keeper()?.list(&bucket.id, &prefix, after.as_deref(), limit);
            found.await.map_err(|err| told(&err))
        };
        Ok(found.await)
    }

    async fn write(&mut self, bucket: String, changes: Vec<values::Change>) -> Result<Answer<Vec<values::Changed>>> {
        let rules = self.rules;
        let bucket = rules.to_change(&bucket)?;
        let written = async {
            self.count_call()?;
            let changes = self.changes(bucket, changes)?;
            let written = rules.keeper()?.write(&bucket.id, bucket.quota, &changes);
            written.await.map_err(|err| told(&err))
        };
        let of = |now: crate::state::Changed| values::Changed {
            version: now.version,
            number: now.number,
        };
        Ok(written.await.map(|written| written.into_iter().map(of).collect()))
    }

    async fn write_on_completion(&mut self, bucket: String, changes: Vec<values::Change>) -> Result<Answer<()>> {
        let bucket = self.rules.to_change(&bucket)?;
        Ok(self.stage(bucket, changes))
    }
}

impl View<'_> {
    fn stage(&mut self, bucket: &Bucket, changes: Vec<values::Change>) -> Answer<()> {
        self.count_call()?;
        let changes = self.changes(bucket, changes)?;
        if changes.iter().any(|change| change.condition != Condition::Always) {
            let message = "what is written on completion has no condition";
            return Err(error(ErrorKind::Invalid, message));
        }
        let bytes: usize = changes.iter().map(Change::bytes).sum();
        if self.state.staged.bytes() + bytes > self.rules.staged_bytes {
            let message = "all that is to be written on completion has more bytes than state_commit_bytes";
            return Err(error(ErrorKind::TooLarge, message));
        }
        self.state
            .staged
            .add(&bucket.id, bucket.quota, changes)
            .map_err(|err| told(&err))
    }
}

fn told(err: &StateError) -> Error {
    let kind = match err {
        StateError::Conflict { .. } => ErrorKind::Conflict,
        StateError::NotANumber { .. } => ErrorKind::NotANumber,
        StateError::Full(_) | StateError::LeftOut(_) => ErrorKind::Full,
        StateError::TooLarge(_) => ErrorKind::TooLarge,
        StateError::Unavailable(_) => ErrorKind::Unavailable,
    };
    error(kind, &err.to_string())
}

fn error(kind: ErrorKind, message: &str) -> Error {
    Error {
        kind,
        message: message.to_owned(),
    }
}
