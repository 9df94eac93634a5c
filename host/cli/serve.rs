//! `kiln serve`: the dashboard and its API.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;

use super::log;
use super::plugin::SandboxArgs;
use super::store::StoreArgs;
use super::ui::UiArgs;
use super::worker::{Signals, address};
use crate::config::SandboxSettings;
use crate::queue::StateStore;
use crate::web::TrialSettings;

/// Serve the dashboard: queues, failed jobs, plugins and hosts, in a browser and as an API
///
/// It runs no jobs, and asks the store only while somebody looks. Without --tokens it can be reached from this machine alone,
/// and whoever is on it may do everything.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kiln serve --listen 9465\n  kiln serve --listen 0.0.0.0:9465 --tokens /etc/kiln/tokens \
                        --allow-host kiln.example.com --redact payload.card"
)]
pub(super) struct ServeArgs {
    /// Answer on this address, or on this port of 127.0.0.1
    #[arg(long, env = "KILN_SERVE", default_value = "127.0.0.1:9465", value_parser = address, value_name = "[ADDRESS:]PORT")]
    listen: SocketAddr,
    #[command(flatten)]
    ui: UiArgs,
    /// Where the plugins are that serve, so that failed jobs can be tried on them; without it, on what is uploaded [default:
    /// none]
    #[arg(long, env = "KILN_TRY_PLUGINS", value_name = "DIR", help_heading = "Dashboard")]
    try_plugins: Option<PathBuf>,
    #[command(flatten)]
    sandbox: SandboxArgs,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    log::detach().context("cannot start the log's thread")?;
    let name = args.store.shown();
    let store = args.store.open().await?;
    let sandbox = SandboxSettings {
        state: Some(Arc::new(StateStore::of(store.clone()))),
        ..args.sandbox.settings(NonZeroU32::MIN, 0)?
    };
    let trials = TrialSettings::new(sandbox, args.try_plugins);
    let ui = args.ui.start(args.listen, store, name, None, trials).await?;
    Signals::new()?.next().await;
    ui.end().await;
    Ok(ExitCode::SUCCESS)
}
