//! What happens in a host, told to whoever subscribes: the log, statistics, metrics, the benchmark.
//!
//! A subscriber is called where the event happens, on the same thread, right after the fact. Nothing is queued: a
//! subscriber that blocks holds up the job of the event. Without subscribers an event costs one atomic load.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::job::{Job, TraceContext};
use crate::outcome::{Attempt, FailureKind, Fate};

/// Something that happened.
///
/// Names and texts are passed as producers, guests and files wrote them: a subscriber that shows them must escape them
/// first, with [`text`](crate::text).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Jobs of a queue came into this host's hands. Their tags are `first_tag` and those that follow it.
    Fetched {
        /// Where from.
        queue: &'a str,
        /// The tag of the first.
        first_tag: u64,
        /// How many.
        jobs: usize,
    },
    /// An attempt begins.
    Started(Run<'a>),
    /// An attempt is over. Its outcome is known; the job is not settled yet.
    Ended {
        /// Which.
        run: Run<'a>,
        /// What it came to.
        attempt: &'a Attempt,
    },
    /// A job ends without an attempt: it came into this host's hands, and must not run.
    NotRun {
        /// The queue it was taken from.
        queue: &'a str,
        /// The job.
        job: &'a Job,
        /// Why not.
        why: FailureKind,
        /// The id of the job that runs in its place, if one does and its id is known.
        duplicate_of: Option<&'a str>,
    },
    /// The store has answered one message of settlements.
    Settled {
        /// The queue whose jobs they were.
        queue: &'a str,
        /// What was carried out: each delivery's tag, and what became of its job.
        settled: &'a [(u64, Fate)],
        /// The tags of deliveries that were no longer this host's to settle.
        refused: &'a [u64],
        /// Whether this message was sent before and its answer was lost. A refused settlement may then have been
        /// carried out the first time.
        again: bool,
    },
    /// Jobs were taken over from a host that died.
    Adopted {
        /// The queue whose jobs they are.
        queue: &'a str,
        /// The host that died.
        host: &'a str,
        /// How many. They may have started on that host, and are now this host's to settle.
        jobs: usize,
    },
    /// Due jobs were moved to the ready ones.
    Promoted {
        /// The queue whose jobs they are.
        queue: &'a str,
        /// How many.
        jobs: usize,
    },
    /// This host has pushed jobs of a schedule, or has had its instants pass: no other host did so for the same instants.
    Fired {
        /// The schedule.
        schedule: &'a str,
        /// The queue that they went to.
        queue: &'a str,
        /// How many.
        jobs: usize,
        /// The last of their instants.
        instant: Timestamp,
        /// How long after it the store was asked.
        late: Duration,
        /// How many more instants passed without a job, since the job of an earlier one has not ended.
        skipped: usize,
    },
    /// The store has answered, or has failed to. Told of a store that is [watched](crate::queue::Store::watched) only.
    StoreAsked {
        /// Which operation.
        operation: &'a str,
        /// How long the answer took; none where the operation waits for news.
        took: Option<Duration>,
        /// Whether it was an error.
        failed: bool,
    },
    /// This host's leases on some queues have ended, and the attempts under them were told to stop.
    LeaseLost {
        /// On which queues.
        queues: &'a [&'a str],
        /// How it was noticed.
        loss: LeaseLoss,
    },
    /// This host has heard that an operator paused something, or changed who paused it and why.
    Paused {
        /// What.
        what: Pausable<'a>,
        /// Who; may be empty.
        by: &'a str,
        /// Why; may be empty.
        reason: &'a str,
    },
    /// This host has heard that an operator resumed something.
    Resumed {
        /// What.
        what: Pausable<'a>,
    },
    /// The store cannot be used.
    StoreAway {
        /// The store's answer, or the error in reaching it.
        why: &'a str,
    },
    /// The store can be used again.
    StoreBack {
        /// For how long it could not.
        after: Duration,
    },
    /// A version of a plugin is in service.
    PluginLoaded(LoadedPlugin<'a>),
    /// The content of a plugin's file cannot be used. The version in service goes on serving.
    PluginRefused {
        /// The plugin.
        name: &'a str,
        /// Why.
        why: &'a str,
        /// The digest of the version in service; none if no version serves.
        in_service: Option<&'a str>,
    },
    /// A version of a plugin serves no longer, because too many of its attempts fail.
    PluginSetAside {
        /// Which.
        plugin: PluginVersion<'a>,
        /// What it did.
        why: &'a str,
        /// The digest of the version that serves in its place; none if there is none, and its jobs wait.
        instead: Option<&'a str>,
    },
    /// A plugin that was set aside serves again.
    PluginReleased {
        /// Which.
        name: &'a str,
    },
    /// A plugin whose file is gone serves no longer.
    PluginRemoved {
        /// Which.
        name: &'a str,
    },
}

/// What an operator can pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pausable<'a> {
    /// A queue, by its name.
    Queue(&'a str),
    /// All jobs of a name.
    Job(&'a str),
}

/// One attempt for a job.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The delivery's tag: no other delivery of this host has the same.
    pub tag: u64,
    /// The queue the job was taken from.
    pub queue: &'a str,
    /// The job, as it was before this attempt.
    pub job: &'a Job,
    /// When the job came into this host's hands.
    pub fetched: Instant,
    /// Whether it was taken from a lane, where it had waited for its plugin.
    pub from_lane: bool,
    /// What runs it.
    pub plugin: PluginVersion<'a>,
    /// Which attempt it is, counted from 1.
    pub attempt: u32,
    /// Attempts that the job has in all.
    pub max_attempts: u32,
    /// Its span, where requests of the handler carry it. None: whoever tells of it makes one up.
    pub span: Option<&'a TraceContext>,
}

impl Run<'_> {
    /// From when the job was due until it was fetched, which was `since` ago. None for a job that does not say when it was due.
    /// Clocks differ: a job that was fetched before its time did not wait.
    #[must_use]
    pub fn waited(&self, since: Duration) -> Option<Duration> {
        let due = self.job.available_at()?;
        let now = Timestamp::now().duration_since(due);
        Some(Duration::try_from(now).unwrap_or_default().saturating_sub(since))
    }
}

/// A version of a plugin.
#[derive(Debug, Clone, Copy)]
pub struct PluginVersion<'a> {
    /// The version's number in this process. Every version that is loaded gets a new one.
    pub number: u64,
    /// The plugin's name: its file's stem.
    pub name: &'a str,
    /// The first twelve digits of its content digest.
    pub digest: &'a str,
}

/// A version of a plugin that came into service.
#[derive(Debug, Clone, Copy)]
pub struct LoadedPlugin<'a> {
    /// Which.
    pub plugin: PluginVersion<'a>,
    /// What its manifest calls it.
    pub version: Option<&'a str>,
    /// The job names it handles.
    pub jobs: &'a [String],
    /// Length of its file.
    pub bytes: u64,
    /// How long it took to load.
    pub took: Duration,
    /// The digest of the version that it replaces.
    pub replaced: Option<&'a str>,
}

/// How a host notices that a lease is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseLoss {
    /// The lease could not be renewed in time. The attempts were stopped before it ended.
    NotRenewed,
    /// The store says that the lease had run out. Other hosts may have taken over its jobs.
    RanOut,
}

/// Receives events.
pub trait Subscriber: Send + Sync {
    /// Receives one event. Must neither block nor panic: the job that the event is about waits meanwhile.
    fn on(&self, event: &Event<'_>);
}

/// Passes events to subscribers. Clones share their subscribers.
#[derive(Clone, Default)]
pub struct Events(Arc<ArcSwap<Vec<Arc<dyn Subscriber>>>>);

impl Events {
    /// Adds a subscriber. It receives every event from now on, as long as any clone of this lives.
    pub fn subscribe(&self, subscriber: &Arc<impl Subscriber + 'static>) {
        self.0.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push(Arc::clone(subscriber) as Arc<dyn Subscriber>);
            all
        });
    }

    /// Whether there are subscribers. If not, an event need not be put together.
    #[must_use]
    pub fn are_heard(&self) -> bool {
        !self.0.load().is_empty()
    }

    /// Passes an event to all subscribers, in the order in which they subscribed.
    pub fn tell(&self, event: Event<'_>) {
        for subscriber in self.0.load().iter() {
            subscriber.on(&event);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("subscribers", &self.0.load().len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Subscriber for Heard {
        fn on(&self, event: &Event<'_>) {
            self.0.lock().push(format!("{event:?}"));
        }
    }

    #[test]
    fn clones_tell_the_same_subscribers_whenever_these_came() {
        let (events, heard) = (Events::default(), Arc::new(Heard::default()));
        let clone = events.clone();
        assert!(!clone.are_heard());
        clone.tell(Event::PluginRemoved { name: "early" });
        events.subscribe(&heard);
        assert!(clone.are_heard());
        clone.tell(Event::PluginRemoved { name: "late" });
        assert_eq!(*heard.0.lock(), [r#"PluginRemoved { name: "late" }"#]);
    }
}
