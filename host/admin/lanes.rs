//! The lanes in which jobs wait for limits across hosts.

use std::fmt;
use std::str::FromStr;

use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::AdminError;
use crate::outcome::Lane;
use crate::queue::{Found, LaneSeen, QueueError, QueueName, Search, Store};

/// Lanes that are read at most: of more, nobody looks at each.
pub const MAX_LANES_READ: usize = 200_000;

/// Queues counted at once.
const AT_ONCE: usize = 8;

/// The lanes of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Lanes {
    /// Those that hold jobs, the longest first.
    pub lanes: Vec<LaneFigure>,
    /// Whether these are all: no more are read than asked for.
    pub all: bool,
}

/// A lane that holds jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaneFigure {
    /// The queue.
    pub queue: String,
    /// The plugin whose limits its jobs wait for, by its file's stem.
    pub plugin: String,
    /// What of it there is to know.
    #[serde(flatten)]
    pub seen: LaneSeen,
}

/// What the jobs of a lane wait for, in words. Names in it are as operators and files wrote them.
#[must_use]
pub fn waits_for(lane: &str) -> String {
    let lane = Lane::from(lane.to_owned());
    match (lane.limited(), lane.plugin(), lane.job()) {
        (Some(plugin), ..) => format!("limits of {plugin}"),
        (_, Some(plugin), _) => format!("plugin {plugin}"),
        (.., Some(name)) => format!("paused job {name}"),
        _ if lane.is_of_large() => "room for large jobs".to_owned(),
        _ => lane.to_string(),
    }
}

/// Reads the lanes of some queues, or of all, and of one plugin, or of all: `most` of them, which are then not the longest of all.
///
/// # Errors
/// When the store fails.
pub async fn lanes(
    store: &Store,
    queues: &[QueueName],
    plugin: Option<&str>,
    most: usize,
) -> Result<Lanes, AdminError> {
    let found = if queues.is_empty() {
        store.queues(Search::Brief).await?
    } else {
        let queues = queues.to_vec();
        Found { queues, all: true }
    };
    // In boxes: the compiler does not see otherwise that these may go from thread to thread.
    let asked = found.queues.iter().map(|queue| groups(store, queue).boxed());
    let asked: Vec<_> = asked.collect();
    let groups = stream::iter(asked).buffered(AT_ONCE);
    let groups: Vec<_> = groups.try_concat().await?;
    let mut lanes = Lanes {
        lanes: Vec::new(),
        all: true,
    };
    for (queue, group) in groups {
        let stem = group.limited().unwrap_or_default();
        if plugin.is_some_and(|plugin| plugin != stem) {
            continue;
        }
        let (read, all) = lanes_of(store, &queue, &group, most - lanes.lanes.len()).await?;
        lanes.all &= all;
        lanes.lanes.extend(read.into_iter().map(|seen| LaneFigure {
            queue: queue.to_string(),
            plugin: stem.to_owned(),
            seen,
        }));
    }
    lanes
        .lanes
        .sort_by(|a, b| (b.seen.jobs, &a.queue, &a.seen.lane).cmp(&(a.seen.jobs, &b.queue, &b.seen.lane)));
    Ok(lanes)
}

/// Where in a queue's lanes to go on reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LanesFrom {
    /// The plugin whose lanes come next.
    plugin: String,
    /// Where the store goes on with them.
    scan: u64,
    /// How many of those that the store tells then were read.
    skip: usize,
}

impl fmt::Display for LanesFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.scan, self.skip, self.plugin)
    }
}

impl FromStr for LanesFrom {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(());
        Ok(Self {
            scan: part()?.parse().map_err(drop)?,
            skip: part()?.parse().map_err(drop)?,
            plugin: part()?.to_owned(),
        })
    }
}

/// Lanes of a queue, `count` at most, from where a part before ended, and where the next part begins; none: these were the last.
/// They come by plugin, and otherwise in no order. One that is made or ends meanwhile may be passed over, or told twice.
///
/// # Errors
/// When the store fails.
pub async fn part(
    store: &Store,
    queue: &QueueName,
    plugin: Option<&str>,
    from: LanesFrom,
    count: usize,
) -> Result<(Vec<LaneFigure>, Option<LanesFrom>), AdminError> {
    let mut groups = groups(store, queue).await?;
    groups.retain(|(_, group)| {
        let stem = group.limited().unwrap_or_default();
        stem >= from.plugin.as_str() && plugin.is_none_or(|plugin| plugin == stem)
    });
    let mut found = Vec::new();
    for (_, group) in groups {
        let stem = group.limited().unwrap_or_default();
        let (mut scan, mut skip) = if stem == from.plugin {
            (from.scan, from.skip)
        } else {
            (0, 0)
        };
        loop {
            let page = store.lanes(queue, &group, scan).await?;
            let mut lanes = page.lanes;
            lanes.sort_by(|a, b| a.lane.cmp(&b.lane));
            for (place, seen) in lanes.into_iter().enumerate().skip(skip) {
                if found.len() == count {
                    let (plugin, skip) = (stem.to_owned(), place);
                    return Ok((found, Some(LanesFrom { plugin, scan, skip })));
                }
                found.push(LaneFigure {
                    queue: queue.to_string(),
                    plugin: stem.to_owned(),
                    seen,
                });
            }
            (scan, skip) = (page.next, 0);
            if scan == 0 {
                break;
            }
        }
    }
    Ok((found, None))
}

async fn groups(store: &Store, queue: &QueueName) -> Result<Vec<(QueueName, Lane)>, QueueError> {
    let counts = store.counts(queue).await?;
    let groups = counts
        .lanes
        .into_keys()
        .map(Lane::from)
        .filter(|lane| lane.limited().is_some());
    Ok(groups.map(|group| (queue.clone(), group)).collect())
}

/// The lanes of a group, as many as asked for, and whether these are all.
pub(super) async fn lanes_of(
    store: &Store,
    queue: &QueueName,
    group: &Lane,
    most: usize,
) -> Result<(Vec<LaneSeen>, bool), QueueError> {
    let (mut lanes, mut cursor) = (std::collections::BTreeMap::new(), 0);
    loop {
        let page = store.lanes(queue, group, cursor).await?;
        // What is added or ends meanwhile may be read twice.
        lanes.extend(page.lanes.into_iter().map(|seen| (seen.lane.clone(), seen)));
        cursor = page.next;
        if cursor == 0 || lanes.len() >= most {
            return Ok((lanes.into_values().take(most).collect(), cursor == 0));
        }
    }
}
