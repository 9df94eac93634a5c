//! Sums that hosts add up over time: how many jobs of a queue were done, how many attempts of a plugin failed, and so on.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// Most sums of one span, and most of those of [waits](Of::Wait). Those of further queues and plugins are added to one sum of each kind, `_other`.
pub const MAX_SUMS: usize = 4_000;

/// The name under which what has no sums of its own is added up.
pub const OTHER: &str = "_other";

/// A length of time that has sums of its own. Spans begin at the multiples of their length since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// Kept for eight hours.
    Minute,
    /// Kept for 35 days.
    Hour,
    /// Kept for 400 days.
    Day,
}

/// Sums by their names.
pub type Sums = BTreeMap<Sum, u64>;

/// What is added up: `what` of a queue or a plugin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sum {
    /// Whose.
    pub of: Of,
    /// The queue's name, or the plugin's.
    pub name: String,
    /// What: a fate of jobs, an outcome of attempts, or what attempts took. Without a colon.
    pub what: String,
}

/// Whose a sum is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Of {
    /// A queue's.
    Queue,
    /// A plugin's.
    Plugin,
    /// How long a queue's jobs waited. These have room of their own, so that they never take that of the others.
    Wait,
}

impl Span {
    /// All, the shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Its length.
    #[must_use]
    pub fn length(self) -> Duration {
        match self {
            Self::Minute => Duration::from_mins(1),
            Self::Hour => Duration::from_hours(1),
            Self::Day => Duration::from_hours(24),
        }
    }

    /// For how long its sums are kept.
    #[must_use]
    pub fn kept(self) -> Duration {
        match self {
            Self::Minute => Duration::from_hours(8),
            Self::Hour => Duration::from_hours(35 * 24),
            Self::Day => Duration::from_hours(400 * 24),
        }
    }

    /// The number of the span that a time is in.
    #[must_use]
    pub fn number(self, time: Timestamp) -> i64 {
        time.as_second().div_euclid(self.seconds())
    }

    /// When the span of this number begins.
    #[must_use]
    pub fn begin(self, number: i64) -> Timestamp {
        Timestamp::from_second(number.saturating_mul(self.seconds())).unwrap_or(Timestamp::MAX)
    }

    fn seconds(self) -> i64 {
        i64::try_from(self.length().as_secs()).unwrap_or(i64::MAX)
    }
}

impl Sum {
    /// Its name in the store: `q:NAME:what`, `p:NAME:what` or `w:NAME:what`.
    pub(super) fn field(&self) -> String {
        let of = match self.of {
            Of::Queue => 'q',
            Of::Plugin => 'p',
            Of::Wait => 'w',
        };
        format!("{of}:{}:{}", self.name, self.what)
    }

    /// The same sum of what has none of its own.
    pub(super) fn other(&self) -> Self {
        Self {
            name: OTHER.to_owned(),
            ..self.clone()
        }
    }

    /// Reads a name of the store; none: another version of Kiln wrote it.
    pub(super) fn read(field: &str) -> Option<Self> {
        let (of, rest) = field.split_once(':')?;
        let (name, what) = rest.rsplit_once(':')?;
        let of = match of {
            "q" => Of::Queue,
            "p" => Of::Plugin,
            "w" => Of::Wait,
            _ => return None,
        };
        Some(Self {
            of,
            name: name.to_owned(),
            what: what.to_owned(),
        })
    }
}
