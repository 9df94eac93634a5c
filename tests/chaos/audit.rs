//! Where every job has come to, by what is in Redis and in the books.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::Ordering;

use serde::Deserialize;

use crate::handler::Handler;
use crate::ledger::{Entry, id, next_id, number, number_before};
use crate::ticks::instant;
use crate::world::World;

/// Keys or list entries asked for at once.
const PAGE: usize = 1_000;

/// Seconds after the acknowledgement of a cancel in which a job may still begin: it was in the hands of a worker that Redis could
/// not tell, and whose lease of two seconds was good for that long.
const HEARD_OF_S: f64 = 2.0;

/// What the audit found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pushed: usize,
    maybe: usize,
    /// Jobs of which a cancel was acknowledged, wherever they were by then.
    cancelled: usize,
    /// Jobs with a result.
    completed: usize,
    /// Those among them that were to count themselves, and what they came to.
    counted: (usize, usize),
    /// Jobs that came after those which completed.
    chained: usize,
    /// The numbers of jobs whose next one failed: a host may die under it, and anything may be cancelled.
    failed_after: BTreeSet<usize>,
    /// Failed entries, by kind.
    failed: BTreeMap<String, usize>,
    /// Ends that jobs came to, beyond one each.
    pub(crate) duplicates: usize,
    /// Jobs that may have been done more than once, by what the workers said.
    pub(crate) moved: usize,
    /// Jobs that Redis acknowledged, and that came to no end.
    pub(crate) lost: Vec<String>,
    /// Ends that a job of its kind cannot come to, and entries that nobody pushed.
    pub(crate) wrong: Vec<String>,
}

/// A failed entry, as far as it is read.
#[derive(Deserialize)]
struct Failed {
    id: String,
    failure: Failure,
}

#[derive(Deserialize)]
struct Failure {
    kind: String,
}

/// Asks where each job has come to, once nothing moves any more.
pub(crate) async fn audit(world: &World) -> anyhow::Result<Findings> {
    let entries = world.ledger.entries();
    let mut findings = Findings {
        moved: world.ledger.moved.load(Ordering::Relaxed),
        ..Findings::default()
    };
    let mut failures = failures(world, entries.len(), &mut findings).await?;
    let numbers: Vec<usize> = (0..entries.len()).collect();
    for page in numbers.chunks(PAGE) {
        let keys: Vec<_> = page.iter().map(|number| world.keys.result(&id(*number))).collect();
        let results: Vec<Option<String>> = redis::cmd("MGET")
            .arg(keys)
            .query_async(&mut world.observer().await?)
            .await?;
        let keys: Vec<_> = page.iter().map(|number| world.keys.result(&next_id(*number))).collect();
        let after: Vec<Option<String>> = redis::cmd("MGET")
            .arg(keys)
            .query_async(&mut world.observer().await?)
            .await?;
        for ((number, result), after) in page.iter().zip(results).zip(after) {
            let ended = after.is_some() || findings.failed_after.contains(number);
            findings.judge_chain(*number, entries[*number].handler, result.is_some(), ended);
            let kinds = failures.remove(number).unwrap_or_default();
            findings.judge(*number, entries[*number], result.as_deref(), &kinds);
        }
    }
    let counted: Option<usize> = redis::cmd("HGET")
        .arg(world.keys.counts())
        .arg("done")
        .query_async(&mut world.observer().await?)
        .await?;
    findings.counted.1 = counted.unwrap_or(0);
    let ticks = world.ledger.ticks();
    findings.duplicates += ticks.values().map(|ends| ends - 1).sum::<usize>();
    if findings.counted.0 != findings.counted.1 {
        let (completed, counted) = findings.counted;
        findings.wrong.push(format!(
            "{completed} jobs completed that count themselves, and {counted} were counted"
        ));
    }
    Ok(findings)
}

/// The kinds that each job has failed as.
async fn failures(world: &World, jobs: usize, findings: &mut Findings) -> anyhow::Result<BTreeMap<usize, Vec<String>>> {
    let mut failures = BTreeMap::<_, Vec<_>>::new();
    let mut observer = world.observer().await?;
    for start in (0..).step_by(PAGE) {
        let mut range = redis::cmd("LRANGE");
        range.arg(world.keys.failed()).arg(start).arg(start + PAGE - 1);
        let page: Vec<String> = range.query_async(&mut observer).await?;
        if page.is_empty() {
            break;
        }
        for text in page {
            let entry: Option<Failed> = serde_json::from_str(&text).ok();
            if let Some(tick) = entry.as_ref().and_then(|entry| instant(&entry.id)) {
                world.ledger.ticked(tick);
                continue;
            }
            let known = entry.and_then(|entry| Some((number(&entry.id)?, entry.failure.kind)));
            if let Some(before) = serde_json::from_str::<Failed>(&text)
                .ok()
                .and_then(|entry| number_before(&entry.id))
            {
                findings.failed_after.insert(before);
                continue;
            }
            match known {
                Some((number, kind)) if number < jobs => failures.entry(number).or_default().push(kind),
                _ => findings.wrong.push(text),
            }
        }
    }
    Ok(failures)
}

impl Findings {
    /// What came after a job: something exactly if the job has completed.
    fn judge_chain(&mut self, number: usize, handler: Handler, completed: bool, next_ended: bool) {
        self.chained += usize::from(next_ended);
        if completed && handler.is_chained() && !next_ended {
            self.lost
                .push(format!("{}: it came after one that completed", next_id(number)));
        }
        if next_ended && !completed {
            self.wrong
                .push(format!("{}: it came after one that has not completed", next_id(number)));
        }
    }

    fn judge(&mut self, number: usize, entry: Entry, result: Option<&str>, kinds: &[String]) {
        let Entry {
            handler,
            pushed,
            completions,
            cancelled,
            last_start,
        } = entry;
        let id = id(number);
        self.pushed += usize::from(pushed);
        self.maybe += usize::from(!pushed);
        self.cancelled += usize::from(cancelled.is_some_and(f64::is_finite));
        self.completed += usize::from(result.is_some());
        self.counted.0 += usize::from(result.is_some() && handler == Handler::Count);
        if pushed && result.is_none() && kinds.is_empty() {
            let said = if completions > 0 {
                "its worker said it completed"
            } else {
                "no worker completed it"
            };
            self.lost.push(format!("{id} {handler:?}: {said}"));
        }
        let ends = completions.max(usize::from(result.is_some())) + kinds.len();
        self.duplicates += ends.saturating_sub(1);
        if let Some(result) = result
            && (handler.failure().is_some() || result != handler.result(number))
        {
            self.wrong.push(format!("{id} {handler:?} has the result {result}"));
        }
        if let (Some(cancelled), Some(started)) = (cancelled, last_start)
            && started > cancelled + HEARD_OF_S
        {
            let late = started - cancelled;
            self.wrong.push(format!(
                "{id} {handler:?} began {late:.3} s after its cancel was acknowledged"
            ));
        }
        for kind in kinds {
            *self.failed.entry(kind.clone()).or_default() += 1;
            // A host may die under any job.
            let is_right = match kind.as_str() {
                "lost" => true,
                "cancelled" => cancelled.is_some(),
                kind => handler.failure() == Some(kind),
            };
            if !is_right {
                self.wrong.push(format!("{id} {handler:?} failed as {kind}"));
            }
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |what: &str, number: usize| writeln!(f, "  {what:<26}{number:>9}");
        line("jobs pushed", self.pushed)?;
        line("jobs pushed, unanswered", self.maybe)?;
        line("cancels acknowledged", self.cancelled)?;
        line("jobs completed", self.completed)?;
        line("jobs that counted", self.counted.1)?;
        line("jobs that came after", self.chained)?;
        for (kind, entries) in &self.failed {
            line(&format!("jobs failed as {kind}"), *entries)?;
        }
        line("jobs taken over or back", self.moved)?;
        line("duplicates", self.duplicates)?;
        line("jobs that ended wrong", self.wrong.len())?;
        line("jobs lost", self.lost.len())
    }
}
