//! Lanes, in which jobs wait.

use std::fmt;
use std::sync::Arc;

/// The name of the lane of large jobs.
const LARGE: &str = "large";

/// Prefix of the name of a plugin's lane.
const PLUGIN: &str = "plugin:";

/// Prefix of the name of the lane of a paused job name.
const JOB: &str = "job:";

/// Prefix of the name of a group of lanes, whose jobs wait for limits across hosts.
const LIMITS: &str = "limits:";

/// What separates a group's name from that of one of its lanes. No file's stem has it.
const OF_GROUP: char = '/';

/// A lane of a queue: the jobs of it that wait for the same thing, in their order. Or a *group* of lanes: those of the jobs
/// that wait for the limits of one plugin. A host takes from a group as it takes from a lane, and the store finds the lane
/// whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(Arc<str>);

impl Lane {
    /// The lane of the jobs that wait for a plugin, named by its file's stem. There are no more such lanes than
    /// operators deploy plugins.
    #[must_use]
    pub fn of_plugin(stem: &str) -> Self {
        Self(format!("{PLUGIN}{stem}").into())
    }

    /// The lane of the jobs that are larger than the memory which their host has for them.
    #[must_use]
    pub fn of_large() -> Self {
        Self(LARGE.into())
    }

    /// The lane of the jobs of this name, which an operator has paused. There are no more such lanes than names that
    /// operators pause.
    #[must_use]
    pub fn of_job(name: &str) -> Self {
        Self(format!("{JOB}{name}").into())
    }

    /// The group of the lanes of a plugin's limits, the plugin named by its file's stem.
    #[must_use]
    pub fn of_group(stem: &str) -> Self {
        Self(format!("{LIMITS}{stem}").into())
    }

    /// The lane of the jobs that count against the same limits of a plugin. `caps` names these.
    #[must_use]
    pub fn of_limits(stem: &str, caps: &str) -> Self {
        Self(format!("{LIMITS}{stem}{OF_GROUP}{caps}").into())
    }

    /// The plugin whose limits its jobs wait for; none if it is of another kind.
    #[must_use]
    pub fn limited(&self) -> Option<&str> {
        let rest = self.0.strip_prefix(LIMITS)?;
        Some(rest.split_once(OF_GROUP).map_or(rest, |(stem, _)| stem))
    }

    /// What its jobs count against; none if it is of another kind, or a group.
    #[must_use]
    pub fn caps(&self) -> Option<&str> {
        Some(self.0.strip_prefix(LIMITS)?.split_once(OF_GROUP)?.1)
    }

    /// The group that it belongs to; of another kind: itself.
    #[must_use]
    pub fn group(&self) -> Self {
        match (self.limited(), self.caps()) {
            (Some(stem), Some(_)) => Self::of_group(stem),
            _ => self.clone(),
        }
    }

    /// The job name whose resumption its jobs wait for; none if it is of another kind.
    #[must_use]
    pub fn job(&self) -> Option<&str> {
        self.0.strip_prefix(JOB)
    }

    /// Whether its jobs wait for room.
    #[must_use]
    pub fn is_of_large(&self) -> bool {
        &*self.0 == LARGE
    }

    /// The plugin that its jobs wait for, by its file's stem; none if it is of another kind.
    #[must_use]
    pub fn plugin(&self) -> Option<&str> {
        self.0.strip_prefix(PLUGIN)
    }

    /// The name, as the store has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// For names that come from the store.
impl From<String> for Lane {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
