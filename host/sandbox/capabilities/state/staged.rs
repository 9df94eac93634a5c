//! What an attempt has asked to write on completion.

use std::collections::BTreeMap;

use crate::state::{Action, BucketId, Change, Quota, StateError, Write, whole_number};

/// The changes to make on completion: one for each key.
#[derive(Debug, Default)]
pub(super) struct Staged {
    changes: BTreeMap<(BucketId, String), Change>,
    quotas: BTreeMap<BucketId, Quota>,
}

impl Staged {
    /// Adds changes, each merged with the one that is already there for its key.
    pub(super) fn add(&mut self, bucket: &BucketId, quota: Quota, changes: Vec<Change>) -> Result<(), StateError> {
        self.quotas.insert(bucket.clone(), quota);
        // All of them or none: what is merged is put in place only once all could be.
        let merged: Vec<_> = changes
            .into_iter()
            .map(|change| match self.changes.get(&(bucket.clone(), change.key.clone())) {
                Some(first) => merge(first, change),
                None => Ok(change),
            })
            .collect::<Result<_, _>>()?;
        for change in merged {
            self.changes.insert((bucket.clone(), change.key.clone()), change);
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.changes.values().map(Change::bytes).sum()
    }

    /// Hands the changes over, by bucket.
    pub(super) fn take(&mut self) -> Vec<Write> {
        let mut writes = Vec::<Write>::new();
        for ((bucket, _), change) in std::mem::take(&mut self.changes) {
            match writes.last_mut().filter(|write| write.bucket == bucket) {
                Some(write) => write.changes.push(change),
                None => writes.push(Write {
                    quota: self.quotas[&bucket],
                    bucket,
                    changes: vec![change],
                }),
            }
        }
        writes
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
