//! Values that outlast an attempt, in the buckets that the plugin's manifest grants (`[grants.state.NAME]`).
//!
//! ```no_run
//! use kiln_handler::{Failure, Job, state};
//!
//! fn charge(job: Job<u64>) -> Result<String, Failure> {
//!     let counts = state::bucket("counts");
//!     // Made with the job's acknowledgement: once, though the job may run twice.
//!     counts.add_on_completion("charged_cents", i64::try_from(job.payload)?)?;
//!     // Made at most once at a time, and not again once it was done.
//!     state::once("charges", &job.id, || charge_card(job.payload))
//! }
//! # fn charge_card(_: u64) -> Result<String, Failure> { Ok(String::new()) }
//! ```
//!
//! Values are JSON, in every kit: a handler in one language reads what another has written. A number that is added to is a
//! JSON number. Outside Wasm, in tests, values are kept in memory, by thread.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failure::whole_ms;
use crate::raw::kiln::state::values::{self, Action, Change, Condition};
use crate::{Failure, remaining};

#[cfg(not(target_family = "wasm"))]
mod memory;
#[cfg(not(target_family = "wasm"))]
use memory as host;
#[cfg(target_family = "wasm")]
use values as host;

/// How long an attempt waits that finds what it is to do once under way in another.
const UNDER_WAY: Duration = Duration::from_secs(10);

/// Why a call came to nothing. Under `?` the job is tried again.
#[derive(Debug, Clone)]
pub struct StateError(values::Error);

impl StateError {
    /// What went wrong.
    pub fn kind(&self) -> values::ErrorKind {
        self.0.kind
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state: {}", self.0.message)
    }
}

impl Error for StateError {}

/// The bucket of this name. One that is not granted ends the attempt at the first call.
pub fn bucket(name: &str) -> Bucket<'_> {
    Bucket { name }
}

/// Values by their keys, which have 1 to 512 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bucket<'a> {
    name: &'a str,
}

/// A value and its version, which changes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// For [`Bucket::swap`].
    pub version: u64,
}

impl Bucket<'_> {
    /// The value of a key.
    ///
    /// # Errors
    /// When it cannot be read, or is not of this type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Failure> {
        Ok(self.get_versioned(key)?.map(|found| found.value))
    }

    /// The same with its version.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn get_versioned<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Versioned<T>>, Failure> {
        let found = host::get(self.name, &[key.to_owned()]).map_err(StateError)?;
        let Some(entry) = found.into_iter().next().flatten() else {
            return Ok(None);
        };
        let version = entry.version;
        let value = serde_json::from_slice(&entry.value)
            .map_err(|err| Failure::Permanent(format!("state: the value of {key:?}: {err}")))?;
        Ok(Some(Versioned { value, version }))
    }

    /// Makes this the value of a key, for as long as the bucket keeps values.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set<T: Serialize>(&self, key: &str, value: &T) -> Result<(), Failure> {
        self.write(change(key, set(value)?)).map(|_| ())
    }

    /// The same, for so long; zero is for as long as the bucket keeps values, in no case longer.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_for<T: Serialize>(&self, key: &str, value: &T, ttl: Duration) -> Result<(), Failure> {
        self.write(lasting(change(key, set(value)?), ttl)).map(|_| ())
    }

    /// Makes this the value of a key that has none, for so long if a time is given. False: it has one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_if_absent<T: Serialize>(&self, key: &str, value: &T, ttl: Option<Duration>) -> Result<bool, Failure> {
        let change = Change {
            condition: Condition::Absent,
            ..change(key, set(value)?)
        };
        Ok(self
            .try_write(ttl.map_or(change.clone(), |ttl| lasting(change, ttl)))?
            .is_some())
    }

    /// Makes this the value of a key whose value still has that version, and returns the new one; none: it has another.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn swap<T: Serialize>(&self, key: &str, version: u64, value: &T) -> Result<Option<u64>, Failure> {
        let change = Change {
            condition: Condition::Version(version),
            ..change(key, set(value)?)
        };
        Ok(self.try_write(change)?.map(|changed| changed.version))
    }

    /// Adds to a number, where there is none to 0, and returns what it is then.
    ///
    /// # Errors
    /// When it cannot be written, or there is another value.
    pub fn add(&self, key: &str, by: i64) -> Result<i64, Failure> {
        Ok(self.write(change(key, Action::Add(by)))?.number)
    }

    /// Takes a value away.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn delete(&self, key: &str) -> Result<(), Failure> {
        self.write(change(key, Action::Delete)).map(|_| ())
    }

    /// Up to a thousand keys that begin with `prefix`, in order, after one of them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn keys(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, Failure> {
        Ok(host::list_keys(self.name, prefix, after, 1000).map_err(StateError)?)
    }

    /// Has this be the value of a key once the job is acknowledged.
    ///
    /// # Errors
    /// When it is too much.
    pub fn set_on_completion<T: Serialize>(&self, key: &str, value: &T) -> Result<(), Failure> {
        self.on_completion(change(key, set(value)?))
    }

    /// Has something added to a number once the job is acknowledged.
    ///
    /// # Errors
    /// When it is too much.
    pub fn add_on_completion(&self, key: &str, by: i64) -> Result<(), Failure> {
        self.on_completion(change(key, Action::Add(by)))
    }

    /// Has a value taken away once the job is acknowledged.
    ///
    /// # Errors
    /// When it is too much.
    pub fn delete_on_completion(&self, key: &str) -> Result<(), Failure> {
        self.on_completion(change(key, Action::Delete))
    }

    fn on_completion(&self, change: Change) -> Result<(), Failure> {
        Ok(host::write_on_completion(self.name, &[change]).map_err(StateError)?)
    }

    fn write(&self, change: Change) -> Result<values::Changed, Failure> {
        let written = host::write(self.name, &[change]).map_err(StateError)?;
        written
            .into_iter()
            .next()
            .ok_or_else(|| Failure::retry("state: no answer"))
    }

    /// None: the change's condition does not hold.
    fn try_write(&self, change: Change) -> Result<Option<values::Changed>, Failure> {
        match host::write(self.name, &[change]) {
            Ok(written) => Ok(written.into_iter().next()),
            Err(err) if err.kind == values::ErrorKind::Conflict => Ok(None),
            Err(err) => Err(StateError(err).into()),
        }
    }
}

/// What stands in a bucket of what is done once.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Once<T> {
    UnderWay,
    Done(T),
}

/// Does something once for a key, such as a job's id, and returns what it came to: what it came to then, where it was done
/// before. While another attempt is at it, the job is tried again later; where `work` fails, or returns what JSON cannot
/// hold, it may be done again.
///
/// It cannot promise more than the world around it: where the worker dies after `work` and before its result is kept, it is
/// done again once the attempt's time is over. Hand the key on to whatever `work` calls, if that knows such keys.
///
/// # Errors
/// Those of `work`, and when the bucket cannot be read or written.
pub fn once<T: Serialize + DeserializeOwned>(
    bucket: &str,
    key: &str,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let bucket = self::bucket(bucket);
    // Longer than this attempt can last, so that no other begins while it is at work.
    let claim = Some(remaining() + Duration::from_secs(1));
    if !bucket.set_if_absent(key, &Once::<T>::UnderWay, claim)? {
        return match bucket.get(key)? {
            Some(Once::Done(value)) => Ok(value),
            _ => Err(Failure::retry_after(
                format!("another attempt is at {key:?}"),
                UNDER_WAY,
            )),
        };
    }
    // A result that is no JSON fails here, while the key can still be freed.
    let worked = work().and_then(|value| Ok((set(&Once::Done(&value))?, value)));
    match worked {
        Ok((done, value)) => {
            // Where this fails the key stays taken: the work is done.
            bucket.write(change(key, done))?;
            Ok(value)
        }
        Err(failure) => {
            // A claim that cannot be deleted ends by itself. What went wrong before is what has to be told.
            let _ = bucket.delete(key);
            Err(failure)
        }
    }
}

fn set<T: Serialize>(value: &T) -> Result<Action, Failure> {
    let json = serde_json::to_vec(value).map_err(|err| Failure::Permanent(format!("state: {err}")))?;
    Ok(Action::Set(json))
}

fn change(key: &str, action: Action) -> Change {
    Change {
        key: key.to_owned(),
        action,
        condition: Condition::Always,
        ttl_ms: None,
    }
}

fn lasting(change: Change, ttl: Duration) -> Change {
    let ttl_ms = Some(whole_ms(ttl)).filter(|ms| *ms > 0);
    Change { ttl_ms, ..change }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_by_bucket_and_key() {
        let seen = bucket("seen");
        assert_eq!(seen.get::<u32>("a").unwrap(), None);
        seen.set("a", &7).unwrap();
        assert_eq!(bucket("other").get::<u32>("a").unwrap(), None);
        let found = seen.get_versioned::<u32>("a").unwrap().unwrap();
        assert_eq!(seen.swap("a", found.version, &8).unwrap(), Some(found.version + 1));
        assert_eq!(seen.swap("a", found.version, &9).unwrap(), None);
        assert!(!seen.set_if_absent("a", &1, None).unwrap());
        assert_eq!((seen.add("n", 2).unwrap(), seen.add("n", 3).unwrap()), (2, 5));
        assert_eq!(seen.get::<i64>("n").unwrap(), Some(5));
        assert_eq!(seen.keys("", None).unwrap(), ["a", "n"]);
        seen.delete("a").unwrap();
        assert_eq!(seen.get::<u32>("a").unwrap(), None);
        seen.set("word", &"tea").unwrap();
        assert!(matches!(seen.get::<u32>("word"), Err(Failure::Permanent(_))));
        assert!(matches!(seen.add("word", 1), Err(Failure::Retry(_))));
    }

    #[test]
    fn no_version_comes_twice() {
        let seen = bucket("versions");
        let version_of = |value: &str| {
            seen.set("a", &value).unwrap();
            seen.get_versioned::<String>("a").unwrap().unwrap().version
        };
        let before = version_of("tea");
        seen.delete("a").unwrap();
        assert!(version_of("milk") > before);
        assert_eq!(seen.swap("a", before, &"water").unwrap(), None);
    }

    #[test]
    fn a_time_is_rounded_up_and_zero_is_none() {
        let ttl_ms = |ttl| lasting(change("a", Action::Delete), ttl).ttl_ms;
        assert_eq!(ttl_ms(Duration::from_micros(1)), Some(1));
        assert_eq!(ttl_ms(Duration::from_micros(2_001)), Some(3));
        assert_eq!(ttl_ms(Duration::MAX), Some(u64::MAX));
        assert_eq!(ttl_ms(Duration::ZERO), None);
    }

    #[test]
    fn a_result_that_is_no_json_fails_for_good_and_frees_the_key() {
        let no_key_of_json = std::collections::BTreeMap::from([((1, 2), 3)]);
        let failed = once("charges", "job 3", || Ok(no_key_of_json));
        assert!(matches!(failed, Err(Failure::Permanent(_))), "{failed:?}");
        assert_eq!(once("charges", "job 3", || Ok(5)), Ok(5));
    }

    #[test]
    fn what_was_done_once_is_not_done_again_and_what_failed_is() {
        let mut times = 0;
        let mut charge = |fails: bool| {
            once("charges", "job 1", || {
                times += 1;
                if fails {
                    Err(Failure::retry("declined"))
                } else {
                    Ok(format!("receipt {times}"))
                }
            })
        };
        assert_eq!(charge(true), Err(Failure::retry("declined")));
        assert_eq!(charge(false).as_deref(), Ok("receipt 2"));
        assert_eq!(charge(false).as_deref(), Ok("receipt 2"));
        bucket("charges").set("job 2", &Once::<String>::UnderWay).unwrap();
        let other = once("charges", "job 2", || Ok(String::new()));
        assert!(matches!(other, Err(Failure::RetryAfter(_, UNDER_WAY))), "{other:?}");
    }
}
