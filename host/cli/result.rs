//! `kiln result`: what a job came to.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::store::{StoreArgs, positive_duration};
use super::{Missing, out, tell};
use crate::admin::results::{self, Outcome};
use crate::outcome::FailureKind;
use crate::queue::Store;
use crate::text::{self, MAX_LINE_BYTES};

/// The exit code where a job has not ended in the time given.
pub(super) const EXIT_TIMEOUT: u8 = 8;

/// The exit code for a job that failed in a way that no other code tells.
const EXIT_FAILED: u8 = 16;

/// Print what a job came to
///
/// Known are the results of jobs that completed, and the answers of jobs that were pushed with metadata.kiln.reply, as
/// kiln push --wait does; both for an hour, or as long as the worker's --result-ttl says. The exit code tells the outcome.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kiln result 3f0c6a52-9d5e-4b1f-8c39-0f9d6a2b7e11 --wait=30s")]
#[expect(clippy::option_option, reason = "whether to wait, and for how long")]
pub(super) struct ResultArgs {
    /// The job's id
    id: String,
    /// Wait until it has ended, no longer than this if a time is given. A job that did not ask for an answer is waited for until
    /// it completes, so give a time
    #[arg(long, value_parser = positive_duration, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true)]
    wait: Option<Option<Duration>>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn result(args: ResultArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open().await?;
    if let Some(patience) = args.wait {
        return wait(&store, &args.id, patience, args.json).await;
    }
    match results::result(&store, &args.id).await? {
        Some(outcome) => show(&args.id, &outcome, args.json),
        None => Err(Missing(format!("nothing is known of a result of {}", text::name(&args.id))).into()),
    }
}

/// Waits for a job, and shows what it came to.
pub(super) async fn wait(store: &Store, id: &str, patience: Option<Duration>, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(outcome) = results::wait(store, id, patience).await? {
        return show(id, &outcome, json);
    }
    tell(&format!("kiln: {} has not ended in time", text::name(id)));
    Ok(ExitCode::from(EXIT_TIMEOUT))
}

fn show(id: &str, outcome: &Outcome, json: bool) -> anyhow::Result<ExitCode> {
    let mut out = out();
    if json {
        writeln!(out, "{}", serde_json::to_string(&Told::of(id, outcome))?)?;
    }
    Ok(match outcome {
        Outcome::Completed { result, result_bytes } => {
            match (result, result_bytes) {
                _ if json => {}
                (Some(result), _) => writeln!(out, "{}", result.get())?,
                (None, bytes) => {
                    let bytes = bytes.unwrap_or(0);
                    tell(&format!("note: its result of {bytes} bytes is not kept"));
                }
            }
            ExitCode::SUCCESS
        }
        Outcome::Failed { kind, message } => {
            if !json {
                let why = text::message(message, MAX_LINE_BYTES);
                tell(&format!("kiln: {} failed: {kind}: {why}", text::name(id)));
            }
            ExitCode::from(failure_code(*kind).unwrap_or(EXIT_FAILED))
        }
    })
}

/// What a job came to, as JSON.
#[derive(Serialize)]
struct Told<'a> {
    id: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<FailureKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn of(id: &'a str, outcome: &'a Outcome) -> Self {
        let (kind, message) = match outcome {
            Outcome::Completed { .. } => (None, None),
            Outcome::Failed { kind, message } => (Some(*kind), Some(message.as_str())),
        };
        let (result, result_bytes) = match outcome {
            Outcome::Completed { result, result_bytes } => (result.as_deref(), *result_bytes),
            Outcome::Failed { .. } => (None, None),
        };
        Self {
            id,
            outcome: if kind.is_none() { "completed" } else { "failed" },
            result,
            result_bytes,
            kind,
            message,
        }
    }
}

/// The exit code for what an attempt can fail as, as `kiln run` has it.
pub(super) fn failure_code(kind: FailureKind) -> Option<u8> {
    Some(match kind {
        FailureKind::Rejected => 10,
        FailureKind::Error => 11,
        FailureKind::Trap => 12,
        FailureKind::Timeout => 13,
        FailureKind::Memory => 14,
        FailureKind::Denied => 15,
        FailureKind::UnknownJob
        | FailureKind::Malformed
        | FailureKind::Unloadable
        | FailureKind::Lost
        | FailureKind::Internal
        | FailureKind::Cancelled
        | FailureKind::Expired
        | FailureKind::Duplicate => return None,
    })
}
