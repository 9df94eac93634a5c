//! `kiln:flow`: jobs that a handler enqueues, as far as the manifest grants it.
//!
//! Nothing is pushed from here: what was enqueued is handed over with the outcome of the attempt, and whoever settles the job
//! pushes it with the acknowledgement.

mod grant;

use wasmtime::Result;
use wasmtime::component::{HasData, Linker};

use super::denied::Denied;
use super::offer::{Interfaces, Offer};
use crate::config::{Grants, Limit, Limits};
use crate::job::{JobSpec, Parent};
use crate::outcome::FollowUp;
use crate::sandbox::bindings::exports::kiln::job::handler::Job;
use crate::sandbox::bindings::kiln::flow::jobs::{self, Error, ErrorKind};
use crate::text;
use grant::JobsGrant;
pub(super) use grant::granted;

/// This capability's key below `[grants]`.
pub(super) const KEY: &str = grant::KEY;

/// Counted for each job beside its name, payload and the like: what the host adds, and its record.
const OVERHEAD_BYTES: usize = 512;

pub(super) const OFFERS: &[Interfaces] = &[Interfaces {
    package: "kiln:flow",
    version: "0.1",
    names: &["jobs"],
    offer: Offer::ByGrant(KEY),
}];

/// Which jobs a plugin may enqueue, and how many: the same for all of its attempts.
pub(super) struct JobsRules {
    grant: Option<JobsGrant>,
    most: u32,
    bytes: usize,
    depth: u32,
}

impl JobsRules {
    pub(super) fn new(grants: &Grants, limits: &Limits) -> std::result::Result<Self, String> {
        Ok(Self {
            grant: grant::read(grants)?,
            most: limits.count(Limit::FollowUps),
            bytes: limits.size(Limit::FollowUpBytes),
            depth: limits.count(Limit::FollowUpDepth),
        })
    }

    /// Refuses a job that is not granted: one of another name, or for another queue. `own` is the queue of the attempt's job.
    fn check(&self, name: &str, queue: Option<&str>, own: &str) -> std::result::Result<(), Denied> {
        let has = |covers: &dyn Fn(&JobsGrant) -> bool| self.grant.as_ref().is_some_and(covers);
        if !has(&|grant| grant.has_name(name)) {
            let shown = text::name(name);
            let what = format!("job \"{shown}\": not granted; add it to names in [grants.jobs] of");
            return Err(Denied::new(KEY, what));
        }
        match queue.filter(|queue| *queue != own && !has(&|grant| grant.has_queue(queue))) {
            Some(queue) => {
                let shown = text::name(queue);
                let what = format!("a job into queue \"{shown}\": not granted; add it to queues in [grants.jobs] of");
                Err(Denied::new(KEY, what))
            }
            None => Ok(()),
        }
    }
}

/// What one attempt has enqueued.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// The attempt's own job; none where nothing is granted.
    parent: Option<Parent>,
    calls: u32,
    enqueued: Vec<FollowUp>,
    bytes: usize,
}

impl Jobs {
    pub(super) fn new(rules: &JobsRules, job: &Job) -> Self {
        let parent = || Parent::new(&job.id, &job.queue, &job.metadata);
        Self {
            parent: rules.grant.is_some().then(parent),
            ..Self::default()
        }
    }

    pub(super) fn view<'a>(&'a mut self, rules: &'a JobsRules) -> View<'a> {
        View { rules, jobs: self }
    }

    /// What is to be pushed if the attempt has completed the job.
    pub(super) fn take(&mut self) -> Vec<FollowUp> {
        std::mem::take(&mut self.enqueued)
    }
}

/// Serves a handler's calls: the attempt's [`Jobs`], and the plugin's rules.
pub(super) struct View<'a> {
    rules: &'a JobsRules,
    jobs: &'a mut Jobs,
}

type Answer = std::result::Result<String, Error>;

impl jobs::Host for View<'_> {
    fn enqueue(&mut self, name: String, payload: String, options: Option<String>) -> Result<Answer> {
        let Some(parent) = &self.jobs.parent else {
            self.rules.check(&name, None, "")?;
            return Ok(Err(error(ErrorKind::Invalid, "nothing is granted")));
        };
        self.rules.check(&name, None, parent.queue())?;
        // Each call counts, so that a handler which does the same does so with the same ids.
        self.jobs.calls = self.jobs.calls.saturating_add(1);
        if let Err(err) = bounded(
            self.rules,
            self.jobs,
            parent,
            payload.len() + options.as_ref().map_or(0, String::len),
        ) {
            return Ok(Err(err));
        }
        let spec = match JobSpec::new(&name, payload, options.as_deref()) {
            Ok(spec) => spec,
            Err(why) => return Ok(Err(error(ErrorKind::Invalid, &why))),
        };
        for (name, queue) in spec.pushed() {
            self.rules.check(name, queue, parent.queue())?;
        }
        let follow_up = match spec.enqueued_by(parent, self.jobs.calls) {
            Ok(follow_up) => follow_up,
            Err(why) => return Ok(Err(error(ErrorKind::Invalid, &why))),
        };
        let bytes = self.jobs.bytes + follow_up.bytes() + OVERHEAD_BYTES;
        if bytes > self.rules.bytes {
            return Ok(Err(too_large()));
        }
        let id = follow_up.id.clone();
        self.jobs.bytes = bytes;
        self.jobs.enqueued.push(follow_up);
        Ok(Ok(id))
    }
}

/// Whether the attempt may enqueue a job of that length, before anything of it is read.
fn bounded(rules: &JobsRules, jobs: &Jobs, parent: &Parent, len: usize) -> std::result::Result<(), Error> {
    if parent.depth() >= rules.depth {
        let message = format!(
            "this job is {} follow-ups away from the first, and follow_up_depth is {}",
            parent.depth(),
            rules.depth
        );
        return Err(error(ErrorKind::TooDeep, &message));
    }
    if jobs.calls > rules.most {
        return Err(error(ErrorKind::TooMany, "more jobs than follow_ups"));
    }
    if jobs.bytes + len + OVERHEAD_BYTES > rules.bytes {
        return Err(too_large());
    }
    Ok(())
}

fn too_large() -> Error {
    error(
        ErrorKind::TooLarge,
        "all that is enqueued has more bytes than follow_up_bytes",
    )
}

fn error(kind: ErrorKind, message: &str) -> Error {
    Error {
        kind,
        message: text::message(message, text::MAX_LINE_BYTES).into_owned(),
    }
}

/// Makes a [`View`] of an attempt's data.
struct OfAttempt;

impl HasData for OfAttempt {
    type Data<'a> = View<'a>;
}

pub(super) fn link<T: Send>(linker: &mut Linker<T>, view: fn(&mut T) -> View<'_>) -> Result<()> {
    jobs::add_to_linker::<_, OfAttempt>(linker, view)
}
