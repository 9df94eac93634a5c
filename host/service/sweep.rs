//! Takes back the places of limits across hosts that dead hosts held.
//!
//! A place is free once its delivery is in no host's table, but the lanes that wait for it hear of that only from a sweep. The
//! host that took a dead one's deliveries over sweeps in the same breath. The rounds of all hosts are for what it could not do,
//! and for places whose jobs went back to their queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::faults::Faults;
use crate::config::Cap;
use crate::outcome::Lane;
use crate::plugins::{InService, Plugins};
use crate::queue::{Consumer, QueueError, QueueName, Sweep};

/// Time between two looks at the places of limits, while jobs wait for some.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Has places looked at, for as long as jobs wait for them.
pub(super) async fn sweep(consumer: Arc<Consumer>, plugins: Arc<Plugins>, stop: CancellationToken) {
    let mut faults = Faults::new(&consumer, "sweep");
    while stop.run_until_cancelled(sleep(SWEEP_INTERVAL)).await.is_some() {
        for (queue, group) in consumer.groups() {
            match sweep_group(&consumer, &plugins, &queue, &group, Sweep::InTurn).await {
                Ok(()) => faults.over(),
                Err(err) => faults.tell(&err),
            }
        }
    }
}

/// The same at once, for the places of deliveries that were just taken over: of what these count against even if nothing waits
/// for it, since else nobody might ever look there.
///
/// # Errors
/// When the store fails for any group.
pub(super) async fn sweep_at_once(
    consumer: &Consumer,
    plugins: &Plugins,
    queue: &QueueName,
    counted: impl Iterator<Item = (Lane, Vec<String>)>,
) -> Result<(), QueueError> {
    let mut groups = BTreeMap::<_, Vec<String>>::new();
    for (_, group) in consumer.groups().into_iter().filter(|(of, _)| of == queue) {
        groups.entry(group).or_default();
    }
    for (group, names) in counted {
        groups.entry(group).or_default().extend(names);
    }
    let mut done = Ok(());
    for (group, mut names) in groups {
        names.sort_unstable();
        names.dedup();
        done = done.and(sweep_group(consumer, plugins, queue, &group, Sweep::Of(&names)).await);
    }
    done
}

async fn sweep_group(
    consumer: &Consumer,
    plugins: &Plugins,
    queue: &QueueName,
    group: &Lane,
    when: Sweep<'_>,
) -> Result<(), QueueError> {
    let caps: Arc<[Cap]> = match group.limited().map(|stem| plugins.in_service(stem)) {
        Some(InService::Plugin(plugin)) => Arc::clone(plugin.handler.caps()),
        // Nothing starts, so no place is waited for.
        Some(InService::NotNow) => return Ok(()),
        Some(InService::Nothing) | None => Arc::default(),
    };
    consumer.sweep(queue, group, &caps, when).await
}
