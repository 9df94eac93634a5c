//! Jobs that are unique by a key, in each of the four modes: which of them ran, and whether those were the right ones.
//!
//! - `drop`, `latest`, `debounce`: of one key in one queue, one runs at a time ([`crate::places`] looks at that).
//! - `drop`, `throttle`: a job is dropped for another that comes to an end of its own, or is dropped for one that does.
//! - `latest`, `debounce`: after a job that is dropped was pushed, another of its key began, or was cancelled or lost before it could.
//! - `throttle`: in no stretch of time more began than it lets on, however it is cut.
//! - All: once everything is calm, the next job of each key runs, and where only the newest is to run, the last that was pushed.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::ensure;
use serde::Deserialize;
use tokio::time::sleep;

use crate::audit::Ends;
use crate::handler::Handler;
use crate::keys::QUEUES;
use crate::ledger::{Entry, id, number};
use crate::producer::push_to;
use crate::world::World;

/// The plugin, and the job.
pub(crate) const NAME: &str = "unique";

/// Keys of each mode in each queue: jobs are spread among them by their numbers.
const KEYS: usize = 2;

/// How long others are dropped.
const THROTTLE: Duration = Duration::from_secs(1);

/// How long a debounced job waits for others at most.
const DEBOUNCE_MAX: Duration = Duration::from_millis(800);

/// Jobs pushed of each key at the end, and the time between them.
const LAST: usize = 20;
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// How long a job takes, in ms.
pub(crate) fn payload(number: usize) -> String {
    (20 + number * 37 % 101).to_string()
}

/// What is written into `metadata.kiln` of a job; none: it is not unique.
pub(crate) fn wish(handler: Handler, number: usize) -> Option<String> {
    let more = match handler {
        Handler::Drop => String::new(),
        Handler::Latest => r#","mode":"latest""#.to_owned(),
        Handler::Debounce => {
            let max = DEBOUNCE_MAX.as_millis();
            format!(r#","mode":"debounce","wait":"300ms","max":"{max}ms""#)
        }
        Handler::Throttle => format!(r#","mode":"throttle","for":"{}ms""#, THROTTLE.as_millis()),
        _ => return None,
    };
    let key = key(handler, number);
    Some(format!(r#""unique":{{"key":"{key}"{more}}},"reply":true"#))
}

/// The key of a job.
pub(crate) fn key(handler: Handler, number: usize) -> String {
    format!("{handler:?}-{}", number % KEYS)
}

/// What is answered to whoever waits for a job.
#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    message: String,
}

/// A job that was dropped for another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Duplicate {
    /// The number of the other, if the answer names it.
    of: Option<usize>,
}

/// For which job another was dropped, if the answers of that say so; none: it was not dropped.
pub(crate) fn dropped_for(replies: &[String]) -> Option<Duplicate> {
    let replies = replies
        .iter()
        .filter_map(|reply| serde_json::from_str::<Reply>(reply).ok());
    let duplicate = replies.into_iter().find(|reply| reply.kind == "duplicate")?;
    let of = duplicate.message.rsplit(' ').next().and_then(number);
    Some(Duplicate { of })
}

/// What became of all unique jobs, by number.
pub(crate) fn judge(entries: &[Entry], ends: &HashMap<usize, Ends>) -> Vec<String> {
    let mut of_keys = BTreeMap::<_, Vec<usize>>::new();
    for (number, entry) in entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.handler.is_unique())
    {
        let group = (entry.queue, key(entry.handler, number));
        of_keys.entry(group).or_default().push(number);
    }
    let mut wrong = Vec::new();
    for ((queue, key), numbers) in of_keys {
        let of_key = OfKey { entries, ends, numbers };
        let found = of_key.judge();
        wrong.extend(found.into_iter().map(|what| format!("{key} in {queue}: {what}")));
    }
    wrong
}

/// The jobs of one key.
struct OfKey<'a> {
    entries: &'a [Entry],
    ends: &'a HashMap<usize, Ends>,
    numbers: Vec<usize>,
}

impl OfKey<'_> {
    fn judge(&self) -> Vec<String> {
        let dropped = self.numbers.iter().filter(|number| self.is_dropped(**number));
        let mut wrong: Vec<_> = dropped
            .filter_map(|number| self.is_dropped_for_nobody(*number))
            .collect();
        if self
            .numbers
            .first()
            .is_some_and(|first| self.entries[*first].handler == Handler::Throttle)
        {
            wrong.extend(self.too_often());
        }
        wrong
    }

    fn of(&self, number: usize) -> Option<&Ends> {
        self.ends.get(&number)
    }

    /// It came to no end but that.
    fn is_dropped(&self, number: usize) -> bool {
        self.of(number)
            .is_some_and(|ends| ends.dropped.is_some() && !ends.is_own)
    }

    /// An end of its own: it completed, or failed as lost or cancelled.
    fn has_end(&self, number: usize) -> bool {
        self.of(number).is_some_and(|ends| ends.is_own)
    }

    fn is_dropped_for_nobody(&self, number: usize) -> Option<String> {
        let is_newest_kept = matches!(self.entries[number].handler, Handler::Latest | Handler::Debounce);
        if is_newest_kept {
            let pushed = self.entries[number].opened;
            let covers = |other: &&usize| {
                let began = self.entries[**other].last_start;
                **other != number && self.has_end(**other) && began.is_none_or(|began| began >= pushed)
            };
            let covered = self.numbers.iter().any(|other| covers(&other));
            return (!covered).then(|| format!("{} was dropped, and no other began after it was pushed", id(number)));
        }
        let (mut at, mut way) = (number, vec![id(number)]);
        while !self.has_end(at) {
            let next = self.of(at).and_then(|ends| ends.dropped?.of);
            // One that is dropped for a job from which nobody has heard the id.
            let next = next?;
            way.push(id(next));
            if way.len() > self.numbers.len() || self.of(next).is_none() {
                return Some(format!("dropped for nobody: {}", way.join(" for ")));
            }
            at = next;
        }
        None
    }

    /// Where more began within a time than are let on within it. A job is let on between its push and its start.
    fn too_often(&self) -> Option<String> {
        let ran = self.numbers.iter().filter_map(|number| {
            let entry = self.entries[*number];
            Some((entry.opened, entry.first_start?))
        });
        let ran: Vec<_> = ran.collect();
        for from in ran.iter().map(|(pushed, _)| *pushed) {
            let mut starts: Vec<_> = ran
                .iter()
                .filter(|(pushed, _)| *pushed >= from)
                .map(|(_, start)| *start)
                .collect();
            starts.sort_by(f64::total_cmp);
            for (n, until) in starts.into_iter().enumerate() {
                // The first one takes no time. A hundredth is what clocks in a log may be off.
                let takes = f64::from(u32::try_from(n).unwrap_or(u32::MAX)) * (THROTTLE.as_secs_f64() - 0.01);
                if until - from < takes {
                    let jobs = n + 1;
                    return Some(format!(
                        "{jobs} were pushed and began within {:.3} s from {from}",
                        until - from
                    ));
                }
            }
        }
        None
    }
}

/// Once nothing else goes on: pushes a job of each key where others are dropped, and many where the newest runs. Returns jobs
/// of which some must run, of each part one: the last of each key, and one before it where debounced ones keep coming.
pub(crate) async fn push_last(world: &World) -> anyhow::Result<Vec<Vec<usize>>> {
    let (mut must_run, mut before) = (Vec::new(), BTreeMap::<_, Vec<usize>>::new());
    for round in 1..=LAST {
        for (queue, _) in QUEUES {
            for handler in [Handler::Drop, Handler::Latest, Handler::Debounce] {
                if handler == Handler::Drop && round > 1 {
                    continue;
                }
                let numbers = push_to(&world.client, &world.keys, &world.ledger, (handler, queue), KEYS).await?;
                if round == LAST || handler == Handler::Drop {
                    must_run.extend(numbers.into_iter().map(|number| vec![number]));
                } else if handler == Handler::Debounce {
                    for number in numbers {
                        before.entry((queue, key(handler, number))).or_default().push(number);
                    }
                }
            }
        }
        sleep(LAST_PAUSE).await;
    }
    must_run.extend(before.into_values());
    Ok(must_run)
}

/// Checks that of each part one has run.
pub(crate) async fn have_run(world: &World, must_run: &[Vec<usize>]) -> anyhow::Result<()> {
    let (entries, mut observer) = (world.ledger.entries(), world.observer().await?);
    for numbers in must_run {
        let keys: Vec<_> = numbers.iter().map(|number| world.keys.result(&id(*number))).collect();
        let results: Vec<Option<String>> = redis::cmd("MGET").arg(keys).query_async(&mut observer).await?;
        let Entry { handler, queue, .. } = entries[numbers[0]];
        let has_run = results.iter().any(Option::is_some);
        ensure!(has_run, "none of these {handler:?} in {queue} has run: {numbers:?}");
    }
    Ok(())
}
