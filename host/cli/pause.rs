//! `kiln pause` and `kiln resume`: stopping queues and job names, for a while.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::store::{StoreArgs, queue_name};
use super::{out, tell};
use crate::admin::AdminError;
use crate::admin::pause::{Paused, pause as pause_one, resume as resume_one};
use crate::queue::{MAX_REASON_BYTES, Pausable, QueueName};

/// Pause queues, or jobs by their name
///
/// Every worker hears of it within 100 ms, and workers that start later do, too. What runs goes on to its end. Jobs that are
/// pushed meanwhile, or fall due, wait. Jobs of a paused name take no place of any worker. `kiln queues` shows what is paused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln pause default --reason 'the database moves'\n  kiln pause --job send-email")]
pub(super) struct PauseArgs {
    #[command(flatten)]
    what: WhatArgs,
    /// Why, for whoever finds it paused
    #[arg(long, default_value = "", hide_default_value = true, value_parser = short, value_name = "TEXT")]
    reason: String,
    /// Who pauses it [default: the user and the machine]
    #[arg(long, value_parser = short, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Resume paused queues, or jobs by their name
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln resume default\n  kiln resume --job send-email")]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    what: WhatArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
struct WhatArgs {
    /// The queues
    #[arg(required_unless_present = "job", value_parser = queue_name, value_name = "QUEUE")]
    queues: Vec<QueueName>,
    /// A job name, in all queues; repeat for more
    #[arg(long, value_parser = Pausable::job, value_name = "NAME")]
    job: Vec<Pausable>,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

impl WhatArgs {
    fn all(&self) -> Vec<Pausable> {
        let queues = self.queues.iter().cloned().map(Pausable::Queue);
        queues.chain(self.job.iter().cloned()).collect()
    }
}

fn short(text: &str) -> Result<String, String> {
    if text.len() > MAX_REASON_BYTES {
        return Err(format!(
            "it has {} bytes, at most {MAX_REASON_BYTES} are kept",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

pub(super) async fn pause(args: PauseArgs) -> anyhow::Result<ExitCode> {
    let (store, by) = (args.store.open().await?, args.by.unwrap_or_else(whoami));
    each(&args.what, async |what| {
        pause_one(&store, what, &by, &args.reason).await
    })
    .await
}

pub(super) async fn resume(args: ResumeArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open().await?;
    each(&args.what, async |what| resume_one(&store, what).await).await
}

/// Does it to each, and shows what was done, also where a later one fails.
async fn each(
    args: &WhatArgs,
    do_it: impl AsyncFn(&Pausable) -> Result<Paused, AdminError>,
) -> anyhow::Result<ExitCode> {
    let (mut done, mut failed) = (Vec::new(), None);
    for what in args.all() {
        match do_it(&what).await {
            Ok(paused) if args.json => done.push(paused),
            Ok(paused) => show(&paused, &what)?,
            Err(err) => {
                failed = Some(anyhow::Error::from(err).context(what.to_string()));
                break;
            }
        }
    }
    if args.json {
        writeln!(out(), "{}", serde_json::to_string(&done)?)?;
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn show(paused: &Paused, what: &Pausable) -> anyhow::Result<()> {
    let mut out = out();
    match (&paused.before, &paused.now) {
        (None, Some(_)) => writeln!(out, "{what} paused")?,
        (Some(before), Some(_)) => writeln!(out, "{what} paused; it was already, {before}")?,
        (Some(before), None) => writeln!(out, "{what} resumed; it was paused {before}")?,
        (None, None) => writeln!(out, "{what} was not paused")?,
    }
    if !paused.is_known {
        tell(&format!("note: nobody serves {what}, and it holds no jobs"));
    }
    Ok(())
}

/// `user@machine`.
pub(super) fn whoami() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let machine = gethostname::gethostname();
    let mut whoami = format!("{}@{}", user.unwrap_or_default(), machine.to_string_lossy());
    whoami.truncate(whoami.floor_char_boundary(MAX_REASON_BYTES));
    whoami
}
