//! `kiln worker`: the service.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::alerts::AlertArgs;
use super::history::HistoryArgs;
use super::plugin::HostArgs;
use super::push::{BatchFile, JobFile};
use super::receivers::{MetricArgs, TraceArgs};
use super::store::{StoreArgs, duration, positive_duration};
use super::telling::Telling;
use super::ui::UiArgs;
use super::{EXIT_SIGNAL, EXIT_STORE, Usage, log, machine, systemd};
use crate::config::{
    CountRange, Expired, HOLD_DEFAULT, Limit, PluginSettings, QUARANTINE_LEAST_ATTEMPTS, Quarantine, SandboxSettings,
    TimeRange, Unknown,
};
use crate::events::Events;
use crate::observe::{Log, Vitals};
use crate::plugins::{PluginError, Plugins, Watching};
use crate::queue::{
    LEASE_DEFAULT, QUEUE_DEFAULT, QueueName, RESULT_TTL_DEFAULT, Retention, StateStore, Store, StoreSettings,
};
use crate::service::{self, Drained, GRACE_DEFAULT, ServiceSettings};
use crate::state::Keeper;
use crate::web::{Local, TrialSettings};

/// Further signals within this time of the first count as the same signal.
const ONE_WISH: Duration = Duration::from_millis(500);

/// Run jobs: the service
///
/// Takes jobs from its queues and runs each in its plugin's sandbox, until SIGTERM or SIGINT. It then takes nothing new,
/// lets what runs finish within the grace period, and gives the rest back uncounted. A second signal stops it at once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kiln worker --plugins ./plugins --queue critical=5 --queue default")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct WorkerArgs {
    #[command(flatten)]
    pub(super) host: HostArgs,
    /// A queue to serve, with its weight; repeat for more
    #[arg(long = "queue", env = "KILN_QUEUES", default_value = QUEUE_DEFAULT, value_parser = weighted_queue,
          value_delimiter = ',', value_name = "NAME[=WEIGHT]")]
    pub(super) queues: Vec<(QueueName, NonZeroU32)>,
    /// Serve with each queue its siblings NAME:high and NAME:low: of ten turns NAME:high has six, NAME three and NAME:low one,
    /// while all have jobs. A producer chooses by the queue that it pushes to
    #[arg(long, env = "KILN_LEVELS", value_parser = BoolishValueParser::new())]
    levels: bool,
    /// Serve a queue only while those named before it have no ready job, whatever their weights
    #[arg(long, env = "KILN_STRICT", value_parser = BoolishValueParser::new())]
    strict: bool,
    /// Stop by itself, with exit code 0, once nothing is ready, waiting, delayed or in flight, except what is paused
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
    /// What becomes of a job that is too old to run, by metadata.kiln.expires or its plugin's `expire`
    #[arg(long, env = "KILN_EXPIRED", value_enum, default_value = "drop", value_name = "FATE")]
    expired: ExpiredFate,
    #[command(flatten)]
    history: HistoryArgs,
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
    /// Answer probes and Prometheus over HTTP on this address, or on this port of 127.0.0.1: /livez, /readyz, /startupz,
    /// /metrics [default: none]
    #[arg(long, env = "KILN_LISTEN", value_parser = address, value_name = "[ADDRESS:]PORT")]
    listen: Option<SocketAddr>,
    /// Serve the dashboard on this address, or on this port of 127.0.0.1; the way to see a store in memory [default: none]
    #[arg(long, env = "KILN_UI", value_parser = address, value_name = "[ADDRESS:]PORT", help_heading = "Dashboard")]
    ui: Option<SocketAddr>,
    #[command(flatten)]
    dashboard: UiArgs,
    #[command(flatten)]
    traces: TraceArgs,
    #[command(flatten)]
    metrics: MetricArgs,
    #[command(flatten)]
    alerts: AlertArgs,
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
    /// The queues that it serves.
    ///
    /// # Errors
    /// When one is named twice, or a level's name would be too long.
    pub(super) fn served(&self) -> Result<Vec<(QueueName, NonZeroU32)>, Usage> {
        let queues = if self.levels {
            with_levels(&self.queues)?
        } else {
            self.queues.clone()
        };
        let mut names = BTreeSet::new();
        match queues.iter().find(|(queue, _)| !names.insert(queue)) {
            Some((twice, _)) => Err(Usage(format!("queue {twice} is named twice"))),
            None => Ok(queues),
        }
    }

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
            levels: false,
            strict: false,
            burst: false,
            grace: GRACE_DEFAULT,
            lease: LEASE_DEFAULT,
            result_ttl: RESULT_TTL_DEFAULT,
            failed_max: None,
            failed_max_age: None,
            unknown: UnknownFate::Fail,
            expired: ExpiredFate::Drop,
            history: HistoryArgs::default(),
            quarantine: None,
            no_watch: false,
            jobs: None,
            listen: None,
            ui: None,
            dashboard: UiArgs::default(),
            traces: TraceArgs::default(),
            metrics: MetricArgs::default(),
            alerts: AlertArgs::default(),
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

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ExpiredFate {
    /// It is dropped, counted and logged
    Drop,
    /// It goes to the failed list, with the kind expired
    Keep,
}

impl From<ExpiredFate> for Expired {
    fn from(fate: ExpiredFate) -> Self {
        match fate {
            ExpiredFate::Drop => Self::Drop,
            ExpiredFate::Keep => Self::Keep,
        }
    }
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
    let (queues, first_queue) = (args.served()?, args.queues[0].0.clone());
    let folder = args.host.plugins.clone();
    if !folder.is_dir() {
        // Checked before the store is asked: it is easier to mend.
        return Err(PluginError::Folder(folder).into());
    }
    let batch = args.jobs.as_ref().map(JobFile::open).transpose()?;
    let (vitals, stop) = (Arc::<Vitals>::default(), args.stop);
    let receivers = (&args.traces, &args.metrics);
    let telling = Telling::start(args.listen, receivers, &queues, &vitals, &args.events).await?;
    machine::raise_open_files();
    machine::give_back_large_blocks();
    tokio::spawn(machine::give_back_small_blocks());
    let settings = StoreSettings {
        result_ttl: args.result_ttl,
        history_ttl: args.history.history_ttl,
        ..args.store.settings()
    };
    let mut store = Store::open(&settings).await?;
    if telling.counts {
        store = store.watched(args.events.clone());
    }
    let (name, local) = (args.store.shown(), Local::new(Arc::clone(&vitals)));
    let state = Arc::new(StateStore::beside(&store, &settings));
    let tried_in = SandboxSettings {
        state: Some(Arc::clone(&state) as Arc<dyn Keeper>),
        ..args.host.settings()?
    };
    let trials = TrialSettings::new(tried_in, Some(folder.clone()));
    let ui = args.dashboard.beside_worker(args.ui, &store, name, local, trials);
    let ui = ui.await?;
    let plugin_settings = PluginSettings {
        quarantine: args.quarantine,
        ..PluginSettings::default()
    };
    let sandbox = args.host.open(state)?;
    let job_memory_bytes = sandbox.limits().get(Limit::JobMemory);
    args.events.subscribe(&Arc::new(Log));
    let plugins = Plugins::open(sandbox, &folder, plugin_settings, args.events).await?;
    if let Some(batch) = batch {
        batch.push(&store, &first_queue).await?;
    }
    let watching = Watching {
        by_itself: !args.no_watch,
        ..Watching::default()
    };
    let settings = ServiceSettings {
        queues,
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
        expired: args.expired.into(),
        history: args.history.settings(),
        spans: args.traces.spans(),
        watching: watching.clone(),
        vitals: Arc::clone(&vitals),
    };
    args.alerts.start(&store, &vitals, &stop)?;
    tokio::spawn(stop_on_signal(stop.clone(), Signals::new()?));
    tokio::spawn(look_on_signal(on(SignalKind::hangup())?, watching));
    tokio::spawn(systemd::tell(vitals, stop.clone()));
    if plugins.jobs().is_empty() {
        tracing::warn!(folder = %folder.display(), "no plugin is loaded: no job can be run");
    }
    // A task of its own: this thread would be one more that is woken for each batch of jobs.
    let drained = tokio::spawn(service::run(settings, store, plugins, stop)).await?;
    if let Some(ui) = ui {
        ui.end().await;
    }
    telling.end().await?;
    Ok(told(drained?))
}

/// How the worker ended, in the log and as its exit code.
fn told(drained: Drained) -> ExitCode {
    match drained {
        Drained::Clean => {
            tracing::info!("worker stopped; nothing was interrupted");
            ExitCode::SUCCESS
        }
        Drained::Unsettled => {
            tracing::error!(
                "worker stopped; the store did not take the last settlements, their jobs come back in time"
            );
            ExitCode::from(EXIT_STORE)
        }
        Drained::Interrupted(attempts) => {
            tracing::warn!(
                attempts,
                "worker stopped; attempts were interrupted and their jobs given back"
            );
            ExitCode::from(6)
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
async fn look_on_signal(mut signal: Signal, watching: Watching) {
    while signal.recv().await.is_some() {
        systemd::reloading().await;
        watching.asked.notify_one();
        watching.looked.notified().await;
        systemd::reloaded().await;
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

/// What levels are called behind the name of their queue, the first first, and how many of ten turns each has.
const LEVELS: [(&str, u32); 3] = [(":high", 6), ("", 3), (":low", 1)];

/// Each queue with its siblings, in the order of their levels.
fn with_levels(queues: &[(QueueName, NonZeroU32)]) -> Result<Vec<(QueueName, NonZeroU32)>, Usage> {
    let levels = queues.iter().flat_map(|queue| LEVELS.map(|level| (queue, level)));
    let named = levels.map(|((queue, weight), (level, turns))| {
        let name = QueueName::new(&format!("{queue}{level}")).map_err(|why| Usage(format!("--levels: {why}")))?;
        Ok((
            name,
            weight.saturating_mul(NonZeroU32::new(turns).unwrap_or(NonZeroU32::MIN)),
        ))
    });
    named.collect()
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

/// `9464` on this machine alone, or an address with its port.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let wrong = |_| format!("{text:?}: write it like 9464, 0.0.0.0:9464 or [::]:9464");
    text.parse().map_err(wrong)
}

fn lease(text: &str) -> Result<Duration, String> {
    LEASE.parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MAX_QUEUE_NAME_BYTES;

    #[test]
    fn each_queue_has_three_levels_whose_turns_keep_to_its_weight() {
        let queues = ["a=2", "b"].map(|text| weighted_queue(text).unwrap());
        let levels = with_levels(&queues).unwrap();
        let told: Vec<_> = levels
            .iter()
            .map(|(queue, weight)| format!("{queue}={weight}"))
            .collect();
        assert_eq!(told, ["a:high=12", "a=6", "a:low=2", "b:high=6", "b=3", "b:low=1"]);
        let long = weighted_queue(&"q".repeat(MAX_QUEUE_NAME_BYTES)).unwrap();
        assert!(with_levels(&[long]).is_err());
    }
}
