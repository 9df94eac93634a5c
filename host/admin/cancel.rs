//! Cancelling jobs: by their ids, wherever they are, and by name and age.
//!
//! A mark by the job's id is all that is written. Hosts obey it: they interrupt what runs, and end what they come to. So
//! nothing here searches for one job. Cancelling by name and age reads the jobs of a queue once, to learn their ids.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::AdminError;
use super::lanes::{MAX_LANES_READ, lanes_of};
use crate::job::Label;
use crate::outcome::Lane;
use crate::queue::{CANCELLED_FOR, MARKED_AT_ONCE, Part, QueueError, QueueName, Search, Seen, Store, cancellable};

/// What was done about one id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Marked {
    /// The job's id.
    pub id: String,
    /// The queues in which it is cancelled now, or is no longer.
    pub queues: Vec<String>,
    /// Whether it was cancelled before, in any of them.
    pub was_cancelled: bool,
    /// Whether a result of it is kept: it has completed.
    pub has_completed: bool,
}

/// Selects jobs that have not ended, and meet every condition given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// The job's name.
    pub name: Option<String>,
    /// How long ago it was created at least, in milliseconds.
    pub older_than_ms: Option<u64>,
}

/// How far a look through queues has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// Jobs looked at.
    pub seen: u64,
    /// Jobs there were at the start.
    pub of: u64,
    /// Jobs that the filter holds for, and that have an id.
    pub matching: u64,
    /// Jobs that may be meant, but have no id of 1 to 256 bytes, do not say when they were created, or are too large to be
    /// looked through.
    pub untold: u64,
    /// Whether the caller broke it off.
    pub broken_off: bool,
}

/// The queues in which jobs are cancelled where none is named: all that are known.
///
/// # Errors
/// When there is none, or the store fails.
pub async fn all_queues(store: &Store) -> Result<Vec<QueueName>, AdminError> {
    let found = store.queues(Search::Brief).await?;
    if found.queues.is_empty() {
        return Err(AdminError::NoQueue);
    }
    Ok(found.queues)
}

/// Cancels the jobs with these ids: in each of the queues, wherever they are there. Takes effect on every host within
/// 100 ms, and for 24 hours after the last of them falls due.
///
/// # Errors
/// When the store fails, or a queue has as many cancelled jobs as may be; some of the jobs may then be cancelled.
pub async fn cancel(store: &Store, queues: &[QueueName], ids: &[String]) -> Result<Vec<Marked>, AdminError> {
    let mut marked = nothing_yet(ids);
    for queue in queues {
        let (mut were, mut full) = (Vec::with_capacity(ids.len()), None);
        for some in ids.chunks(MARKED_AT_ONCE) {
            match mark(store, queue, some, CANCELLED_FOR, were.len()).await {
                Ok(some) => were.extend(some),
                Err(err) => {
                    full = Some(err);
                    break;
                }
            }
        }
        outlast_delays(store, queue, &ids[..were.len()]).await?;
        if let Some(err) = full {
            return Err(err.into());
        }
        for (marked, was) in marked.iter_mut().zip(were) {
            marked.queues.push(queue.to_string());
            marked.was_cancelled |= was;
        }
    }
    for marked in &mut marked {
        marked.has_completed = store.result(&marked.id).await?.is_some();
    }
    Ok(marked)
}

/// Undoes [`cancel`] for jobs that no host has come to yet. What was interrupted is in the failed list.
///
/// # Errors
/// When the store fails.
pub async fn undo(store: &Store, queues: &[QueueName], ids: &[String]) -> Result<Vec<Marked>, AdminError> {
    let mut marked = nothing_yet(ids);
    for queue in queues {
        let were = store.uncancel(queue, ids).await?;
        for (marked, was) in marked.iter_mut().zip(were) {
            marked.queues.extend(was.then(|| queue.to_string()));
            marked.was_cancelled |= was;
        }
    }
    Ok(marked)
}

/// Undoes every cancel in these queues, and returns how many there were.
///
/// # Errors
/// When the store fails.
pub async fn undo_all(store: &Store, queues: &[QueueName]) -> Result<u64, AdminError> {
    let mut undone = 0;
    for queue in queues {
        let ids: Vec<_> = store.cancelled(queue).await?.marks.into_keys().collect();
        let were = store.uncancel(queue, &ids).await?;
        undone += were.into_iter().filter(|was| *was).count() as u64;
    }
    Ok(undone)
}

/// Cancels the jobs of these queues that a filter holds for, or only counts them. Looks at each job that there is at the
/// start, in steps of some hundreds; one that moves on meanwhile is looked at where it comes to, unless it moves back.
/// `progress` is called after each step, and may break off.
///
/// # Errors
/// When the store fails, or a queue has as many cancelled jobs as may be: what `progress` was told of is done then.
pub async fn cancel_matching(
    store: &Store,
    queues: &[QueueName],
    filter: &Filter,
    only_count: bool,
    mut progress: impl FnMut(Looked) -> ControlFlow<()>,
) -> Result<Looked, AdminError> {
    let (mut looked, now) = (Looked::default(), store.now().await?);
    let mut parts = Vec::new();
    for queue in queues {
        let counts = store.counts(queue).await?;
        looked.of += counts.ready + counts.waiting + counts.delayed + counts.in_flight;
        // In the order in which jobs move on.
        let mut lanes = Vec::new();
        for lane in counts.lanes.into_keys().map(Lane::from) {
            let Some(stem) = lane.limited().map(str::to_owned) else {
                lanes.push(Part::Lane(lane));
                continue;
            };
            let (of_group, _) = lanes_of(store, queue, &lane, MAX_LANES_READ).await?;
            lanes.extend(
                of_group
                    .into_iter()
                    .map(|seen| Part::Lane(Lane::of_limits(&stem, &seen.lane))),
            );
        }
        let hosts = counts.hosts.into_keys().map(Part::InFlight);
        let of_queue = [Part::Delayed, Part::Ready].into_iter().chain(lanes).chain(hosts);
        parts.extend(of_queue.map(|part| (queue, part)));
    }
    for (queue, part) in parts {
        let mut from = None;
        loop {
            let page = store.jobs(queue, &part, from.as_deref()).await?;
            let (ids, due_ms) = chosen(&page.jobs, filter, now, &mut looked);
            if !only_count && !ids.is_empty() {
                let before = usize::try_from(looked.matching).unwrap_or(usize::MAX) - ids.len();
                mark(store, queue, &ids, lasting(due_ms, now), before).await?;
            }
            looked.of = looked.of.max(looked.seen);
            looked.broken_off = progress(looked).is_break();
            from = page.next;
            if looked.broken_off {
                return Ok(looked);
            }
            if from.is_none() {
                break;
            }
        }
    }
    Ok(looked)
}

fn nothing_yet(ids: &[String]) -> Vec<Marked> {
    let one = |id: &String| Marked {
        id: id.clone(),
        queues: Vec::new(),
        was_cancelled: false,
        has_completed: false,
    };
    ids.iter().map(one).collect()
}

/// Marks jobs, after `before` others.
async fn mark(
    store: &Store,
    queue: &QueueName,
    ids: &[String],
    lasts: Duration,
    before: usize,
) -> Result<Vec<bool>, QueueError> {
    store.cancel(queue, ids, lasts).await.map_err(|err| match err {
        QueueError::Full { .. } => QueueError::MarksFull {
            queue: queue.clone(),
            marked: before,
        },
        err => err,
    })
}

/// Lets the marks of jobs that fall due late last until after that.
async fn outlast_delays(store: &Store, queue: &QueueName, ids: &[String]) -> Result<(), QueueError> {
    let (now, ids) = (
        store.now().await?,
        ids.iter().map(String::as_str).collect::<BTreeSet<_>>(),
    );
    let late_ms = now
        .saturating_add(CANCELLED_FOR)
        .unwrap_or(Timestamp::MAX)
        .as_millisecond();
    let mut from = None;
    loop {
        // The latest come first.
        let page = store.jobs(queue, &Part::Delayed, from.as_deref()).await?;
        let late = page.jobs.iter().take_while(|seen| seen.due_ms >= Some(late_ms));
        let late: Vec<_> = late.collect();
        for seen in &late {
            let id = Label::of(&seen.job.bytes).id;
            if let Some(id) = id.filter(|id| ids.contains(id.as_str())) {
                store.cancel(queue, &[id], lasting(seen.due_ms, now)).await?;
            }
        }
        from = page.next;
        if from.is_none() || late.len() < page.jobs.len() {
            return Ok(());
        }
    }
}

/// How long a mark has to last for a job that falls due then.
fn lasting(due_ms: Option<i64>, now: Timestamp) -> Duration {
    let left_ms = due_ms.unwrap_or(0).saturating_sub(now.as_millisecond());
    CANCELLED_FOR + Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
}

/// The ids of the jobs of a page that the filter holds for, and when the last of them falls due.
fn chosen(jobs: &[Seen], filter: &Filter, now: Timestamp, looked: &mut Looked) -> (Vec<String>, Option<i64>) {
    let (mut ids, mut latest) = (Vec::new(), None);
    for seen in jobs {
        looked.seen += 1;
        let label = Label::of(&seen.job.bytes);
        let is_cut = seen.job.bytes.len() < seen.job.len;
        match filter.holds(&label, now) {
            Some(false) => {}
            None if !is_cut && label.name.is_none() => {}
            None => looked.untold += 1,
            Some(true) => match label.id.as_deref().map(cancellable) {
                Some(Ok(id)) => {
                    looked.matching += 1;
                    latest = latest.max(seen.due_ms);
                    ids.push(id);
                }
                _ => looked.untold += 1,
            },
        }
    }
    (ids, latest)
}

impl Filter {
    /// None: the job does not say enough.
    fn holds(&self, job: &Label, now: Timestamp) -> Option<bool> {
        if let Some(name) = &self.name
            && name != job.name.as_ref()?
        {
            return Some(false);
        }
        let Some(age_ms) = self.older_than_ms else {
            return Some(true);
        };
        let created: Timestamp = job.created_at.as_ref()?.parse().ok()?;
        let age = SignedDuration::from_millis(i64::try_from(age_ms).unwrap_or(i64::MAX));
        Some(now.duration_since(created) >= age)
    }
}
