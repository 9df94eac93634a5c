//! A look at the jobs of a queue.

use jiff::Timestamp;
use serde::Serialize;

use super::AdminError;
use crate::job::Job;
use crate::queue::{Peeked, Place, QueueName, Store};
use crate::text;

/// A job in a queue, as far as it could be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Its id; none where it has none, or too much stands before it.
    pub id: Option<String>,
    /// Whether that is its id as it is: nothing was cut, it has no hidden characters, and it was not made up here.
    #[serde(skip)]
    pub id_is_whole: bool,
    /// Its name; none where the bytes are no job, or too much stands before it.
    pub name: Option<String>,
    /// Attempts so far.
    pub attempts: Option<u32>,
    /// Since when it may run, or when it will, in milliseconds since the Unix epoch.
    pub due_ms: Option<i64>,
    /// The host that holds it.
    pub host: Option<String>,
    /// Its length.
    pub bytes: u64,
    /// Why it was tried before in vain.
    pub error: Option<String>,
}

/// Up to `count` jobs of a queue, from the place `start` on.
///
/// # Errors
/// When the store fails.
pub async fn peek(
    store: &Store,
    queue: &QueueName,
    place: Place,
    start: u64,
    count: usize,
) -> Result<Vec<Seen>, AdminError> {
    let found = store.peek(queue, place, start, count).await?;
    Ok(found.iter().map(Seen::of).collect())
}

/// When the job that is next in a queue became due, in milliseconds since the Unix epoch; none if the queue has no ready
/// job, or the job does not say.
///
/// # Errors
/// When the store fails.
pub async fn oldest_ms(store: &Store, queue: &QueueName) -> Result<Option<i64>, AdminError> {
    let first = store.peek(queue, Place::Ready, 0, 1).await?;
    Ok(first.first().map(Seen::of).and_then(|seen| seen.due_ms))
}

impl Seen {
    fn of(peeked: &Peeked) -> Self {
        let job = whole(&peeked.job.bytes, peeked.job.len);
        let label = if job.is_some() {
            Label::default()
        } else {
            Label::of(&peeked.job.bytes)
        };
        let job = job.as_ref();
        let time = |text: Option<&str>| text?.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
        let own_due = job.and_then(|job| {
            let times = &job.times;
            time(times.available_at.as_deref()).or_else(|| time(times.created_at.as_deref()))
        });
        let id = job.map(|job| job.id.clone()).or(label.id);
        let stands_there = |id: &String| {
            let mut windows = peeked.job.bytes.windows(id.len().max(1));
            text::name(id) == id.as_str() && windows.any(|part| part == id.as_bytes())
        };
        Self {
            id_is_whole: id.as_ref().is_some_and(stands_there),
            id: id.map(|id| text::name(&id).into_owned()),
            name: job
                .map(|job| job.name.clone())
                .or(label.name)
                .map(|name| text::name(&name).into_owned()),
            attempts: job.map(|job| job.attempts),
            due_ms: peeked.due_ms.or(own_due),
            host: peeked.host.clone(),
            bytes: peeked.job.len as u64,
            error: job.and_then(|job| Some(text::message(job.error.as_deref()?, text::MAX_LINE_BYTES).into_owned())),
        }
    }
}

/// The job, if all of it was seen.
fn whole(bytes: &[u8], len: usize) -> Option<Job> {
    (bytes.len() == len).then(|| Job::decode(bytes).ok())?
}

/// What stands at the beginning of a job: Kiln and dg-queue write id and name first.
#[derive(Debug, Default)]
struct Label {
    id: Option<String>,
    name: Option<String>,
}

impl Label {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let value = |key: &str| -> Option<String> {
            let (_, rest) = text.split_once(&format!("\"{key}\":"))?;
            let mut values = serde_json::Deserializer::from_str(rest.trim_start()).into_iter::<String>();
            values.next()?.ok()
        };
        let before_payload = text.split_once("\"payload\"").map_or(&*text, |(before, _)| before);
        let has = |key: &str| before_payload.contains(&format!("\"{key}\":"));
        Self {
            id: value("id").filter(|_| has("id")),
            name: value("name").filter(|_| has("name")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::backend::Arrived;

    fn seen(job: &str, len: usize) -> Seen {
        Seen::of(&Peeked {
            job: Arrived {
                bytes: job.as_bytes().to_vec(),
                len,
                sha1: None,
            },
            due_ms: None,
            host: None,
        })
    }

    #[test]
    fn of_a_job_that_was_cut_the_beginning_tells_id_and_name() {
        let cut = seen(
            r#"{"id":"7","name":"resize","queue":"q","payload":{"name":"not me","a":"xxxx"#,
            99_999,
        );
        assert_eq!(
            (cut.id.as_deref(), cut.name.as_deref(), cut.bytes),
            (Some("7"), Some("resize"), 99_999)
        );
        let late = seen(r#"{"payload":{"id":"not me"},"id":"#, 99_999);
        assert_eq!((late.id, late.name), (None, None));
    }

    #[test]
    fn a_whole_job_tells_since_when_it_is_due() {
        let job = r#"{"id":"7","name":"a","available_at":"1970-01-01T00:00:02Z","created_at":"1970-01-01T00:00:01Z"}"#;
        assert_eq!(seen(job, job.len()).due_ms, Some(2_000));
        assert_eq!(seen("[]", 2).name, None);
    }
}
