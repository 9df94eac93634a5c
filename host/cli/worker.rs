//! `kiln worker`: the service.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::plugin::HostArgs;
use super::push::{Batch, BatchFile};
use super::store::{StoreArgs, duration, positive_duration};
use super::{EXIT_SIGNAL, EXIT_STORE, Usage, log, machine};
use crate::config::{
    CountRange, HOLD_DEFAULT, Limit, PluginSettings, QUARANTINE_LEAST_ATTEMPTS, Quarantine, TimeRange, Unknown,
};
use crate::events::Events;
use crate::observe::Log;
use crate::plugins::{PluginError, Plugins, Watching};
use crate::queue::{
    LEASE_DEFAULT, QUEUE_DEFAULT, QueueName, RESULT_TTL_DEFAULT, Retention, StateStore, Store, StoreSettings,
};
use crate::service::{self, Drained, GRACE_DEFAULT, ServiceSettings};

/// Further signals within this time of the first count as the same signal.
const ONE_WISH: Duration = Duration::from_millis(500);

/// Run jobs: the service
///
/// Takes jobs from its queues and runs each in its plugin's sandbox, until SIGTERM or SIGINT. It then takes nothing new,
/// lets what runs finish within the grace period, and gives the rest back uncounted. A second signal stops it at once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kiln worker --plugins ./plugins --queue critical=5 --queue default")]
pub(super) struct WorkerArgs {
    #[command(flatten)]
    pub(super) host: HostArgs,
    /// A queue to serve, with its weight; repeat for more
    #[arg(long = "queue", env = "KILN_QUEUES", default_value = QUEUE_DEFAULT, value_parser = weighted_queue,
          value_delimiter = ',', value_name = "NAME[=WEIGHT]")]
    queues: Vec<(QueueName, NonZeroU32)>,
    /// Serve a queue only while those named before it have no ready job, whatever their weights
    #[arg(long, env = "KILN_STRICT", value_parser = BoolishValueParser::new())]
    strict: bool,
    /// Stop by itself, with exit code 0, once nothing is ready, waiting, delayed or in flight
    #[arg(long, env = "KILN_BURST", value_parser = BoolishValueParser::new())]
    burst: bool,
    /// How long running attempts may go on after SIGTERM
    #[arg(long, env = "KILN_GRACE", default_value = "20s", value_parser = duration, value_name = "DURATION")]
    grace: Duration,
    /// How long this host may be silent before others take over what it holds
    #[arg(long, env = "KILN_LEASE", default_value = "10s", value_parser = lease, value_name = "DURATION")]
    lease: Duration,
    /// How long a completed job's result is kept; 0s: not at all
    #[arg(long, env = "KILN_RESULT_TTL", default_value = "1h", value_parser = duration, value_name = "DURATION")]
    result_ttl: Duration,
    /// Keep no more than this many failed entries: every 10 s the oldest beyond them are dropped, counted and logged
    /// [default: all]
    #[arg(long, env = "KILN_FAILED_MAX", value_name = "N")]
    failed_max: Option<u64>,
    /// Keep no failed entry for longer than this; what is older is dropped, counted and logged [default: for ever]
    #[arg(long, env = "KILN_FAILED_MAX_AGE", value_parser = positive_duration, value_name = "DURATION")]
    failed_max_age: Option<Duration>,
    /// What becomes of a job that no plugin handles
    #[arg(long, env = "KILN_UNKNOWN", value_enum, default_value = "fail", value_name = "FATE")]
    unknown: UnknownFate,
    /// Set a version of a plugin aside when more than this share of its attempts within this time trap, time out or run
    /// out of memory (at least 20 attempts): the version before it serves again, or its jobs wait. `kiln plugins` tells why,
    /// and releases it [default: never]
    #[arg(long, env = "KILN_QUARANTINE", value_parser = quarantine, value_name = "PERCENT/DURATION")]
    quarantine: Option<Quarantine>,
    /// Do not reload plugins that change; SIGHUP still does
    #[arg(long, env = "KILN_NO_WATCH", value_parser = BoolishValueParser::new())]
    no_watch: bool,
    /// Push the jobs of this NDJSON file first (- for standard input); the way to use --store memory:
    #[arg(long, env = "KILN_JOBS", value_name = "FILE")]
    jobs: Option<BatchFile>,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// Where it is told what happens.
    #[arg(skip)]
    events: Events,
    /// Has it stop, as a signal does.
    #[arg(skip)]
    stop: CancellationToken,
}

impl WorkerArgs {
    /// The defaults, for a worker that serves one queue until `stop`, and tells what happens as `events`.
    pub(super) fn serving(
        host: HostArgs,
        queue: QueueName,
        store: StoreArgs,
        events: Events,
        stop: CancellationToken,
    ) -> Self {
        Self {
            host,
            queues: vec![(queue, NonZeroU32::MIN)],
            strict: false,
            burst: false,
            grace: GRACE_DEFAULT,
            lease: LEASE_DEFAULT,
            result_ttl: RESULT_TTL_DEFAULT,
            failed_max: None,
            failed_max_age: None,
            unknown: UnknownFate::Fail,
            quarantine: None,
            no_watch: false,
            jobs: None,
            store,
            events,
            stop,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum UnknownFate {
    /// It goes to the failed list at once; `kiln failed retry --kind unknown-job` brings it back
    Fail,
    /// It waits some 10 s, again and again, until a plugin handles it; no attempt is counted. For deployments that push
    /// new jobs before every worker has the plugin
    Hold,
}

impl From<UnknownFate> for Unknown {
    fn from(fate: UnknownFate) -> Self {
        match fate {
            UnknownFate::Fail => Self::Fail,
            UnknownFate::Hold => Self::Hold(HOLD_DEFAULT),
        }
    }
}

pub(super) async fn worker(args: WorkerArgs) -> anyhow::Result<ExitCode> {
    log::detach().context("cannot start the log's thread")?;
    let mut names = BTreeSet::new();
    if let Some((twice, _)) = args.queues.iter().find(|(queue, _)| !names.insert(queue)) {
        return Err(Usage(format!("queue {twice} is named twice")).into());
    }
    let folder = args.host.plugins.clone();
    if !folder.is_dir() {
        // Checked before the store is asked: it is easier to mend.
        return Err(PluginError::Folder(folder).into());
    }
    let batch = args.jobs.as_ref().map(Batch::open).transpose()?;
    machine::raise_open_files();
    machine::give_back_large_blocks();
    tokio::spawn(machine::give_back_small_blocks());
    let settings = StoreSettings {
        result_ttl: args.result_ttl,
        ..args.store.settings()
    };
    let store = Store::open(&settings).await?;
    let plugin_settings = PluginSettings {
        quarantine: args.quarantine,
        ..PluginSettings::default()
    };
    let sandbox = args.host.open(Arc::new(StateStore::beside(&store, &settings)))?;
    let job_memory_bytes = sandbox.limits().get(Limit::JobMemory);
    args.events.subscribe(&Arc::new(Log));
    let plugins = Plugins::open(sandbox, &folder, plugin_settings, args.events).await?;
    if let Some(batch) = batch {
        batch.push(&store, &args.queues[0].0).await?;
    }
    let watching = Watching {
        by_itself: !args.no_watch,
        ..Watching::default()
    };
    let settings = ServiceSettings {
        queues: args.queues,
        strict: args.strict,
        retention: Retention {
            max: args.failed_max,
            max_age: args.failed_max_age,
        },
        concurrency: args.host.concurrency(),
        job_memory_bytes,
        grace: args.grace,
        lease: args.lease,
        burst: args.burst,
        unknown: args.unknown.into(),
        watching: watching.clone(),
    };
    let stop = args.stop;
    tokio::spawn(stop_on_signal(stop.clone(), Signals::new()?));
    tokio::spawn(look_on_signal(on(SignalKind::hangup())?, watching.asked));
    if plugins.jobs().is_empty() {
        tracing::warn!(folder = %folder.display(), "no plugin is loaded: no job can be run");
    }
    match service::run(settings, store, plugins, stop).await? {
        Drained::Clean => {
            tracing::info!("worker stopped; nothing was interrupted");
            Ok(ExitCode::SUCCESS)
        }
        Drained::Unsettled => {
            tracing::error!(
                "worker stopped; the store did not take the last settlements, their jobs come back in time"
            );
            Ok(ExitCode::from(EXIT_STORE))
        }
        Drained::Interrupted(attempts) => {
            tracing::warn!(
                attempts,
                "worker stopped; attempts were interrupted and their jobs given back"
            );
            Ok(ExitCode::from(6))
        }
    }
}

/// The signals that ask for an end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn on(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot listen for signals")
}

/// Has the plugin folder looked at whenever the signal comes.
async fn look_on_signal(mut signal: Signal, asked: Arc<Notify>) {
    while signal.recv().await.is_some() {
        asked.notify_one();
    }
}

async fn stop_on_signal(stop: CancellationToken, mut signals: Signals) {
    signals.next().await;
    tracing::info!("stopping; a second signal stops at once");
    stop.cancel();
    let first = Instant::now();
    // Wrappers pass on a signal that their whole process group got already: the two count as one.
    while first.elapsed() < ONE_WISH {
        signals.next().await;
    }
    tracing::warn!("stopped at once; what was in flight comes back when the lease runs out");
    log::flush();
    std::process::exit(EXIT_SIGNAL.into());
}

/// `50%/1m`: more than half of the attempts within a minute.
fn quarantine(text: &str) -> Result<Quarantine, String> {
    let wrong = || format!("{text:?}: write it like 50%/1m");
    let (percent, window) = text.split_once('/').ok_or_else(wrong)?;
    let percent: f64 = percent
        .strip_suffix('%')
        .and_then(|number| number.parse().ok())
        .ok_or_else(wrong)?;
    if !(0.0..100.0).contains(&percent) {
        return Err("the share must be at least 0% and less than 100%".to_owned());
    }
    Ok(Quarantine {
        share: percent / 100.0,
        window: QUARANTINE_WINDOW.parse(window)?,
        least_attempts: QUARANTINE_LEAST_ATTEMPTS,
    })
}

fn weighted_queue(text: &str) -> Result<(QueueName, NonZeroU32), String> {
    let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
    let weight = NonZeroU32::new(WEIGHT.parse(weight)?).ok_or(WEIGHT.why)?;
    Ok((QueueName::new(name)?, weight))
}

const WEIGHT: CountRange = CountRange {
    what: "turns",
    least: 1,
    most: 1_000_000,
    why: "a queue with a millionth of another's weight is as good as not served",
};

const LEASE: TimeRange = TimeRange {
    least: Duration::from_secs(1),
    most: Duration::from_hours(1),
    why: "it outlasts a few heartbeats of a busy machine, and jobs of a host that died wait so long",
};

const QUARANTINE_WINDOW: TimeRange = TimeRange {
    least: Duration::from_secs(1),
    most: Duration::from_hours(24),
    why: "within less too few attempts are made; what was longer ago says little",
};

fn lease(text: &str) -> Result<Duration, String> {
    LEASE.parse(text)
}
