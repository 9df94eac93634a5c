//! `kiln bench`: how fast this machine and its store are with a plugin.

mod table;

use std::ffi::OsString;
use std::io::{self, Write as _, stdin, stdout};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::plugin::{HostArgs, SandboxArgs, concurrency, default_concurrency, this_program};
use super::push::PayloadSource;
use super::store::{StoreArgs, positive_duration};
use super::worker::{self, Signals, WorkerArgs};
use super::{Usage, machine, out, tell};
use crate::bench::{Bench, BenchError, Launch, Measured, Mode, Report, Times, write_times};
use crate::events::Events;
use crate::job::{DecodeError, MAX_PAYLOAD_BYTES, null};
use crate::plugins::{PluginError, read_plugin};
use crate::queue::QueueName;

/// The queue of measured jobs.
const QUEUE: &str = "bench";

/// Jobs of a burst, and of pushes alone, where nobody says how many.
const JOBS_DEFAULT: u64 = 100_000;

/// Jobs that are due at one instant, where nobody says how many.
const DUE_JOBS_DEFAULT: u64 = 10_000;

/// Jobs a second that come one by one, where nobody says how many: few enough that a worker rests between two.
const RATE_DEFAULT: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// How long rate and idle last, where nobody says how long.
const TIME_DEFAULT: Duration = Duration::from_secs(10);

/// How often the worker writes the times of its jobs.
const TELL_INTERVAL: Duration = Duration::from_millis(50);

/// The key that lengthens a payload.
const PADDING: &str = r#""padding":"""#;

/// The exit code after a signal, as a shell reports an interrupted program.
const EXIT_INTERRUPTED: u8 = 130;

/// Variables that make this program the worker that a benchmark starts.
const WORKER_FOLDER_ENV: &str = "KILN_BENCH_WORKER_FOLDER";
const WORKER_PREFIX_ENV: &str = "KILN_BENCH_WORKER_PREFIX";

/// Measure pushes, throughput and latency against a store, with a plugin
///
/// Jobs are made, pushed, fetched, run and settled as ever, by a worker in a process of its own. Beside its figures stand
/// floors measured in the same run: the handler in fresh instances without a queue, and bare commands of Redis. The ratios
/// can be compared between machines, the figures cannot. Everything it writes is under a prefix of its own, and deleted
/// in the end.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln bench
  kiln bench plugins/hello.wasm '{\"to\": \"World\"}' --payload-bytes 400
  kiln bench plugins/hello.wasm --mode rate --rate 50 --time 1m --json")]
pub(super) struct BenchArgs {
    /// The component; its manifest may be beside it. Without one, only pushes are measured
    plugin: Option<PathBuf>,
    /// The payload of every job: JSON text, @FILE, or - for standard input [default: null]
    payload: Option<PayloadSource>,
    /// What is measured [default: burst; push where no plugin is named]
    #[arg(long, value_enum, value_name = "MODE")]
    mode: Option<ModeArg>,
    /// Jobs of burst, cores and push [default: 100000], and of due [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    jobs: Option<u64>,
    /// Jobs a second of rate [default: 100]
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// How long rate and idle last [default: 10s]
    #[arg(long, value_parser = positive_duration, value_name = "DURATION")]
    time: Option<Duration>,
    /// Make the payload so long, with a key `padding` that handlers are to ignore
    #[arg(long, value_name = "N")]
    payload_bytes: Option<usize>,
    /// Attempts at once [default: 32 for each core]
    #[arg(long, env = "KILN_CONCURRENCY", value_parser = concurrency, value_name = "N")]
    concurrency: Option<NonZeroU32>,
    /// Jobs that stand behind those of burst in their queue
    #[arg(long, value_name = "N")]
    backlog: Option<u64>,
    /// Jobs that are delayed until long after
    #[arg(long, value_name = "N")]
    delayed: Option<u64>,
    /// Copies of the plugin that are loaded beside it, under other names
    #[arg(long, value_name = "N")]
    copies: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sandbox: SandboxArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Be the worker that is measured, with this plugin folder
    #[arg(long, env = WORKER_FOLDER_ENV, hide = true, requires = "worker_prefix")]
    worker_folder: Option<PathBuf>,
    /// The prefix of the keys of the worker that is measured
    #[arg(long, env = WORKER_PREFIX_ENV, hide = true)]
    worker_prefix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// How fast jobs are pushed, a thousand at once and one by one
    Push,
    /// How fast a worker gets through jobs that are all there
    Burst,
    /// How much faster a worker gets through them on all cores than on one
    Cores,
    /// How long jobs take that come one by one, at even intervals: from when each is due until its handler is called, and
    /// until it is settled
    Rate,
    /// How punctual delayed jobs are that are all due at one instant
    Due,
    /// What a worker takes that has nothing to do
    Idle,
}

pub(super) async fn bench(mut args: BenchArgs) -> anyhow::Result<ExitCode> {
    if let Some(folder) = args.worker_folder.take() {
        return serve(args, folder).await;
    }
    let mode = mode(&args)?;
    let payload = payload(&mut args)?;
    let concurrency = args.concurrency.unwrap_or_else(default_concurrency);
    // The worker raises this limit by itself, too.
    machine::raise_open_files();
    machine::give_back_large_blocks();
    let measured = args
        .plugin
        .as_ref()
        .map(|wasm| measured(&args, wasm, concurrency))
        .transpose()?;
    let prefix = format!("{}:bench-{:016x}", args.store.prefix(), fastrand::u64(..));
    let launch = launch(&prefix)?;
    args.store.set_prefix(prefix);
    let default_jobs = if mode == Mode::Due {
        DUE_JOBS_DEFAULT
    } else {
        JOBS_DEFAULT
    };
    let bench = Bench {
        mode,
        store: args.store.open().await?,
        queue: QueueName::new(QUEUE).map_err(anyhow::Error::msg)?,
        measured,
        launch,
        payload,
        concurrency,
        jobs: args.jobs.unwrap_or(default_jobs),
        time: args.time.unwrap_or(TIME_DEFAULT),
        backlog: args.backlog.unwrap_or(0),
        delayed: args.delayed.unwrap_or(0),
        copies: args.copies.unwrap_or(0),
        bar: ProgressBar::new(0),
    };
    run(&bench, args.json).await
}

async fn run(bench: &Bench, json: bool) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let done = tokio::select! {
        biased;
        () = signals.next() => None,
        done = bench.run() => Some(done),
    };
    let failure = bench.first_failure().await;
    bench.bar.finish_and_clear();
    if let Err(err) = bench.clean_up().await {
        tell(&format!("kiln: its keys could not all be deleted: {err}"));
    }
    let Some(report) = done else {
        tell("kiln: interrupted; its keys are deleted");
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    };
    let report = report.map_err(|err| match err {
        // An error of the store keeps the store's exit code.
        BenchError::Store(err) => anyhow::Error::new(err),
        err => anyhow::Error::new(err),
    })?;
    print(&report, json)?;
    if let Some(why) = failure? {
        tell(&format!(
            "kiln: jobs failed, and were measured all the same; the first: {why}"
        ));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut out = out();
    if json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
    } else {
        for line in table::lines(report) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// The mode that is asked for. Refuses flags that mean nothing in it.
fn mode(args: &BenchArgs) -> Result<Mode, Usage> {
    let default = if args.plugin.is_some() {
        ModeArg::Burst
    } else {
        ModeArg::Push
    };
    let mode = args.mode.unwrap_or(default);
    let name = |mode: ModeArg| {
        mode.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    };
    if args.plugin.is_none() && mode != ModeArg::Push {
        let name = name(mode);
        return Err(Usage(format!(
            "--mode {name} needs a plugin: kiln bench FILE.wasm --mode {name}"
        )));
    }
    let with_copies = &[
        ModeArg::Burst,
        ModeArg::Cores,
        ModeArg::Rate,
        ModeArg::Due,
        ModeArg::Idle,
    ][..];
    let with_delayed = &[ModeArg::Burst, ModeArg::Rate, ModeArg::Due, ModeArg::Idle][..];
    let meant: [(&str, bool, &[ModeArg]); 6] = [
        (
            "--jobs",
            args.jobs.is_some(),
            &[ModeArg::Push, ModeArg::Burst, ModeArg::Cores, ModeArg::Due],
        ),
        ("--rate", args.rate.is_some(), &[ModeArg::Rate]),
        ("--time", args.time.is_some(), &[ModeArg::Rate, ModeArg::Idle]),
        ("--backlog", args.backlog.is_some(), &[ModeArg::Burst]),
        ("--delayed", args.delayed.is_some(), with_delayed),
        ("--copies", args.copies.is_some(), with_copies),
    ];
    for (flag, given, modes) in meant {
        if given && !modes.contains(&mode) {
            let modes: Vec<_> = modes.iter().map(|mode| name(*mode)).collect();
            let (mode, modes) = (name(mode), modes.join(", "));
            return Err(Usage(format!("{flag} means nothing to mode {mode}; it is for {modes}")));
        }
    }
    Ok(match mode {
        ModeArg::Push => Mode::Push,
        ModeArg::Burst => Mode::Burst,
        ModeArg::Cores => Mode::Cores,
        ModeArg::Rate => Mode::Rate(args.rate.unwrap_or(RATE_DEFAULT)),
        ModeArg::Due => Mode::Due,
        ModeArg::Idle => Mode::Idle,
    })
}

/// The payload, padded to the length that is asked for.
fn payload(args: &mut BenchArgs) -> anyhow::Result<Box<RawValue>> {
    let payload = args.payload.take().map_or_else(|| Ok(null()), PayloadSource::read)?;
    let Some(bytes) = args.payload_bytes else {
        return Ok(payload);
    };
    if bytes > MAX_PAYLOAD_BYTES {
        return Err(Usage(DecodeError::PayloadTooLarge { len: bytes }.to_string()).into());
    }
    let start = match payload.get().strip_suffix('}') {
        Some(start) if start.trim_end() == "{" => start.to_owned(),
        Some(start) => format!("{start},"),
        None if payload.get() == "null" => "{".to_owned(),
        None => {
            let why = "--payload-bytes adds a key to the payload, which has to be an object for that";
            return Err(Usage(why.to_owned()).into());
        }
    };
    let least = start.len() + PADDING.len() + 1;
    let missing = bytes.checked_sub(least).ok_or_else(|| {
        Usage(format!(
            "--payload-bytes {bytes}: this payload has at least {least} then"
        ))
    })?;
    let quote = PADDING.strip_suffix('"').unwrap_or(PADDING);
    let text = format!("{start}{quote}{}\"}}", "x".repeat(missing));
    Ok(RawValue::from_string(text)?)
}

fn measured(args: &BenchArgs, wasm: &Path, concurrency: NonZeroU32) -> anyhow::Result<Measured> {
    let sandbox = args.sandbox.open(concurrency)?;
    let (bytes, manifest) = read_plugin(wasm, sandbox.limits())?;
    let stem = wasm
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let job = manifest.jobs.as_ref().and_then(|jobs| jobs.first().cloned());
    let handler = sandbox
        .load(&stem, &bytes, &manifest)
        .map_err(|source| PluginError::Load {
            path: wasm.to_owned(),
            source,
        })?;
    Ok(Measured {
        wasm: wasm.to_owned(),
        job: job.unwrap_or(stem),
        handler: Arc::new(handler),
    })
}

/// How to start this program with the same arguments, as the worker.
fn launch(prefix: &str) -> anyhow::Result<Launch> {
    // The log lines of a usual worker would come between the lines of the benchmark.
    let log = std::env::var_os("KILN_LOG").unwrap_or_else(|| "warn".into());
    Ok(Launch {
        program: this_program()?,
        args: std::env::args_os().skip(1).collect(),
        env: vec![(WORKER_PREFIX_ENV, OsString::from(prefix)), ("KILN_LOG", log)],
        folder_env: WORKER_FOLDER_ENV,
    })
}

/// Serves as the measured worker, until the process that measures closes its input or is gone.
async fn serve(mut args: BenchArgs, folder: PathBuf) -> anyhow::Result<ExitCode> {
    let (times, stop, over) = (
        Arc::<Times>::default(),
        CancellationToken::new(),
        Arc::new(AtomicBool::new(false)),
    );
    let told = stop.clone();
    thread::spawn(move || {
        let _ = io::copy(&mut stdin(), &mut io::sink());
        told.cancel();
    });
    let (from, ended) = (Arc::clone(&times), Arc::clone(&over));
    let telling = thread::spawn(move || tell_times(&from, &ended));
    args.store.set_prefix(args.worker_prefix.unwrap_or_default());
    let host = HostArgs::new(folder, args.concurrency, args.sandbox);
    let queue = QueueName::new(QUEUE).map_err(anyhow::Error::msg)?;
    let events = Events::default();
    events.subscribe(&times);
    let served = worker::worker(WorkerArgs::serving(host, queue, args.store, events, stop)).await;
    over.store(true, Ordering::Release);
    let _ = telling.join();
    served
}

/// Writes the times of jobs to standard output, on a thread of its own, until it is over and all are written.
fn tell_times(times: &Times, over: &AtomicBool) {
    loop {
        let last = over.load(Ordering::Acquire);
        let told = times.take();
        if (!told.is_empty() && write_times(&told, stdout()).is_err()) || last {
            return;
        }
        thread::sleep(TELL_INTERVAL);
    }
}
