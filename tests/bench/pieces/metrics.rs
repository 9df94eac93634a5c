//! What counting one job costs: all that is told of it, from its fetch to its settlement.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use kiln::events::{Event, Events, LoadedPlugin, PluginVersion, Run};
use kiln::job::{Job, null};
use kiln::observe::{Endpoint, Keep, Metrics, Receiver, Traces, Vitals};
use kiln::outcome::{Attempt, Fate, Outcome, Report};
use kiln::queue::MAX_BATCH;

use crate::support::default_queue;

const HELLO: PluginVersion<'static> = PluginVersion {
    number: 1,
    name: "hello",
    digest: "0123456789ab",
};

pub(crate) fn metrics(c: &mut Criterion) {
    let mut group = c.benchmark_group("metrics");
    group.throughput(Throughput::Elements(MAX_BATCH as u64));
    for (name, counted, loaded) in [
        ("not counted", false, true),
        ("counted", true, true),
        ("counted as _other", true, false),
    ] {
        let events = Events::default();
        let metrics = Arc::new(Metrics::new([&default_queue()], Arc::<Vitals>::default()));
        if counted {
            events.subscribe(&metrics);
        }
        if loaded {
            events.tell(Event::PluginLoaded(LoadedPlugin {
                plugin: HELLO,
                version: None,
                jobs: &[],
                bytes: 0,
                took: Duration::ZERO,
                replaced: None,
            }));
        }
        group.bench_function(name, |b| b.iter(|| a_batch(black_box(&events))));
    }
    // Nobody listens there, and with a share of none nothing is sent.
    let nobody = Endpoint {
        url: "http://127.0.0.1:1".to_owned(),
        headers: Vec::new(),
        instance: String::new(),
    };
    let receiver = Receiver::start(nobody).unwrap();
    for (name, share, exemplars) in [
        ("no attempt becomes a span", 0.0, true),
        ("every attempt becomes a span", 1.0, false),
        ("every attempt becomes a span and an exemplar", 1.0, true),
    ] {
        let (events, slow) = (Events::default(), Duration::from_secs(1));
        let keep = Keep {
            share,
            slow,
            as_child: false,
        };
        let metrics = Arc::new(Metrics::new([&default_queue()], Arc::<Vitals>::default()));
        let exemplars = exemplars.then_some(metrics);
        events.subscribe(&Arc::new(Traces::new(keep, Arc::clone(&receiver), exemplars)));
        group.bench_function(name, |b| b.iter(|| a_batch(black_box(&events))));
    }
    group.finish();
}

/// All that is told of a batch of jobs.
fn a_batch(events: &Events) {
    let (job, attempt) = (Job::new("hello", "default", null()), attempt());
    let queue = "default";
    events.tell(Event::Fetched {
        queue,
        first_tag: 1,
        jobs: MAX_BATCH,
    });
    let fetched = Instant::now();
    for tag in 1..=MAX_BATCH as u64 {
        let run = Run {
            tag,
            queue,
            job: &job,
            fetched,
            from_lane: false,
            plugin: HELLO,
            attempt: 1,
            max_attempts: 3,
            span: None,
        };
        events.tell(Event::Started(run));
        events.tell(Event::Ended { run, attempt: &attempt });
    }
    let settled: Vec<_> = (1..=MAX_BATCH as u64).map(|tag| (tag, Fate::Acked)).collect();
    events.tell(Event::Settled {
        queue,
        settled: &settled,
        refused: &[],
        again: false,
    });
}

fn attempt() -> Attempt {
    Attempt {
        outcome: Outcome::Completed { result: None },
        asked: kiln::outcome::Asked::default(),
        report: Report {
            peak_memory_bytes: 1 << 20,
            ..Report::default()
        },
    }
}
