//! `kiln failed try`: a failed job run again on a component of the operator's choice.

use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use bytesize::ByteSize;
use clap::Args;

use crate::admin::facts::Facts;
use crate::admin::failed;
use crate::admin::trial::{self, Trial, Tried};
use crate::cli::plugin::SandboxArgs;
use crate::cli::result::failure_code;
use crate::cli::store::StoreArgs;
use crate::cli::{out, tell};
use crate::config::SandboxSettings;
use crate::outcome::{Failure, FailureKind};
use crate::plugins::read_plugin;
use crate::queue::{FailedEntry, StateStore};
use crate::text;

#[derive(Debug, Args)]
pub(super) struct TryArgs {
    /// The job's id
    id: String,
    /// The component to run it on; the manifest beside it says what it is granted
    #[arg(long = "with", value_name = "FILE")]
    component: PathBuf,
    /// Send its requests. Without this they are shown, and the handler is told that the server cannot be reached
    #[arg(long)]
    egress: bool,
    /// Print everything about the attempt as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sandbox: SandboxArgs,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn try_on(args: TryArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open().await?;
    let settings = SandboxSettings {
        state: Some(Arc::new(StateStore::of(store.clone()))),
        ..args.sandbox.settings(NonZeroU32::MIN, 0)?
    };
    let (component, manifest) = read_plugin(&args.component, &settings.limits)?;
    let entry = failed::find(&store, &args.id).await?;
    let stem = args.component.file_stem();
    let trial = Trial {
        plugin: stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
        component,
        manifest,
        sends: args.egress,
    };
    let tried = trial::run(&settings, &entry, trial).await?;
    if args.json {
        writeln!(out(), "{}", serde_json::to_string(&tried)?)?;
    } else {
        show(&entry, &tried)?;
    }
    let code = tried
        .failure
        .map_or(0, |failure| failure_code(failure.kind).unwrap_or(1));
    Ok(code.into())
}

/// The failure that is known, and beside it what came of the attempt.
fn show(entry: &FailedEntry, tried: &Tried) -> anyhow::Result<()> {
    if let Some(failure) = entry.failure() {
        tell(&format!(
            "failed  {}",
            said(&failure, &failure.handler, &failure.digest)
        ));
    } else {
        tell(&format!("failed  {}", Facts::of(entry).message));
    }
    for line in &tried.log {
        tell(&format!("{} | {}", line.level, line.message));
    }
    for (stream, said) in [("stdout", &tried.stdout), ("stderr", &tried.stderr)] {
        for line in said.lines() {
            tell(&format!("{stream} | {}", text::line(line, usize::MAX)));
        }
    }
    for request in &tried.would_send.requests {
        let url = text::line(&request.url, text::MAX_LINE_BYTES);
        let method = text::name(&request.method);
        tell(&format!(
            "would send | {method} {url} | {}",
            ByteSize(request.body_bytes)
        ));
        for line in request.body.lines() {
            tell(&format!("would send |   {}", text::line(line, text::MAX_LINE_BYTES)));
        }
    }
    if tried.would_send.more > 0 {
        tell(&format!("would send | and {} more", tried.would_send.more));
    }
    for write in &tried.writes {
        for change in &write.changes {
            let (bucket, key) = (text::name(write.bucket.as_str()), text::name(&change.key));
            tell(&format!("would write | {bucket} | {key} | {}", change.action));
        }
    }
    let took = format!(
        "{} ms, {} ms of CPU, peak memory {}",
        tried.duration_ms,
        tried.cpu_ms,
        ByteSize(tried.peak_memory_bytes)
    );
    if let Some(failure) = &tried.failure {
        tell(&format!("tried   {}", said(failure, &tried.plugin, &tried.digest)));
        tell(&format!("in {took}; nothing was settled"));
        if let Some(backtrace) = &failure.backtrace {
            tell(backtrace);
        }
    } else {
        let version = version(&tried.plugin, &tried.digest);
        let outcome = tried.outcome;
        tell(&format!(
            "tried   {outcome} on {version} in {took}; nothing was settled"
        ));
    }
    if let Some(result) = &tried.result {
        writeln!(out(), "{result}")?;
    }
    Ok(())
}

fn said(failure: &Failure, plugin: &str, digest: &str) -> String {
    let message = text::message(&failure.message, text::MAX_LINE_BYTES);
    let kind = failure.kind;
    match failure.kind {
        FailureKind::UnknownJob => format!("{kind}: {message}"),
        _ => format!("{kind}: {message} on {}", version(plugin, digest)),
    }
}

fn version(plugin: &str, digest: &str) -> String {
    format!(
        "{}@{}",
        text::name(plugin),
        text::name(&digest[..digest.floor_char_boundary(12)])
    )
}
