//! What a worker tells Prometheus: what is counted, under which names, and that nobody can make it without end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln::events::{Event, LoadedPlugin, PluginVersion, Run, Subscriber};
use kiln::job::{Job, null};
use kiln::observe::{Metrics, Vitals};
use kiln::outcome::{Attempt, Fate, Outcome, Report};
use kiln::queue::Store;

use crate::probes::listening;
use crate::servers::Server;
use crate::servers::http::get;
use crate::service::{folder_of, push};
use crate::support::{default_queue, eventually, redis_settings, settings_at};

/// A scrape: each series, its name and labels as they stand, with its value.
#[derive(Debug)]
pub(crate) struct Scrape(pub(crate) BTreeMap<String, f64>);

impl Scrape {
    pub(crate) fn of(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "{text}");
        let series = text.lines().filter(|line| !line.starts_with('#'));
        let series = series.map(|line| {
            // An exemplar, where there is one, comes after the value.
            let line = line.split(" # {").next().unwrap_or(line);
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        let count = series.clone().count();
        let scrape = Self(series.collect());
        assert_eq!(scrape.0.len(), count, "a series is there twice");
        scrape
    }

    /// The sum of all series of this name whose labels hold all of these.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let found = self.0.iter().filter(|(series, _)| {
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.iter().all(|label| rest.contains(label))
        });
        found.map(|(_, value)| value).sum()
    }

    /// The names of all series, each with those of its labels.
    fn names(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut names = BTreeMap::<_, BTreeSet<_>>::new();
        for series in self.0.keys() {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels
                .trim_end_matches('}')
                .split("\",")
                .filter_map(|label| Some(label.split_once('=')?.0));
            names.entry(name).or_default().extend(labels);
        }
        names
    }
}

fn is(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-9
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_tells_what_became_of_each_job_and_how_long_each_step_took() -> anyhow::Result<()> {
    let folder = folder_of(&[
        ("ok", "version = \"1.2\""),
        ("nap", "concurrency = 1"),
        ("trap", "[retry]\nattempts = 1"),
        ("spin", "timeout = \"50ms\"\n[retry]\nattempts = 1"),
    ])?;
    std::fs::write(folder.path().join("broken.wasm"), "no component")?;
    let settings = redis_settings();
    let (worker, address) = listening(&settings, folder.path(), &[]).await?;
    let store = Store::open(&settings).await?;
    let at = jiff::Timestamp::now();
    let timed = |name: &str| format!(r#"{{"name":"{name}","available_at":"{at}"}}"#);
    let ok = timed("ok");
    let nap = format!(r#"{{"name":"nap","payload":20,"available_at":"{at}"}}"#);
    let jobs = [
        &*ok,
        &ok,
        &nap,
        &nap,
        &nap,
        &timed("trap"),
        &timed("spin"),
        r#"{"name":"nobody"}"#,
    ];
    push(&store, &jobs).await?;
    let scrape = eventually("all settled", async || {
        let scrape = Scrape::of(&get(address, "/metrics")?.1);
        let over = scrape.sum("kiln_jobs_settled_total", &["fate=\"done\""])
            + scrape.sum("kiln_jobs_settled_total", &["fate=\"failed\""]);
        Ok(is(over, 8.0).then_some(scrape))
    })
    .await?;
    for (name, labels, value) in [
        (
            "kiln_jobs_settled_total",
            &["queue=\"default\"", "fate=\"done\""][..],
            5.0,
        ),
        ("kiln_jobs_settled_total", &["fate=\"failed\""], 3.0),
        ("kiln_attempts_total", &["plugin=\"ok\"", "outcome=\"completed\""], 2.0),
        ("kiln_attempts_total", &["plugin=\"trap\"", "outcome=\"trap\""], 1.0),
        ("kiln_attempts_total", &["plugin=\"spin\"", "outcome=\"timeout\""], 1.0),
        ("kiln_limit_hits_total", &["plugin=\"spin\"", "limit=\"timeout\""], 1.0),
        ("kiln_attempt_seconds_count", &["plugin=\"nap\""], 3.0),
        ("kiln_attempt_peak_memory_bytes_count", &["plugin=\"ok\""], 2.0),
        ("kiln_settle_seconds_count", &["queue=\"default\""], 7.0),
        ("kiln_start_seconds_count", &[], 7.0),
        (
            "kiln_plugin_loads_total",
            &["plugin=\"broken\"", "result=\"refused\""],
            1.0,
        ),
        ("kiln_plugin_info", &["plugin=\"ok\"", "version=\"1.2\""], 1.0),
        ("kiln_store_up", &[], 1.0),
        ("kiln_draining", &[], 0.0),
        ("kiln_store_errors_total", &[], 0.0),
    ] {
        let found = scrape.sum(name, labels);
        assert!(is(found, value), "{name} {labels:?}: {found}\n{scrape:#?}");
    }
    // Each job that ran was due, and waited for its fetch or in its plugin's lane.
    let [waited, lane] =
        ["kiln_job_wait_seconds_count", "kiln_job_lane_seconds_count"].map(|name| scrape.sum(name, &[]));
    assert!(is(waited + lane, 7.0) && lane >= 1.0, "{waited} {lane}");
    assert!(scrape.sum("kiln_attempt_cpu_seconds_total", &["plugin=\"spin\""]) > 0.0);
    assert!(scrape.sum("kiln_store_operation_seconds_count", &["operation=\"settle\""]) >= 1.0);
    assert!(scrape.sum("kiln_lease_left_seconds", &[]) > 1.0);
    assert!(scrape.sum("kiln_slots", &[]) >= 32.0);
    drop(worker);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_and_a_denial_are_counted() -> anyhow::Result<()> {
    let (mut redis, folder) = (Server::start(&[])?, folder_of(&[("fetch", "[retry]\nattempts = 1")])?);
    let settings = settings_at(&redis.url());
    let (_worker, address) = listening(&settings, folder.path(), &[]).await?;
    push(
        &Store::open(&settings).await?,
        &[r#"{"name":"fetch","payload":"a.example"}"#],
    )
    .await?;
    let scraped = |what: &'static str, labels: &'static [&'static str], holds: fn(f64) -> bool| {
        eventually(what, async move || {
            let scrape = Scrape::of(&get(address, "/metrics")?.1);
            Ok(holds(scrape.sum(what, labels)).then_some(()))
        })
    };
    let some: fn(f64) -> bool = |count| count > 0.0;
    let none: fn(f64) -> bool = |count| is(count, 0.0);
    scraped("kiln_denials_total", &["plugin=\"fetch\"", "capability=\"http\""], some).await?;
    scraped("kiln_store_up", &[], some).await?;
    redis.kill();
    scraped("kiln_store_errors_total", &["operation=\"renew\""], some).await?;
    scraped("kiln_store_up", &[], none).await?;
    redis.restart()?;
    scraped("kiln_store_up", &[], some).await
}

/// Everything that is told of one job, with names that nobody bounds.
fn tell_of_a_job(metrics: &Metrics, tag: u64, queue: &str, job: &Job, plugin: PluginVersion<'_>) {
    let run = Run {
        tag,
        queue,
        job,
        fetched: Instant::now(),
        from_lane: false,
        plugin,
        attempt: 1,
        max_attempts: 3,
        span: None,
    };
    let attempt = Attempt {
        outcome: Outcome::Completed { result: None },
        asked: kiln::outcome::Asked::default(),
        report: Report::default(),
    };
    metrics.on(&Event::Fetched {
        queue,
        first_tag: tag,
        jobs: 1,
    });
    metrics.on(&Event::Started(run));
    metrics.on(&Event::Ended { run, attempt: &attempt });
    metrics.on(&Event::Settled {
        queue,
        settled: &[(tag, Fate::Acked)],
        refused: &[],
        again: false,
    });
}

fn version(number: u64, digest: &str) -> PluginVersion<'_> {
    let name = "echo";
    PluginVersion { number, name, digest }
}

fn load(metrics: &Metrics, plugin: PluginVersion<'_>) {
    metrics.on(&Event::PluginLoaded(LoadedPlugin {
        plugin,
        version: None,
        jobs: &[],
        bytes: 0,
        took: Duration::ZERO,
        replaced: None,
    }));
}

#[test]
fn names_without_end_make_no_further_series() {
    let metrics = Arc::new(Metrics::new([&default_queue()], Arc::<Vitals>::default()));
    let mut job = Job::new("job", "default", null());
    load(&metrics, version(1, "d"));
    tell_of_a_job(&metrics, 1, "default", &job, version(1, "d"));
    let series = Scrape::of(&metrics.write()).0.len();
    for number in 2..100_000 {
        job.name = format!("job-{number}");
        job.queue = Some(format!("queue-{number}"));
        tell_of_a_job(&metrics, number, "default", &job, version(1, "d"));
        tell_of_a_job(&metrics, number, &format!("queue-{number}"), &job, version(1, "d"));
    }
    let scrape = Scrape::of(&metrics.write());
    assert_eq!(scrape.0.len(), series);
    assert!(is(scrape.sum("kiln_attempts_total", &[]), 199_997.0));
    // Of one plugin, versions without end have bounded series, too.
    for number in 100_000..102_000 {
        let digest = format!("digest-{number}");
        load(&metrics, version(number, &digest));
        tell_of_a_job(&metrics, number, "default", &job, version(number, &digest));
    }
    let versions = kiln::observe::MAX_VERSIONS;
    let digests = metrics.write().matches("kiln_attempt_cpu_seconds_total{").count();
    assert!(digests <= versions + 1, "{digests}");
}

fn page(path: impl AsRef<Path>) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join(path)).expect("a page")
}

/// A scrape with every family in it, and at least one series of each.
async fn full_scrape() -> anyhow::Result<(String, Scrape)> {
    let folder = folder_of(&[
        ("ok", ""),
        ("nap", "concurrency = 1"),
        ("spin", "timeout = \"50ms\"\n[retry]\nattempts = 1"),
        ("fetch", "[retry]\nattempts = 1"),
    ])?;
    let settings = redis_settings();
    let (_worker, address) = listening(&settings, folder.path(), &[]).await?;
    let jobs = [
        r#"{"name":"ok"}"#,
        r#"{"name":"nap","payload":5}"#,
        r#"{"name":"spin"}"#,
        r#"{"name":"fetch","payload":"a.example"}"#,
    ];
    push(&Store::open(&settings).await?, &jobs).await?;
    eventually("every family", async || {
        let (_, text) = get(address, "/metrics")?;
        let scrape = Scrape::of(&text);
        let all = scrape.sum("kiln_denials_total", &[]) * scrape.sum("kiln_limit_hits_total", &[]);
        let settled = scrape.sum("kiln_store_operation_seconds_count", &["settle"]);
        Ok((all * settled > 0.0).then_some((text, scrape)))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_page_lists_every_metric_with_its_labels_and_the_examples_use_no_other() -> anyhow::Result<()> {
    let (text, scrape) = full_scrape().await?;
    let names = scrape.names();
    let families = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let rows: BTreeSet<String> = families
        .map(|(family, kind)| {
            let (name, series) = match kind {
                "counter" => (format!("{family}_total"), format!("{family}_total")),
                "histogram" => (family.to_owned(), format!("{family}_count")),
                _ => (family.to_owned(), family.to_owned()),
            };
            let labels: Vec<_> = names[&*series].iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() {
                "–".to_owned()
            } else {
                labels.join(", ")
            };
            format!("| `{name}` | {kind} | {labels} |")
        })
        .collect();
    let operators = page("docs/operators.md");
    let (_, table) = operators.split_once("| metric | type | labels |").expect("the table");
    let listed = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let listed: BTreeSet<_> = listed
        .map(|line| {
            let cells: Vec<_> = line.split('|').collect();
            let mut labels: Vec<_> = cells[3].trim().split(", ").collect();
            labels.sort_unstable();
            format!("|{}|{}| {} |", cells[1], cells[2], labels.join(", "))
        })
        .collect();
    assert_eq!(listed, rows);

    for example in ["examples/prometheus/rules.yml", "examples/grafana/kiln.json"] {
        let text = page(example);
        let used = words(&text)
            .filter(|word| word.starts_with("kiln_"))
            .collect::<BTreeSet<_>>();
        assert!(used.len() > 5, "{example}: {used:?}");
        for name in used {
            assert!(names.contains_key(name), "{example}: no series {name}");
        }
        let labels: BTreeSet<_> = names
            .values()
            .flatten()
            .copied()
            .chain(["le", "job", "instance"])
            .collect();
        for clause in grouped(&text) {
            assert!(labels.contains(clause), "{example}: no label {clause}");
        }
    }
    Ok(())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The labels by which expressions group, and those they select by.
fn grouped(text: &str) -> Vec<&str> {
    let mut found: Vec<_> = text
        .split("by (")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .flat_map(|labels| labels.split(','))
        .map(str::trim)
        .collect();
    let selectors = text.split("kiln_").skip(1).filter_map(|rest| {
        let name = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        rest[name..].strip_prefix('{')?.split('}').next()
    });
    found.extend(selectors.flat_map(|labels| {
        labels
            .split(',')
            .filter_map(|label| Some(label.split(['=', '!']).next()?.trim()))
    }));
    found
}
