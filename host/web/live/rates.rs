//! How many attempts the hosts make in a second, by what they report of all attempts so far.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::admin::plugins::Hosts;
use crate::plugins::HostReport;

/// What is done in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub(in crate::web) struct Rate {
    /// Attempts that completed.
    pub(in crate::web) completed: f64,
    /// Attempts that failed.
    pub(in crate::web) failed: f64,
}

impl Rate {
    /// All attempts.
    pub(in crate::web) fn attempts(&self) -> f64 {
        self.completed + self.failed
    }
}

/// What every host reported last.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<String, Host>);

#[derive(Debug)]
struct Host {
    at: Timestamp,
    report: Arc<HostReport>,
    rate: Rate,
}

impl Rates {
    /// What all hosts did in a second between their last two reports.
    pub(super) fn count(&mut self, hosts: &Hosts) -> Rate {
        self.0.retain(|host, _| hosts.contains_key(host));
        let mut all = Rate::default();
        for (name, report) in hosts {
            let known = self.0.get(name);
            if known.is_none_or(|known| !Arc::ptr_eq(&known.report, report)) {
                let Ok(at) = report.at.parse::<Timestamp>() else {
                    continue;
                };
                if known.is_none_or(|known| known.at < at) {
                    let rate = known.map_or_else(Rate::default, |known| rate(known, at, report));
                    let report = Arc::clone(report);
                    self.0.insert(name.clone(), Host { at, report, rate });
                }
            }
            if let Some(host) = self.0.get(name) {
                all.completed += host.rate.completed;
                all.failed += host.rate.failed;
            }
        }
        all
    }
}

/// The attempts and failures of each version that serves.
fn versions(report: &HostReport) -> impl Iterator<Item = ((&str, &str), (u64, u64))> {
    report.plugins.iter().filter_map(|plugin| {
        let version = plugin.serving.as_ref()?;
        let failed = version.failures.values().sum();
        Some((
            (&*plugin.name, version.facts.digest.as_str()),
            (version.attempts, failed),
        ))
    })
}

fn rate(before: &Host, at: Timestamp, now: &HostReport) -> Rate {
    let seconds = at.duration_since(before.at).as_secs_f64().max(0.001);
    let (mut attempts, mut failed) = (0, 0);
    let before: HashMap<_, _> = versions(&before.report).collect();
    for (version, counts) in versions(now) {
        // A version that is new has counted from zero on; one that was reloaded begins anew.
        let (had, had_failed) = before.get(&version).copied().unwrap_or_default();
        attempts += counts.0.checked_sub(had).unwrap_or(counts.0);
        failed += counts.1.checked_sub(had_failed).unwrap_or(counts.1);
    }
    #[expect(clippy::cast_precision_loss, reason = "people read it")]
    let per_second = |count: u64| count as f64 / seconds;
    Rate {
        completed: per_second(attempts.saturating_sub(failed)),
        failed: per_second(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::{Catalogue, KeptReport};

    fn report(at: &str, attempts: u64, traps: u64) -> Hosts {
        let text = format!(
            r#"{{"since":"2026-01-01T00:00:00Z","at":"{at}","plugins":[{{"name":"a","fault":null,"serving":{{"digest":"d","version":null,"jobs":["a"],"bytes":1,"load_ms":1,"since":"2026-01-01T00:00:00Z","in_flight":0,"attempts":{attempts},"failures":{{"trap":{traps}}},"last_error":null,"aside":null,"instead":null}}}}]}}"#
        );
        let report = KeptReport::read(&text).unwrap().with(&Catalogue::new()).unwrap();
        Hosts::from([("h".to_owned(), Arc::new(report))])
    }

    #[test]
    fn a_rate_is_what_came_between_two_reports_and_stays_until_the_next() {
        let mut rates = Rates::default();
        assert_eq!(rates.count(&report("2026-01-01T00:00:05Z", 100, 10)), Rate::default());
        let second = report("2026-01-01T00:00:10Z", 200, 20);
        let rate = Rate {
            completed: 18.0,
            failed: 2.0,
        };
        assert_eq!(rates.count(&second), rate);
        assert_eq!(rates.count(&second), rate, "the same report again");
        let restarted = report("2026-01-01T00:00:15Z", 50, 0);
        assert_eq!(
            rates.count(&restarted),
            Rate {
                completed: 10.0,
                failed: 0.0
            }
        );
        assert_eq!(rates.count(&Hosts::new()), Rate::default());
    }
}
