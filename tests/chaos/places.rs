//! Limits across hosts: how many of the limited jobs ran at once, by what the workers' logs say of each attempt.
//!
//! A worker that is suspended says nothing of what it still runs, and the others may have taken its jobs over by then: what it ran
//! counts until it was suspended, stopped or killed.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ledger::number;

/// The plugin, and the job.
pub(crate) const NAME: &str = "limited";

/// Jobs of one payload that may run at once from a queue, and of all.
const OF_ONE: usize = 2;
const OF_ALL: usize = 4;

/// Payloads.
const KEYS: usize = 3;

/// How long a job takes, in ms, which is its payload and its key as well.
pub(crate) fn payload(number: usize) -> String {
    (60 + number % KEYS * 40).to_string()
}

/// Adds the limits to the manifest that is there.
pub(crate) fn limit(folder: &Path) -> anyhow::Result<()> {
    let manifest = folder.join(NAME).with_extension("toml");
    let text = std::fs::read_to_string(&manifest)?;
    let limits = format!("[[limit]]\nkey = \"\"\nconcurrency = {OF_ONE}\n[[limit]]\nconcurrency = {OF_ALL}");
    Ok(std::fs::write(manifest, format!("{text}\n{limits}\n"))?)
}

/// What ran where, and when. Times are Unix seconds.
#[derive(Debug, Default)]
pub(crate) struct Places {
    attempts: Mutex<Vec<Attempt>>,
    /// When each worker was suspended, stopped or killed.
    gone: Mutex<HashMap<String, Vec<f64>>>,
}

#[derive(Debug, Clone)]
struct Attempt {
    host: String,
    id: String,
    queue: String,
    began: f64,
    ended: Option<f64>,
}

impl Places {
    pub(crate) fn began(&self, host: &str, id: &str, queue: &str, at: f64) {
        lock(&self.attempts).push(Attempt {
            host: host.to_owned(),
            id: id.to_owned(),
            queue: queue.to_owned(),
            began: at,
            ended: None,
        });
    }

    pub(crate) fn ended(&self, host: &str, id: &str, at: f64) {
        let mut attempts = lock(&self.attempts);
        let is_it = |attempt: &&mut Attempt| attempt.host == host && attempt.id == id && attempt.ended.is_none();
        if let Some(attempt) = attempts.iter_mut().rev().find(is_it) {
            attempt.ended = Some(at);
        }
    }

    /// From now on nobody knows what this worker runs.
    pub(crate) fn gone(&self, host: &str, at: f64) {
        lock(&self.gone).entry(host.to_owned()).or_default().push(at);
    }

    /// How many attempts there were, the most at once of those that count together, and where these were too many.
    pub(crate) fn audit(&self) -> (usize, usize, Vec<String>) {
        let (attempts, gone) = (lock(&self.attempts).clone(), lock(&self.gone));
        let mut by_limit = BTreeMap::<_, Vec<_>>::new();
        for attempt in &attempts {
            let cut = gone.get(&attempt.host).into_iter().flatten().copied();
            let cut = cut.filter(|at| *at >= attempt.began).reduce(f64::min);
            // Of one without an end only its beginning is sure.
            let ended = attempt.ended.or(cut).unwrap_or(attempt.began);
            let ended = cut.map_or(ended, |cut| cut.min(ended));
            let key = payload(number(&attempt.id).unwrap_or_default());
            for (key, most) in [(key, OF_ONE), (String::new(), OF_ALL)] {
                let runs = by_limit.entry((attempt.queue.clone(), key, most)).or_default();
                // At one instant, what ends comes before what begins: the log has whole milliseconds.
                runs.extend([(attempt.began, 1), (ended, -1)]);
            }
        }
        let (mut most_at_once, mut wrong) = (0, Vec::new());
        for ((queue, key, limit), mut steps) in by_limit {
            steps.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
            let (mut now, mut most, mut at) = (0_isize, 0, 0.0);
            for (time, step) in steps {
                now += step;
                if now > most {
                    (most, at) = (now, time);
                }
            }
            let most = usize::try_from(most).unwrap_or_default();
            most_at_once = most_at_once.max(most);
            if most > limit {
                wrong.push(format!(
                    "{most} limited jobs of {queue} with the key \"{key}\" ran at once at {at}, not {limit}"
                ));
            }
        }
        (attempts.len(), most_at_once, wrong)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
