//! What an attempt has asked to write on completion.

use std::collections::BTreeMap;

use crate::state::{Action, BucketId, Change, Quota, StateError, Write, whole_number};

/// The changes to make on completion, by bucket.
#[derive(Debug, Default)]
pub(super) struct Staged(BTreeMap<BucketId, Bucket>);

/// Those of one bucket: one change for each key.
#[derive(Debug)]
struct Bucket {
    quota: Quota,
    changes: BTreeMap<String, Change>,
}

impl Staged {
    /// Adds changes, each merged with the one that is already there for its key: all of them or none.
    pub(super) fn add(&mut self, bucket: &BucketId, quota: Quota, changes: Vec<Change>) -> Result<(), StateError> {
        let changes_before = |key: &str| self.0.get(bucket)?.changes.get(key);
        let merged = changes.into_iter().map(|change| match changes_before(&change.key) {
            Some(first) => merge(first, change),
            None => Ok(change),
        });
        let merged: Vec<_> = merged.collect::<Result<_, _>>()?;
        let bucket = self.0.entry(bucket.clone()).or_insert_with(|| Bucket {
            quota,
            changes: BTreeMap::new(),
        });
        let by_key = merged.into_iter().map(|change| (change.key.clone(), change));
        bucket.changes.extend(by_key);
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        let changes = self.0.values().flat_map(|bucket| bucket.changes.values());
        changes.map(Change::bytes).sum()
    }

    /// Hands the changes over.
    pub(super) fn take(&mut self) -> Vec<Write> {
        let write = |(bucket, Bucket { quota, changes })| Write {
            bucket,
            quota,
            changes: changes.into_values().collect(),
        };
        std::mem::take(&mut self.0).into_iter().map(write).collect()
    }
}

/// One change that does what two do, one after the other.
fn merge(first: &Change, then: Change) -> Result<Change, StateError> {
    let Action::Add(by) = then.action else { return Ok(then) };
    let not = || StateError::NotANumber { key: then.key.clone() };
    let sum = |number: i64| number.checked_add(by).ok_or_else(not);
    let action = match &first.action {
        Action::Add(before) => Action::Add(sum(*before)?),
        Action::Delete => Action::Set(sum(0)?.to_string().into_bytes()),
        Action::Set(value) => Action::Set(sum(whole_number(value).ok_or_else(not)?)?.to_string().into_bytes()),
    };
    Ok(Change {
        action,
        ttl_ms: then.ttl_ms.or(first.ttl_ms),
        keeps_time: then.keeps_time && first.keeps_time,
        ..then
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Condition;

    const QUOTA: Quota = Quota { bytes: 1, keys: 1 };

    fn change(key: &str, action: Action) -> Change {
        Change {
            key: key.to_owned(),
            action,
            condition: Condition::Always,
            ttl_ms: None,
            keeps_time: false,
        }
    }

    #[test]
    fn several_changes_of_a_value_become_one_that_does_the_same() {
        let set = |text: &str| Action::Set(text.as_bytes().to_vec());
        let (seen, other) = (BucketId::of_plugin("p", "seen"), BucketId::shared("other"));
        let mut staged = Staged::default();
        for changes in [
            vec![change("a", Action::Add(2))],
            vec![change("a", Action::Add(3)), change("b", set("7"))],
        ] {
            staged.add(&seen, QUOTA, changes).unwrap();
        }
        staged.add(&other, QUOTA, vec![change("a", set("x"))]).unwrap();
        staged
            .add(
                &seen,
                QUOTA,
                vec![change("b", Action::Add(-1)), change("c", Action::Delete)],
            )
            .unwrap();
        staged.add(&seen, QUOTA, vec![change("c", Action::Add(1))]).unwrap();
        let refused = staged.add(&other, QUOTA, vec![change("a", Action::Add(1))]);
        assert_eq!(refused, Err(StateError::NotANumber { key: "a".to_owned() }));
        let half = vec![change("new", Action::Add(1)), change("a", Action::Add(1))];
        assert!(staged.add(&other, QUOTA, half).is_err(), "all of a call or none");
        let writes = staged.take();
        let of = |bucket: &BucketId| {
            let write = writes.iter().find(|write| write.bucket == *bucket).unwrap();
            write
                .changes
                .iter()
                .map(|change| change.action.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&seen), [Action::Add(5), set("6"), set("1")]);
        assert_eq!((of(&other), writes.len()), (vec![set("x")], 2));
        assert!(staged.take().is_empty());
    }
}
