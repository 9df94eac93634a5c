//! Work on everything in the failed list that a filter holds for, done by the process that serves operators: it goes on when
//! they close their browser, can be watched by all of them, and broken off by any.
//!
//! One at a time: two would only move the list's border away from each other. What was done is known to this process alone,
//! and forgotten when it ends; the jobs are where the list says they are.

use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use super::AdminError;
use super::failed::{self, Act, Choice, Filter, Progress, Worked};
use super::index::FailedIndex;
use crate::job::new_id;
use crate::queue::Store;

/// Pieces of work that are remembered.
pub const MAX_REMEMBERED: usize = 100;

/// How often the index is told what is gone.
const FORGET_INTERVAL: Duration = Duration::from_millis(500);

/// Pieces of work on one store's failed list.
#[derive(Debug, Default)]
pub struct Bulks(Mutex<VecDeque<Arc<Bulk>>>);

/// One piece of work.
#[derive(Debug)]
pub struct Bulk {
    /// Names it in addresses and requests.
    pub id: String,
    /// What is done.
    pub act: Act,
    /// To which entries.
    pub filter: Filter,
    /// Who asked for it; may be empty.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
    began: Instant,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    progress: Progress,
    abort: bool,
    ended: Option<(Duration, Result<bool, String>)>,
}

/// How a piece of work is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    /// Names it.
    pub id: String,
    /// What is done: `act`, and of a move `to`.
    #[serde(flatten)]
    pub act: Act,
    /// To which entries.
    pub filter: Filter,
    /// Who asked for it; may be empty.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
    /// `running`, `done`, `aborted` or `failed`.
    pub state: &'static str,
    /// How far it is.
    pub progress: Progress,
    /// For how long it has run, or ran.
    pub took_ms: u64,
    /// Why it failed.
    pub error: Option<String>,
}

impl State {
    /// Whether it is under way.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }
}

impl Bulk {
    /// How it is doing.
    #[must_use]
    pub fn state(&self) -> State {
        let now = self.now.lock();
        let (state, error) = match &now.ended {
            None => ("running", None),
            Some((_, Ok(false))) => ("done", None),
            Some((_, Ok(true))) => ("aborted", None),
            Some((_, Err(why))) => ("failed", Some(why.clone())),
        };
        let took = now
            .ended
            .as_ref()
            .map_or_else(|| self.began.elapsed(), |(took, _)| *took);
        State {
            id: self.id.clone(),
            act: self.act.clone(),
            filter: self.filter.clone(),
            by: self.by.clone(),
            at: self.at.clone(),
            state,
            progress: now.progress,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            error,
        }
    }

    /// Has it end after the step under way. What is done stays done.
    pub fn abort(&self) {
        self.now.lock().abort = true;
    }

    fn told(&self, progress: Progress) -> ControlFlow<()> {
        let mut now = self.now.lock();
        now.progress = progress;
        if now.abort {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn end(&self, worked: Result<Worked, AdminError>) {
        let ended = worked.map(|worked| worked.broken_off).map_err(|err| err.to_string());
        self.now.lock().ended = Some((self.began.elapsed(), ended));
    }
}

/// The right to the one piece of work that may be under way.
#[derive(Debug)]
pub struct Claim {
    bulks: Arc<Bulks>,
    bulk: Arc<Bulk>,
    begun: bool,
}

impl Claim {
    /// Begins the work. It goes on by itself.
    #[must_use]
    pub fn begin(mut self, store: Store, index: Arc<FailedIndex>) -> Arc<Bulk> {
        self.begun = true;
        tokio::spawn(work(store, index, Arc::clone(&self.bulk)));
        Arc::clone(&self.bulk)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.begun {
            self.bulks.0.lock().retain(|other| !Arc::ptr_eq(other, &self.bulk));
        }
    }
}

impl Bulks {
    /// Takes the place for a piece of work. It begins with [`Claim::begin`]; if that is not called, nothing was.
    ///
    /// # Errors
    /// When other work is under way, or the filter is one that the list cannot answer.
    pub fn claim(self: &Arc<Self>, act: Act, filter: Filter, by: &str) -> Result<Claim, AdminError> {
        if filter.names_others() {
            return Err(AdminError::NotApart);
        }
        let bulk = Arc::new(Bulk {
            id: new_id(),
            act,
            filter,
            by: by.to_owned(),
            at: format!("{:.0}", Timestamp::now()),
            began: Instant::now(),
            now: Mutex::default(),
        });
        let mut all = self.0.lock();
        if all.iter().any(|bulk| bulk.state().is_running()) {
            return Err(AdminError::Busy);
        }
        all.push_front(Arc::clone(&bulk));
        all.truncate(MAX_REMEMBERED);
        Ok(Claim {
            bulks: Arc::clone(self),
            bulk,
            begun: false,
        })
    }

    /// The work of this id, while it is remembered.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Arc<Bulk>> {
        self.0.lock().iter().find(|bulk| bulk.id == id).cloned()
    }

    /// What is remembered, the latest first.
    #[must_use]
    pub fn list(&self) -> Vec<State> {
        self.0.lock().iter().map(|bulk| bulk.state()).collect()
    }

    /// The work under way.
    #[must_use]
    pub fn running(&self) -> Option<State> {
        self.list().into_iter().find(State::is_running)
    }
}

async fn work(store: Store, index: Arc<FailedIndex>, bulk: Arc<Bulk>) {
    let choice = Choice::Matching(bulk.filter.clone());
    let (mut gone, mut told) = (HashSet::new(), Instant::now());
    let progress = |progress: Progress, marks: &[u64]| {
        gone.extend(marks);
        if told.elapsed() > FORGET_INTERVAL {
            index.forget(&gone);
            gone.clear();
            told = Instant::now();
        }
        bulk.told(progress)
    };
    let worked = failed::work_gently(&store, &choice, &bulk.act, progress).await;
    index.forget(&gone);
    bulk.end(worked);
}
