//! `kiln run`: one attempt, here and now, without a store.

mod state_file;

use std::io::Write as _;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::plugin::SandboxArgs;
use super::push::{PayloadSource, key_value};
use super::result::failure_code;
use super::store::positive_duration;
use super::{Usage, out, plural, tell};
use crate::config::{Grants, RetryPolicy};
use crate::job::{Job, null, saturating_ns};
use crate::outcome::{Attempt, Due, Failure, FailureKind, FollowUp, Outcome, Report, RetryHint};
use crate::plugins::{PluginError, read_plugin};
use crate::queue::{QUEUE_DEFAULT, StateStore, Store, StoreSettings};
use crate::recording::{Recorder, Replayer, Tape};
use crate::sandbox::{AttemptContext, Origin, granted_buckets};
use crate::state::BucketId;
use crate::text::{self, MAX_LINE_BYTES};
use state_file::Buckets;

/// Run a plugin once, without a store
///
/// Makes one attempt as a worker would, with the manifest beside the file. The result goes to standard output; what the
/// handler logged and printed, how long it took and how it ended go to standard error. The exit code tells the outcome.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kiln run markdown.wasm '{\"markdown\": \"# Hello\"}'")]
pub(super) struct RunArgs {
    /// The component
    plugin: PathBuf,
    /// The payload: JSON text, @FILE, or - for standard input [default: null]
    #[arg(allow_negative_numbers = true)]
    payload: Option<PayloadSource>,
    /// The job's name [default: the first that the plugin handles]
    #[arg(long)]
    name: Option<String>,
    /// Which attempt it is
    #[arg(long, default_value = "1", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: u32,
    /// A metadata entry; repeat for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// Time the attempt may take [default: what the manifest says, else 30s]
    #[arg(long, value_parser = positive_duration, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// Grant it this as well, for this attempt: http=https://api.example.com or tcp=db.example.com:5432, whatever address
    /// that has, or through --egress-proxy; state=BUCKET, empty at first; or jobs=NAME, into any queue; repeat for more
    #[arg(long, value_name = "GRANT", value_parser = Allowed::parse)]
    allow: Vec<Allowed>,
    /// Keep every HTTP exchange as a file in this folder, which holds none yet, without its secrets
    #[arg(long, value_name = "DIR", conflicts_with = "replay")]
    record: Option<PathBuf>,
    /// Answer HTTP requests from the files in this folder, and reach no server. A request without a file ends the attempt
    #[arg(long, value_name = "DIR")]
    replay: Option<PathBuf>,
    /// What its buckets hold at first: {"BUCKET": {"KEY": "VALUE"}} [default: nothing]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Write what its buckets hold after the attempt to this file, in the same form
    #[arg(long, value_name = "FILE")]
    state_after: Option<PathBuf>,
    /// Print everything about the attempt as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

/// What `--allow` grants.
#[derive(Debug, Clone)]
enum Allowed {
    Http(Origin),
    /// A host and its port.
    Tcp(String, u16),
    State(String),
    /// A job's name.
    Jobs(String),
}

impl Allowed {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("http", origin)) => Origin::try_from(origin.to_owned()).map(Self::Http),
            Some(("state", bucket)) => BucketId::check_name(bucket).map(|()| Self::State(bucket.to_owned())),
            Some(("jobs", name)) if !name.is_empty() => Ok(Self::Jobs(name.to_owned())),
            Some(("tcp", address)) => {
                let address = address.rsplit_once(':').and_then(|(host, port)| {
                    let port = port.parse().ok()?;
                    Some(Self::Tcp(host.to_owned(), port))
                });
                address.ok_or_else(|| "a grant for TCP is written like tcp=db.example.com:5432".to_owned())
            }
            _ => Err(
                "a grant is written like http=https://api.example.com, tcp=db.example.com:5432, state=BUCKET or jobs=NAME"
                    .to_owned(),
            ),
        }
    }

    fn add_to(&self, grants: &Grants, proxied: bool) -> Result<Grants, String> {
        match self {
            Self::Http(origin) => {
                let private = is_here(origin.name()) || !proxied;
                grants.with(&format!("[[grants.http]]\norigin = \"{origin}\"\nprivate = {private}"))
            }
            Self::Tcp(host, port) => {
                let private = is_here(host.trim_matches(['[', ']'])) || !proxied;
                let address = format!("{host}:{port}");
                grants.with(&format!("[[grants.tcp]]\naddress = {address:?}\nprivate = {private}"))
            }
            // Together with the others, by `all_jobs`.
            Self::Jobs(_) => Ok(grants.clone()),
            Self::State(bucket) => {
                let granted: toml::Table = grants.read("state")?;
                if granted.contains_key(bucket) {
                    return Ok(grants.clone());
                }
                grants.with(&format!("[grants.state.{bucket:?}]"))
            }
        }
    }
}

/// The grants with all jobs that `--allow` names. A manifest that grants jobs itself says all that is granted of them.
fn allow_jobs(allowed: &[Allowed], grants: &Grants) -> Result<Grants, String> {
    let names = allowed.iter().filter_map(|allowed| match allowed {
        Allowed::Jobs(name) => Some(toml::Value::from(name.as_str())),
        _ => None,
    });
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return Ok(grants.clone());
    }
    let names = toml::Value::from(names);
    grants.with(&format!("[grants.jobs]\nnames = {names}\nqueues = [\"*\"]"))
}

/// Whether a server is on this machine. What is granted as private goes around the proxy: where there is one, that is this
/// machine alone.
fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl RunArgs {
    fn tape(&self) -> Result<Option<Tape>, Usage> {
        Ok(match (&self.record, &self.replay) {
            (Some(folder), _) => Some(Tape::Record(Arc::new(Recorder::create(folder).map_err(Usage)?))),
            (None, Some(folder)) => Some(Tape::Replay(Arc::new(Replayer::open(folder).map_err(Usage)?))),
            (None, None) => None,
        })
    }
}

pub(super) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let tape = args.tape()?;
    let proxied = args.sandbox.goes_through_a_proxy();
    let payload = args.payload.map_or_else(|| Ok(null()), PayloadSource::read)?;
    // A state that lives in this process' memory, and ends with it.
    let settings = StoreSettings::new("memory:");
    let state = StateStore::beside(&Store::open(&settings).await?, &settings);
    let sandbox = args
        .sandbox
        .open_with(NonZeroU32::MIN, Arc::new(state.clone()), tape.clone())?;
    let (bytes, mut manifest) = read_plugin(&args.plugin, sandbox.limits())?;
    for allowed in &args.allow {
        manifest.grants = allowed.add_to(&manifest.grants, proxied).map_err(Usage)?;
    }
    manifest.grants = allow_jobs(&args.allow, &manifest.grants).map_err(Usage)?;
    let stem = args
        .plugin
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let name = args
        .name
        .or_else(|| manifest.jobs.as_ref()?.first().cloned())
        .unwrap_or_else(|| stem.clone());
    let mut job = Job::new(&name, QUEUE_DEFAULT, payload);
    job.attempts = args.attempt - 1;
    job.max_attempts = manifest.retry.attempts.get().max(args.attempt);
    job.timeout_ns = args.timeout.map_or(job.timeout_ns, saturating_ns);
    if !args.meta.is_empty() {
        let metadata: std::collections::BTreeMap<_, _> = args.meta.into_iter().collect();
        job.metadata = Some(serde_json::value::to_raw_value(&metadata)?);
    }
    let handler = sandbox
        .load(&stem, &bytes, &manifest)
        .map_err(|source| PluginError::Load {
            path: args.plugin.clone(),
            source,
        })?;
    let buckets = granted_buckets(&stem, &manifest.grants).map_err(Usage)?;
    let before = args
        .state
        .as_deref()
        .map(Buckets::read)
        .transpose()?
        .unwrap_or_default();
    before.fill(&state, &buckets).await?;
    let attempt = handler.run(&job, QUEUE_DEFAULT, &AttemptContext::default()).await;
    state_file::commit(&state, &attempt).await;
    let after = Buckets::of(&state, &buckets).await?;
    if let Some(path) = &args.state_after {
        after.write(path)?;
    }
    if args.json {
        writeln!(out(), "{}", as_json(&attempt, &manifest.retry, &after))?;
    } else {
        show(&attempt, &manifest.retry)?;
        if args.state.is_some() || args.state_after.is_some() {
            after.tell_changes(&before);
        }
    }
    tell_tape(tape.as_ref())?;
    Ok(exit_code(&attempt.outcome))
}

/// What became of recordings.
fn tell_tape(tape: Option<&Tape>) -> anyhow::Result<()> {
    match tape {
        Some(Tape::Record(recorder)) => {
            let kept = recorder.kept().map_err(anyhow::Error::msg)?;
            tell(&format!("recorded {}", plural(kept as u64, "exchange", "exchanges")));
        }
        Some(Tape::Replay(replayer)) => {
            for file in replayer.unused() {
                tell(&format!("not asked for | {}", text::name(&file)));
            }
        }
        Some(Tape::Withhold(_)) | None => {}
    }
    Ok(())
}

fn show(attempt: &Attempt, policy: &RetryPolicy) -> anyhow::Result<()> {
    let report = &attempt.report;
    for (stream, output) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
        if output.dropped_bytes > 0 {
            tell(&format!(
                "{stream} | … {} bytes before this were dropped",
                output.dropped_bytes
            ));
        }
        for line in output.text.lines() {
            tell(&format!("{stream} | {}", text::line(line, usize::MAX)));
        }
    }
    match &attempt.outcome {
        Outcome::Completed { result } => {
            tell(&format!("completed in {}", took(report)));
            for write in &attempt.asked.writes {
                for change in &write.changes {
                    let (bucket, key) = (text::name(write.bucket.as_str()), text::name(&change.key));
                    tell(&format!("written on completion | {bucket} | {key} | {}", change.action));
                }
            }
            tell_follow_ups(attempt);
            if let Some(result) = result {
                writeln!(out(), "{result}")?;
            }
        }
        Outcome::Failed { failure, retry } => {
            let (kind, took, fate) = (failure.kind, took(report), fate(*retry, policy));
            tell(&format!("{failure}\nended as {kind} in {took}; {fate}"));
            if let Some(backtrace) = &failure.backtrace {
                tell(backtrace);
            }
        }
        Outcome::Stopped => tell(&format!("stopped after {}", took(report))),
    }
    Ok(())
}

/// What a worker would push.
fn tell_follow_ups(attempt: &Attempt) {
    for FollowUp {
        id,
        name,
        queue,
        payload,
        due,
        ..
    } in &attempt.asked.follow_ups
    {
        let (queue, name, id) = (text::name(queue), text::name(name), text::name(id));
        let due = match due {
            Due::Now => String::new(),
            Due::After(delay) => format!(
                " | after {:#}",
                SignedDuration::try_from(*delay).unwrap_or(SignedDuration::MAX)
            ),
            Due::At(time) => format!(" | at {time}"),
        };
        let payload = text::line(payload.get(), MAX_LINE_BYTES);
        tell(&format!(
            "pushed on completion | {queue} | {name} | {payload} | {id}{due}"
        ));
    }
}

fn took(report: &Report) -> String {
    let peak = ByteSize(report.peak_memory_bytes);
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    format!(
        "{:.1} ms, {:.1} ms of CPU, peak memory {peak}",
        ms(report.duration),
        ms(report.cpu)
    )
}

/// What a worker would do with a job that has attempts left.
fn fate(retry: RetryHint, policy: &RetryPolicy) -> String {
    match retry {
        RetryHint::Never => "a worker would put the job into the failed list".to_owned(),
        RetryHint::ByPolicy => "a worker would retry the job".to_owned(),
        RetryHint::NotBefore(wait) | RetryHint::NotBeforeUncounted(wait) => {
            let wait = SignedDuration::try_from(wait.min(policy.max)).unwrap_or(SignedDuration::MAX);
            format!("a worker would retry the job after {wait:#}")
        }
    }
}

fn as_json(attempt: &Attempt, policy: &RetryPolicy, state: &Buckets) -> serde_json::Value {
    let report = &attempt.report;
    let (outcome, result, failure, retry): (_, _, Option<&Failure>, _) = match &attempt.outcome {
        Outcome::Completed { result } => ("completed", result.clone(), None, None),
        Outcome::Failed { failure, retry } => ("failed", None, Some(failure), Some(fate(*retry, policy))),
        Outcome::Stopped => ("stopped", None, None, None),
    };
    let now = Timestamp::now();
    let follow_ups = attempt.asked.follow_ups.iter().cloned();
    let jobs: Vec<_> = follow_ups.map(|follow_up| Job::follow_up(follow_up, now)).collect();
    json!({
        "outcome": outcome,
        "result": result.and_then(|json| serde_json::value::RawValue::from_string(json).ok()),
        "failure": failure,
        "fate": retry,
        "duration_ms": report.duration.as_secs_f64() * 1000.0,
        "instantiate_ms": report.instantiate.map(|time| time.as_secs_f64() * 1000.0),
        "cpu_ms": report.cpu.as_secs_f64() * 1000.0,
        "peak_memory_bytes": report.peak_memory_bytes,
        "progress_percent": report.progress_percent,
        "log_lines": report.log_lines.kept,
        "log_lines_dropped": report.log_lines.dropped,
        "http_requests": report.http_requests,
        "tcp_connections": report.tcp_connections,
        "writes": attempt.asked.writes,
        "jobs": jobs,
        "state": state,
        "stdout": report.stdout.text,
        "stderr": report.stderr.text,
    })
}

/// As the top of `--help` lists them.
fn exit_code(outcome: &Outcome) -> ExitCode {
    let Outcome::Failed { failure, .. } = outcome else {
        return ExitCode::SUCCESS;
    };
    match failure.kind {
        FailureKind::Unloadable => 4,
        kind => failure_code(kind).unwrap_or(1),
    }
    .into()
}
