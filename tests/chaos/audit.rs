//! Where every job has come to, by what is in Redis and in the books.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;

use serde::Deserialize;

use crate::handler::Handler;
use crate::ledger::{Entry, id, number};
use crate::world::World;

/// Keys or list entries asked for at once.
const PAGE: usize = 1_000;

/// What the audit found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pushed: usize,
    maybe: usize,
    /// Jobs with a result.
    completed: usize,
    /// Those among them that were to count themselves, and what they came to.
    counted: (usize, usize),
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
        for (number, result) in page.iter().zip(results) {
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
            let known = entry.and_then(|entry| Some((number(&entry.id)?, entry.failure.kind)));
            match known {
                Some((number, kind)) if number < jobs => failures.entry(number).or_default().push(kind),
                _ => findings.wrong.push(text),
            }
        }
    }
    Ok(failures)
}

impl Findings {
    fn judge(&mut self, number: usize, entry: Entry, result: Option<&str>, kinds: &[String]) {
        let Entry {
            handler,
            pushed,
            completions,
        } = entry;
        let id = id(number);
        self.pushed += usize::from(pushed);
        self.maybe += usize::from(!pushed);
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
        for kind in kinds {
            *self.failed.entry(kind.clone()).or_default() += 1;
            // A host may die under any job.
            if kind != "lost" && handler.failure() != Some(kind) {
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
        line("jobs completed", self.completed)?;
        line("jobs that counted", self.counted.1)?;
        for (kind, entries) in &self.failed {
            line(&format!("jobs failed as {kind}"), *entries)?;
        }
        line("jobs taken over or back", self.moved)?;
        line("duplicates", self.duplicates)?;
        line("jobs that ended wrong", self.wrong.len())?;
        line("jobs lost", self.lost.len())
    }
}
