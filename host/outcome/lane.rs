//! Lanes, in which jobs wait.

use std::fmt;
use std::sync::Arc;

/// The name of the lane of large jobs.
const LARGE: &str = "large";

/// Prefix of the name of a plugin's lane.
const PLUGIN: &str = "plugin:";

/// A lane of a queue: the jobs of it that wait for the same thing, in their order.
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
