//! The lanes in which jobs wait for limits across hosts.

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
    /// Whether these are all: no more than [`MAX_LANES_READ`] are read.
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

/// Reads the lanes of some queues, or of all, and of one plugin, or of all.
///
/// # Errors
/// When the store fails.
pub async fn lanes(store: &Store, queues: &[QueueName], plugin: Option<&str>) -> Result<Lanes, AdminError> {
    let found = if queues.is_empty() {
        store.queues(Search::Brief).await?
    } else {
        let queues = queues.to_vec();
        Found { queues, all: true }
    };
    let groups = stream::iter(&found.queues)
        .map(|queue| groups(store, queue))
        .buffered(AT_ONCE);
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
        let (read, all) = lanes_of(store, &queue, &group, MAX_LANES_READ - lanes.lanes.len()).await?;
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
