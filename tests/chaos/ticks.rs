//! A schedule that fires each second through the storm: every one of its instants must have come to an end, none left out.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;

use crate::guests::component_of;
use crate::world::World;

/// The queue that its jobs go to, and what it is called.
const QUEUE: &str = "urgent";
const NAME: &str = "tick/each";

/// What its manifest says: after an outage, every instant is made up for.
const MANIFEST: &str =
    "[[schedule]]\nid = \"each\"\nevery = \"1s\"\ncatch_up = \"all\"\nqueue = \"urgent\"\npayload = 1\n";

/// Instants between two looks at the results.
const PAGE: usize = 1_000;

/// The instant of a job of the schedule, in Unix seconds; none: it is another job.
pub(crate) fn instant(id: &str) -> Option<i64> {
    let at: Timestamp = id
        .strip_prefix("cron:")?
        .strip_prefix(NAME)?
        .strip_prefix(':')?
        .parse()
        .ok()?;
    Some(at.as_second())
}

/// Puts its plugin into the folder.
pub(crate) fn deploy(folder: &Path) -> anyhow::Result<()> {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/echo.wat");
    std::fs::write(folder.join("tick.toml"), MANIFEST)?;
    std::fs::write(
        folder.join("tick.wasm"),
        component_of("guest", &std::fs::read_to_string(guest)?)?,
    )?;
    Ok(())
}

/// Checks that every instant from the first to the last that was fired has ended: completed, or failed because its hosts died
/// under it. `ended` are those that workers said they completed, or that failed. Returns how many there were.
pub(crate) async fn audit(world: &World, ended: &BTreeMap<i64, usize>) -> anyhow::Result<usize> {
    let mut observer = world.observer().await?;
    let known: Option<String> = redis::cmd("HGET")
        .arg(world.keys.schedules(QUEUE))
        .arg(NAME)
        .query_async(&mut observer)
        .await?;
    let known = known.context("the schedule was never heard of")?;
    let last_ms: i64 = known.split(' ').next().unwrap_or_default().parse()?;
    let (first, last) = (*ended.keys().next().context("no instant was fired")?, last_ms / 1_000);
    let instants: Vec<_> = (first..=last).collect();
    let mut missing = Vec::new();
    for page in instants.chunks(PAGE) {
        let keys = page.iter().map(|at| {
            let at = Timestamp::from_second(*at).map(|at| at.to_string()).unwrap_or_default();
            world.keys.result(&format!("cron:{NAME}:{at}"))
        });
        let keys: Vec<_> = keys.collect();
        let results: Vec<Option<String>> = redis::cmd("MGET").arg(keys).query_async(&mut observer).await?;
        let left = page
            .iter()
            .zip(results)
            .filter(|(at, result)| result.is_none() && !ended.contains_key(at));
        missing.extend(left.map(|(at, _)| *at));
    }
    ensure!(
        missing.is_empty(),
        "instants of the schedule that came to no end: {missing:?}"
    );
    Ok(instants.len())
}
