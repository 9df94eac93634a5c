//! What the pages and the API work with.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::guard::{Caller, Guard, Role};
use super::live::{Local, Sampler};
use super::pages::filter_in_words;
use super::problem::Problem;
use super::redaction::Redaction;
use super::trials::{Asked, Record, Trials};
use super::words;
use crate::admin::AdminError;
use crate::admin::audit::{self, Deed};
use crate::admin::bulk::{Bulk, Bulks};
use crate::admin::cancel::{self, Marked};
use crate::admin::edit::{self, Edited};
use crate::admin::facts::Facts;
use crate::admin::failed::{Act, Filter, work_on};
use crate::admin::hosts;
use crate::admin::index::FailedIndex;
use crate::admin::job::Look;
use crate::admin::plugins::{self, Hosts};
use crate::admin::schedules::{self, Listed, Pushed};
use crate::queue::{FailedEntry, Fate, Store, cancellable};

/// How long an index is in the making before pages wait for it no more.
const INDEX_TIME: Duration = Duration::from_millis(150);

/// Everything that is shared by all who ask.
pub(super) struct Room {
    pub(super) store: Store,
    /// The store's address, without a password.
    pub(super) store_name: String,
    pub(super) sampler: Arc<Sampler>,
    pub(super) index: Arc<FailedIndex>,
    pub(super) bulks: Arc<Bulks>,
    pub(super) trials: Trials,
    pub(super) guard: Arc<Guard>,
    pub(super) redaction: Redaction,
    /// Where a trace can be looked at, with `{trace_id}` in it.
    pub(super) trace_link: Option<String>,
    /// The worker in this process, if there is one.
    pub(super) local: Option<Local>,
}

pub(super) type Shared = Arc<Room>;

/// A failed entry, as addresses name it.
#[derive(Debug, Clone)]
pub(super) enum Which {
    /// The newest of the job with this id.
    Job(String),
    /// The one that the index gives this name.
    Entry(String),
}

/// From an address with `{id}` or `{entry}` in it.
impl<S: Send + Sync> FromRequestParts<S> for Which {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let wrong = |why: String| Problem::bad(why);
        let named = RawPathParams::from_request_parts(parts, state).await;
        let named = named.map_err(|err| wrong(err.to_string()))?;
        let which = named.iter().find_map(|(key, name)| match key {
            "id" => Some(Self::Job(name.to_owned())),
            "entry" => Some(Self::Entry(name.to_owned())),
            _ => None,
        });
        which.ok_or_else(|| wrong("that address names no failed job".to_owned()))
    }
}

impl Which {
    /// Its page.
    pub(super) fn path(&self) -> String {
        match self {
            Self::Job(id) => format!("/jobs/{}", words::part(id)),
            Self::Entry(name) => format!("/entries/{}", words::part(name)),
        }
    }
}

impl Room {
    pub(super) async fn entry(&self, which: &Which) -> Result<FailedEntry, AdminError> {
        match which {
            Which::Job(id) => self.index.entry(id).await,
            Which::Entry(name) => self.index.entry_named(name).await,
        }
    }

    /// How to look for a job: what the index and the sample have is not read again.
    pub(super) async fn look(&self) -> Look {
        Look {
            without_failed: true,
            hosts: self.hosts().await,
            ..Look::default()
        }
    }

    /// The schedules of all workers.
    pub(super) async fn schedules(&self) -> Result<Vec<Listed>, AdminError> {
        match self.hosts().await {
            Some(hosts) => schedules::list_of(&self.store, &hosts).await,
            None => schedules::list(&self.store).await,
        }
    }

    /// What hosts reported last; none: they have not been asked.
    async fn hosts(&self) -> Option<Hosts> {
        let sample = self.sampler.latest().await?;
        sample.fleet.is_read.then(|| sample.fleet.hosts.clone())
    }

    /// Waits a moment for an index that is still being made, so that the first page of a short list has all of it.
    pub(super) async fn settle_index(&self) {
        let Some(time) = INDEX_TIME.checked_sub(self.index.age()) else {
            return;
        };
        if self.index.coverage().building && self.bulks.running().is_none() {
            // Whatever keeps it from being made is told by the sample.
            let _ = timeout(time, self.index.follow(time)).await;
        }
    }

    /// Begins to do something to every failed entry that a filter holds for.
    pub(super) async fn begin_bulk(&self, caller: &Caller, act: Act, filter: Filter) -> Result<Arc<Bulk>, Problem> {
        caller.needs(needed(&act))?;
        let chosen = match filter_in_words(&filter) {
            all if all.is_empty() => "every failed job".to_owned(),
            some => format!("every failed job with {some}"),
        };
        let (verb, what) = (act.name(), chosen + &goal(&act));
        let claim = self.bulks.claim(act, filter, &caller.name)?;
        self.record(&caller.name, verb, &what).await?;
        Ok(claim.begin(self.store.clone(), Arc::clone(&self.index)))
    }

    /// Puts a failed entry back, moves or deletes it. The API and the pages tell what came of it in their own ways.
    pub(super) async fn work_on_one(&self, caller: &Caller, which: &Which, act: &Act) -> Result<Fate, Problem> {
        caller.needs(needed(act))?;
        let entry = self.entry(which).await?;
        if *act != Act::Delete && entry.job().is_err() {
            return Ok(Fate::Stays);
        }
        let (mark, id) = (entry.mark(), entry.job().map_or("", |job| job.id.as_str()));
        let what = format!("failed job {id}{}", goal(act));
        self.record(&caller.name, act.name(), &what).await?;
        let fate = work_on(&self.store, entry, act).await?;
        if fate == Fate::Taken {
            self.index.forget(&[mark].into());
        }
        Ok(fate)
    }

    /// Pushes a failed job with another payload, under a new id, and then deletes its entry.
    pub(super) async fn retry_edited(
        &self,
        caller: &Caller,
        which: &Which,
        payload: Box<RawValue>,
    ) -> Result<Edited, Problem> {
        let entry = self.entry(which).await?;
        let (mark, id) = (entry.mark(), entry.job().map_or("", |job| job.id.as_str()).to_owned());
        let what = format!("failed job {id}, with another payload");
        self.record(&caller.name, "retry", &what).await?;
        let edited = edit::retry_edited(&self.store, entry, payload).await?;
        if edited.original == Fate::Taken {
            self.index.forget(&[mark].into());
        }
        Ok(edited)
    }

    /// Cancels the jobs with this id wherever they are, or undoes that.
    pub(super) async fn cancel(&self, caller: &Caller, id: &str, undo: bool) -> Result<Marked, Problem> {
        let id = cancellable(id).map_err(Problem::bad)?;
        let queues = cancel::all_queues(&self.store).await?;
        let verb = if undo { "undo cancel" } else { "cancel" };
        self.record(&caller.name, verb, &format!("job {id}")).await?;
        let ids = [id];
        let mut marked = if undo {
            cancel::undo(&self.store, &queues, &ids).await?
        } else {
            cancel::cancel(&self.store, &queues, &ids).await?
        };
        marked.pop().ok_or_else(|| Problem::missing("no such job"))
    }

    /// Has a host drain.
    pub(super) async fn drain(&self, caller: &Caller, host: &str) -> Result<(), Problem> {
        caller.needs(Role::Admin)?;
        self.record(&caller.name, "drain", &format!("host {host}")).await?;
        Ok(hosts::drain(&self.store, host, &caller.name).await?)
    }

    /// Pushes the job of a schedule now.
    pub(super) async fn run_schedule(&self, caller: &Caller, name: &str) -> Result<Pushed, Problem> {
        self.record(&caller.name, "run", &format!("schedule {name}")).await?;
        Ok(schedules::run(&self.store, name).await?)
    }

    /// Begins to try a failed entry on another component.
    pub(super) async fn try_one(&self, caller: &Caller, which: &Which, asked: Asked) -> Result<Arc<Record>, Problem> {
        caller.needs(Role::Admin)?;
        let entry = self.entry(which).await?;
        let id = entry.job().map_or_else(|_| String::new(), |job| job.id.clone());
        let plugin = Facts::of(&entry).cause.plugin;
        let what = match (&asked.component, asked.sends) {
            (None, false) => "on what serves now",
            (None, true) => "on what serves now, and sends its requests",
            (Some(_), false) => "on a component of their own",
            (Some(_), true) => "on a component of their own, and sends its requests",
        };
        let claim = self.trials.begin(entry, &plugin, asked, &caller.name)?;
        self.record(&caller.name, "try", &format!("failed job {id} {what}"))
            .await?;
        Ok(claim.begin())
    }

    /// Has the hosts that set a plugin aside serve with it again, and returns how many they are.
    pub(super) async fn release(&self, caller: &Caller, plugin: &str) -> Result<u64, Problem> {
        self.record(&caller.name, "release", &format!("plugin {plugin}"))
            .await?;
        let here = self.local.as_ref().is_some_and(|local| local.release(plugin));
        match plugins::release(&self.store, plugin).await {
            Err(AdminError::NotAside(_)) if here => Ok(1),
            asked => Ok(asked?),
        }
    }

    /// Records that somebody does something. It is not done if it cannot be recorded.
    pub(super) async fn record(&self, by: &str, act: &str, what: &str) -> Result<(), AdminError> {
        audit::record(&self.store, &Deed::now(by, act, what)).await
    }
}

/// Who may do this to failed jobs.
pub(super) fn needed(act: &Act) -> Role {
    match act {
        Act::Retry | Act::Move(_) => Role::Operator,
        Act::Delete => Role::Admin,
    }
}

/// Where jobs go that are moved, as the record of deeds tells it.
fn goal(act: &Act) -> String {
    act.to().map(|to| format!(", to queue {to}")).unwrap_or_default()
}
