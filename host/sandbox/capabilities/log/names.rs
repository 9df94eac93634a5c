//! Whose handler speaks.

use crate::job;
use crate::sandbox::bindings::exports::kiln::job::handler::Job;
use crate::text;

/// A job's id, name and queue, as they stand in every event: bounded, since each line repeats them, and in one allocation,
/// since every attempt makes them.
pub(super) struct Names {
    all: String,
    /// Where the id ends, and where the name does.
    ends: [usize; 2],
    trace_id: Option<String>,
}

impl Names {
    pub(super) fn of(job: &Job) -> Self {
        let parts = [&job.id, &job.name, &job.queue].map(|part| text::name(part));
        let id = parts[0].len();
        let ends = [id, id + parts[1].len()];
        Self {
            all: parts.concat(),
            ends,
            trace_id: job::trace_id(&job.metadata),
        }
    }

    /// The id of the trace that the job belongs to.
    pub(super) fn trace_id(&self) -> Option<&str> {
        self.trace_id.as_deref()
    }

    pub(super) fn id(&self) -> &str {
        &self.all[..self.ends[0]]
    }

    pub(super) fn name(&self) -> &str {
        &self.all[self.ends[0]..self.ends[1]]
    }

    pub(super) fn queue(&self) -> &str {
        &self.all[self.ends[1]..]
    }
}
