//! `kiln batch`: how far a batch has come.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::store::StoreArgs;
use super::{Missing, out};
use crate::admin::batches;
use crate::job::check_batch_id;
use crate::text;

/// Show how far a batch has come
///
/// A batch is known from the end of its first job on, and for seven days after that of its last one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kiln batch import-2026-11-30")]
pub(super) struct BatchArgs {
    /// The batch's id, as its jobs have it in metadata.kiln.batch
    #[arg(value_parser = id)]
    id: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// A `value_parser` for the id of a batch.
pub(super) fn id(text: &str) -> Result<String, String> {
    check_batch_id(text).map(|()| text.to_owned())
}

pub(super) async fn batch(args: BatchArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open().await?;
    let Some(batch) = batches::batch(&store, &args.id).await? else {
        return Err(Missing(batches::unknown(&text::name(&args.id))).into());
    };
    let mut out = out();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&batch)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (sizes, announced, added) = (batch.sizes, batch.announced, batch.added());
    writeln!(out, "jobs       {} ({announced} announced, {added} added)", sizes.total)?;
    writeln!(out, "completed  {}", sizes.done)?;
    writeln!(out, "failed     {}", sizes.failed)?;
    writeln!(out, "open       {}", batch.open)?;
    writeln!(out, "began      {}", batch.began)?;
    writeln!(out, "state      {}", batch.state())?;
    Ok(ExitCode::SUCCESS)
}
