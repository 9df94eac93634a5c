//! Jobs that are to be pushed later, as JSON describes them: what a handler enqueues, and what comes after a job in its chain.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::batch::memberships;
use super::nesting::Nesting;
use super::options::{duration, read, read_borrowed};
use super::{Job, MAX_TEXT_BYTES, Options, Plans, check_queue_name, null, raw, saturating_ns};
use crate::outcome::{Due, FollowUp, NewJob};

/// The namespace of the ids of jobs that follow from another job: UUID version 5 of the name
/// `https://kiln.invalid/follow-up` in the namespace of URLs.
const FOLLOW_UPS: Uuid = Uuid::from_u128(0x1d8d_f392_b4ef_5523_a25d_719b_dc41_deef);

/// Where the number of generations stands in `metadata.kiln`.
const DEPTH: &str = "depth";

/// Where the jobs of a chain that come after this one stand in `metadata.kiln`.
const THEN: &str = "then";

/// Where the batches that a job belongs to stand in `metadata.kiln`.
const BATCH: &str = "batch";

/// In place of a batch: that of the job which enqueues it.
const SAME: &str = "true";

/// Where it stands that a job is dropped if a batch has ended.
const UNLESS_ENDED: &str = "unless_ended";

/// Where the result of the job before this one in its chain stands in `metadata.kiln`, unless it is the payload.
const RESULT: &str = "result";

/// Longest result, in bytes, that a job hands on to the next of its chain.
pub const MAX_HANDED_ON_BYTES: usize = 256 * 1024;

/// Keys of metadata by which a job belongs to its producer's trace.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

type Object = BTreeMap<String, Box<RawValue>>;

/// The name and the queue, if it names one, of a job that may come of another.
pub(super) type Follower = (String, Option<String>);

/// A job that is to be pushed later.
#[derive(Debug, Clone)]
pub struct JobSpec {
    /// Picks its handler.
    pub name: String,
    /// Where to; none: the queue of the job before it.
    pub queue: Option<String>,
    /// JSON text; none where none is given.
    payload: Option<Box<RawValue>>,
    id: Option<String>,
    due: Due,
    max_attempts: u32,
    timeout_ns: i64,
    metadata: Object,
    /// What it asks of Kiln.
    kiln: Object,
    /// Names and queues of the jobs that come after it.
    followers: Vec<Follower>,
    /// The batches that it belongs to.
    joins: Vec<String>,
}

/// What a job that is pushed later takes from the one before it.
#[derive(Debug, Clone)]
pub struct Parent {
    id: String,
    queue: String,
    /// How many generations of follow-ups it is away from what a producer pushed.
    depth: u32,
    /// The batches that it belongs to, as it has them.
    batch: Option<Box<RawValue>>,
    trace: Vec<(&'static str, Box<RawValue>)>,
}

impl JobSpec {
    /// A job with this name, payload (JSON text) and options (JSON text of an object).
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn new(name: &str, payload: String, options: Option<&str>) -> Result<Self, String> {
        let payload = RawValue::from_string(payload).map_err(|err| format!("the payload is no JSON: {err}"))?;
        let mut spec = Self {
            name: text("a job's name", name)?,
            queue: None,
            payload: Some(payload),
            id: None,
            due: Due::Now,
            max_attempts: 0,
            timeout_ns: 0,
            metadata: Object::new(),
            kiln: Object::new(),
            followers: Vec::new(),
            joins: Vec::new(),
        };
        if let Some(options) = options {
            let options: BTreeMap<Cow<'_, str>, &RawValue> =
                serde_json::from_str(options).map_err(|err| format!("the options are no JSON object: {err}"))?;
            spec.fill(options, Nesting::default())?;
        }
        Ok(spec)
    }

    /// A job of a chain: a JSON object with its `name`, its `payload` if it has one of its own, and options.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(super) fn read(value: &RawValue, level: Nesting) -> Result<Self, String> {
        let mut keys: BTreeMap<Cow<'_, str>, &RawValue> = read_borrowed(value)?;
        let name: String = keys.remove("name").map_or_else(|| Ok(String::new()), read)?;
        let payload = keys.remove("payload").map(ToOwned::to_owned);
        let mut spec = Self::new(&name, "null".to_owned(), None)?;
        spec.payload = payload;
        spec.fill(keys, level)?;
        if spec.kiln.contains_key(THEN) {
            return Err("a job of a chain has no `then` of its own: all stand in one list".to_owned());
        }
        Ok(spec)
    }

    /// All jobs that come of this one, each with its name and its queue, if it names one: itself, and those of its chain.
    pub fn pushed(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let followers = self
            .followers
            .iter()
            .map(|(name, queue)| (name.as_str(), queue.as_deref()));
        std::iter::once((self.name.as_str(), self.queue.as_deref())).chain(followers)
    }

    /// The same, without the rest.
    pub(super) fn into_pushed(self) -> impl Iterator<Item = Follower> {
        std::iter::once((self.name, self.queue)).chain(self.followers)
    }

    fn fill(&mut self, options: BTreeMap<Cow<'_, str>, &RawValue>, level: Nesting) -> Result<(), String> {
        for (key, value) in options {
            let wrong = |why: String| format!("{key}: {why}");
            match &*key {
                "queue" => {
                    let queue: String = read(value).map_err(wrong)?;
                    check_queue_name(&queue).map_err(wrong)?;
                    self.queue = Some(queue);
                }
                "id" => self.id = Some(text("an id", &read::<String>(value).map_err(wrong)?).map_err(wrong)?),
                "delay" | "at" if self.due != Due::Now => return Err("delay and at exclude each other".to_owned()),
                "delay" => self.due = Due::After(duration(value).map_err(wrong)?),
                "at" => self.due = Due::At(time(value).map_err(wrong)?),
                "max_attempts" => {
                    self.max_attempts = read(value).map_err(wrong)?;
                    if self.max_attempts == 0 {
                        return Err(wrong("must be at least 1".to_owned()));
                    }
                }
                "timeout" => match duration(value).map_err(wrong)? {
                    Duration::ZERO => return Err(wrong("must be more than 0".to_owned())),
                    timeout => self.timeout_ns = saturating_ns(timeout),
                },
                "metadata" => self.metadata = read(value).map_err(wrong)?,
                "retry" | "expires" | "reply" | "unique" | THEN | BATCH | UNLESS_ENDED => {
                    _ = self.kiln.insert(key.into_owned(), value.to_owned());
                }
                _ => {
                    let there_are = "queue, delay, at, max_attempts, timeout, id, metadata, retry, expires, reply, unique, then, batch and unless_ended";
                    return Err(wrong(format!("no such option; there are {there_are}")));
                }
            }
        }
        self.take_wishes_from_metadata(level)
    }

    /// Has what it asks of Kiln in one place, and refuses what a worker would ignore.
    fn take_wishes_from_metadata(&mut self, level: Nesting) -> Result<(), String> {
        if let Some(kiln) = self.metadata.remove("kiln") {
            let kiln: Object = read(&kiln).map_err(|why| format!("metadata.kiln: {why}"))?;
            self.kiln.extend(kiln);
        }
        let kiln: BTreeMap<_, _> = self
            .kiln
            .iter()
            .filter(|(key, value)| *key != BATCH || value.get() != SAME)
            .collect();
        let metadata = raw(&BTreeMap::from([("kiln", &kiln)]));
        let (options, ignored) = Options::read_within(Some(&metadata), level);
        let Plans {
            batches,
            followers,
            refused,
            ..
        } = options.plans().clone();
        if let Some(why) = refused.or(ignored) {
            return Err(why);
        }
        self.followers = followers;
        self.joins = batches.into_iter().map(|batch| batch.id).collect();
        Ok(())
    }

    /// The job as the `number`-th that a handler enqueues.
    ///
    /// # Errors
    /// When it is to join the batch of a job that belongs to none.
    pub fn enqueued_by(mut self, parent: &Parent, number: u32) -> Result<FollowUp, String> {
        if self.kiln.get(BATCH).is_some_and(|batch| batch.get() == SAME) {
            let own = parent.batch.clone().ok_or("batch: this job belongs to none")?;
            self.joins = memberships(&own, Nesting::default())?
                .0
                .into_iter()
                .map(|batch| batch.id)
                .collect();
            self.kiln.insert(BATCH.to_owned(), own);
        }
        let depth = parent.depth.saturating_add(1);
        Ok(self.after(parent, &number.to_string(), depth))
    }

    /// The job as what is pushed when something has come of a batch.
    pub(super) fn callback(mut self, parent: &Parent, batch: &str, which: &str) -> FollowUp {
        self.id.get_or_insert_with(|| format!("batch:{batch}:{which}"));
        if which == "late" {
            self.kiln.insert(UNLESS_ENDED.to_owned(), raw(&batch));
        }
        self.after(parent, which, parent.depth)
    }

    /// The job as the next of a chain, after one with this result (JSON text), and before `rest`. Without a payload of its
    /// own, it gets the result as its payload.
    fn next_in_chain(mut self, parent: &Parent, result: &str, rest: &[Box<RawValue>]) -> Result<FollowUp, String> {
        let result = RawValue::from_string(result.to_owned()).map_err(|err| err.to_string())?;
        if self.payload.is_none() {
            self.payload = Some(result);
        } else {
            self.kiln.insert(RESULT.to_owned(), result);
        }
        if !rest.is_empty() {
            self.kiln.insert(THEN.to_owned(), raw(&rest));
        }
        Ok(self.after(parent, THEN, parent.depth))
    }

    /// The job that follows `parent` as `which` of its kind.
    fn after(mut self, parent: &Parent, which: &str, depth: u32) -> FollowUp {
        if depth > 0 {
            self.kiln.insert(DEPTH.to_owned(), raw(&depth));
        }
        if !self.metadata.contains_key(TRACE[0]) {
            let trace = parent.trace.iter();
            self.metadata
                .extend(trace.map(|(key, value)| ((*key).to_owned(), value.clone())));
        }
        if !self.kiln.is_empty() {
            self.metadata.insert("kiln".to_owned(), raw(&self.kiln));
        }
        FollowUp {
            id: self.id.unwrap_or_else(|| id_after(&parent.id, which)),
            name: self.name,
            queue: self.queue.unwrap_or_else(|| parent.queue.clone()),
            payload: self.payload.unwrap_or_else(null),
            metadata: (!self.metadata.is_empty()).then(|| raw(&self.metadata)),
            max_attempts: self.max_attempts,
            timeout_ns: self.timeout_ns,
            due: self.due,
            joins: self.joins,
        }
    }
}

/// The job that comes after a completed one in its chain, of which these jobs are left.
///
/// # Errors
/// When there is none that can be pushed.
pub fn next_in_chain(parent: &Parent, then: &[Box<RawValue>], result: &str) -> Result<Option<FollowUp>, String> {
    let Some((next, rest)) = then.split_first() else {
        return Ok(None);
    };
    JobSpec::read(next, Nesting::default())?
        .next_in_chain(parent, result, rest)
        .map(Some)
}

impl Parent {
    /// The job with this id and metadata (JSON text), taken from this queue.
    #[must_use]
    pub fn new(id: &str, queue: &str, metadata: &str) -> Self {
        #[derive(Deserialize, Default)]
        struct Kiln {
            depth: Option<u32>,
            batch: Option<Box<RawValue>>,
        }
        let mut metadata: Object = serde_json::from_str(metadata).unwrap_or_default();
        let kiln = metadata
            .get("kiln")
            .and_then(|kiln| serde_json::from_str::<Kiln>(kiln.get()).ok());
        let Kiln { depth, batch } = kiln.unwrap_or_default();
        Self {
            id: id.to_owned(),
            queue: queue.to_owned(),
            depth: depth.unwrap_or(0),
            batch,
            trace: TRACE
                .into_iter()
                .filter_map(|key| Some((key, metadata.remove(key)?)))
                .collect(),
        }
    }

    /// How many generations of follow-ups it is away from what a producer pushed.
    #[must_use]
    pub const fn depth(&self) -> u32 {
        self.depth
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The queue that it was taken from.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.queue
    }
}

impl Job {
    /// The job that a follow-up becomes when the one before it is acknowledged.
    #[must_use]
    pub fn follow_up(follow_up: FollowUp, now: Timestamp) -> NewJob {
        let mut job = Self::new(&follow_up.name, &follow_up.queue, follow_up.payload);
        job.id = follow_up.id;
        job.metadata = follow_up.metadata;
        job.max_attempts = follow_up.max_attempts;
        job.timeout_ns = follow_up.timeout_ns;
        let created = Some(now.to_string());
        job.times.created_at.clone_from(&created);
        job.times.updated_at.clone_from(&created);
        job.times.available_at = created;
        let due = match follow_up.due {
            Due::Now => None,
            Due::After(delay) => Some(now.saturating_add(delay).unwrap_or(Timestamp::MAX)),
            Due::At(time) => Some(time),
        };
        let due = due.filter(|due| *due > now);
        if let Some(due) = due {
            job.delay_until(now, due);
        }
        NewJob {
            queue: follow_up.queue,
            job: raw(&job),
            due_ms: due.map(Timestamp::as_millisecond),
        }
    }
}

/// The id of a job that follows another as `which` of its kind: the same each time.
fn id_after(parent: &str, which: &str) -> String {
    Uuid::new_v5(&FOLLOW_UPS, format!("{parent}\n{which}").as_bytes()).to_string()
}

/// A time as people write it.
fn time(value: &RawValue) -> Result<Timestamp, String> {
    let text: String = read(value)?;
    text.parse()
        .map_err(|_| format!("{text:?} is no time, like 2026-11-22T18:00:00Z"))
}

/// A text as a job may hold it.
fn text(what: &str, text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > MAX_TEXT_BYTES {
        return Err(format!("{what} has 1 to {MAX_TEXT_BYTES} bytes"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(options: &str) -> Result<JobSpec, String> {
        JobSpec::new("mail", r#"{"n":1.0}"#.to_owned(), Some(options))
    }

    fn job_of(follow_up: FollowUp) -> (Job, Option<i64>) {
        let NewJob { job, due_ms, .. } = Job::follow_up(follow_up, "2026-01-01T00:00:00Z".parse().unwrap());
        (Job::decode(job.get().as_bytes()).unwrap(), due_ms)
    }

    #[test]
    fn a_follow_up_is_a_job_like_any_other_with_an_id_that_is_always_the_same() {
        let parent = Parent::new(
            "a",
            "home",
            r#"{"kiln":{"depth":2,"reply":true},"traceparent":"t","x":1}"#,
        );
        let options = r#"{"delay":"1m","max_attempts":5,"timeout":"2s","metadata":{"who":"me","kiln":{"reply":true}},"expires":"1h"}"#;
        let enqueued = |number| spec(options).unwrap().enqueued_by(&parent, number).unwrap();
        let (job, due_ms) = job_of(enqueued(1));
        assert_eq!((job.name.as_str(), job.queue.as_deref()), ("mail", Some("home")));
        assert_eq!(job.payload.get(), r#"{"n":1.0}"#);
        assert_eq!((job.max_attempts, job.timeout_ns), (5, 2_000_000_000));
        assert_eq!(due_ms, Some(1_767_225_660_000));
        assert_eq!(job.times.available_at.as_deref(), Some("2026-01-01T00:01:00Z"));
        let metadata = r#"{"kiln":{"depth":3,"expires":"1h","reply":true},"traceparent":"t","who":"me"}"#;
        assert_eq!(job.metadata.as_ref().unwrap().get(), metadata);
        assert_eq!(job.id, enqueued(1).id);
        assert_ne!(job.id, enqueued(2).id);
        assert_eq!(Uuid::parse_str(&job.id).unwrap().get_version_num(), 5);
        let named = spec(r#"{"id":"mine","queue":"other"}"#)
            .unwrap()
            .enqueued_by(&parent, 1)
            .unwrap();
        assert_eq!(
            (named.id.as_str(), named.queue.as_str(), named.due),
            ("mine", "other", Due::Now)
        );
    }

    #[test]
    fn what_is_wrong_with_a_description_is_named() {
        for (options, why) in [
            ("[]", "the options are no JSON object"),
            (r#"{"qeue":"x"}"#, "qeue: no such option; there are queue, delay"),
            (
                r#"{"queue":"a b"}"#,
                "queue: queue name \"a b\": must not contain spaces",
            ),
            (
                r#"{"delay":"1m","at":"2026-01-01T00:00:00Z"}"#,
                "delay and at exclude each other",
            ),
            (r#"{"delay":5}"#, "delay: invalid type"),
            (r#"{"timeout":"0s"}"#, "timeout: must be more than 0"),
            (r#"{"max_attempts":0}"#, "max_attempts: must be at least 1"),
            (r#"{"id":""}"#, "id: an id has 1 to 1024 bytes"),
            (r#"{"expires":"soon"}"#, "metadata.kiln.expires is ignored"),
            (r#"{"metadata":{"kiln":{"x":1}}}"#, "metadata.kiln.x is ignored"),
        ] {
            let said = spec(options).unwrap_err();
            assert!(said.starts_with(why), "{options}: {said}");
        }
        assert!(JobSpec::new("", "1".to_owned(), None).is_err());
        let said = JobSpec::new("a", "{".to_owned(), None).unwrap_err();
        assert!(said.starts_with("the payload is no JSON"), "{said}");
    }
}
