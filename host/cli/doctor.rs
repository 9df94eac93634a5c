//! `kiln doctor`: every setting and limit in force, and what would go wrong with a worker started with the same flags.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use serde_json::json;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::{NoSubscriber, with_default};

use super::settings::Setting;
use super::worker::WorkerArgs;
use super::{machine, out};
use crate::admin::doctor::{self, Check, Host, Level};
use crate::config::{LIMITS, Limit, Limits, PluginSettings, Scope, Source};
use crate::events::Events;
use crate::plugins::{Listed, PluginError, Plugins};
use crate::queue::BOUNDS;
use crate::sandbox::Sandbox;
use crate::text::{self, MAX_LINE_BYTES};

/// The exit code if something would go wrong.
const EXIT_BITES: u8 = 7;

/// Check store, plugins, cache and machine, and show every setting and limit in force
///
/// Give it the flags, the environment and the file of settings of the worker it is to speak for. The exit code is 7 if
/// something would bite that worker; notes are worth a thought and no more.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kiln doctor --plugins ./plugins --limit http_requests=10..100")]
pub(super) struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    worker: WorkerArgs,
    /// Every setting, and where it comes from.
    #[arg(skip)]
    pub(super) settings: Vec<Setting>,
    /// The problem, if others may read a file of settings that holds a password.
    #[arg(skip)]
    pub(super) exposed: Option<String>,
}

pub(super) async fn doctor(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let queues = args.worker.served()?;
    let WorkerArgs { host, store, .. } = args.worker;
    let queues: Vec<_> = queues.iter().map(|(queue, _)| queue).collect();
    let mut checks = doctor::store(&store.settings()).await;
    checks.extend(args.exposed.map(|text| Check::new("settings", Level::Bites, text)));
    let settings = host.settings()?;
    // Faults are reported below, in order. The log would report them before that.
    let plugins = match with_default(NoSubscriber::new(), || Sandbox::new(&settings)) {
        Ok(sandbox) => {
            checks.push(doctor::pool(sandbox.unpooled(), sandbox.resident_bytes()));
            checks.push(doctor::cache(settings.cache_dir.as_deref(), sandbox.uncached()));
            let opened = load(Arc::new(sandbox), &host.plugins).await;
            checks.extend(doctor::plugins(&host.plugins, opened.as_deref()));
            opened.unwrap_or_default()
        }
        Err(err) => {
            checks.push(Check::new("sandbox", Level::Bites, err.to_string()));
            Vec::new()
        }
    };
    let host = Host {
        limits: &settings.limits,
        concurrency: settings.concurrency.get(),
        plugins: &plugins,
    };
    checks.extend(doctor::schedules(&plugins, &queues));
    machine::raise_open_files();
    checks.push(doctor::files(&host, machine::open_files()));
    checks.push(doctor::memory(&host, machine::memory()));
    if args.json {
        print_json(&checks, &args.settings, &settings.limits, &plugins)?;
    } else {
        print(&checks, &args.settings, &settings.limits, &plugins)?;
    }
    let bites = checks.iter().any(|check| check.level == Level::Bites);
    Ok(if bites {
        ExitCode::from(EXIT_BITES)
    } else {
        ExitCode::SUCCESS
    })
}

/// Loads every plugin, as a worker would.
async fn load(sandbox: Arc<Sandbox>, folder: &Path) -> Result<Vec<Listed>, PluginError> {
    let patient = PluginSettings {
        patience: Duration::MAX,
        ..PluginSettings::default()
    };
    let opened = Plugins::open(sandbox, folder, patient, Events::default())
        .with_subscriber(NoSubscriber::new())
        .await;
    Ok(opened?.list())
}

/// What was found, and what to do about it, in a line.
fn said(check: &Check) -> String {
    let said = match check.advice {
        Some(advice) => format!("{}; {advice}", check.text),
        None => check.text.clone(),
    };
    text::message(&said, MAX_LINE_BYTES).into_owned()
}

fn print(checks: &[Check], settings: &[Setting], limits: &Limits, plugins: &[Listed]) -> anyhow::Result<()> {
    let mut out = out();
    for check in checks {
        let level = match check.level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Bites => "BITES",
        };
        writeln!(out, "{:<9} {level:<6} {}", check.about, said(check))?;
    }
    writeln!(out, "\n{:<20} {:<28} from", "setting", "value")?;
    for Setting { name, value, from } in settings {
        let value = text::line(value.as_deref().unwrap_or("-"), MAX_LINE_BYTES);
        writeln!(out, "{name:<20} {value:<28} {}", text::line(from, MAX_LINE_BYTES))?;
    }
    writeln!(
        out,
        "\n{:<27} {:>10} {:>12} {:>26}  {:<9} what it bounds",
        "limit", "value", "manifest to", "can be set to", "from"
    )?;
    for spec in &LIMITS {
        let bound = limits.bound(spec.limit);
        let (value, source) = (spec.limit.show(bound.value), bound.source);
        let ceiling = match spec.scope {
            Scope::Plugin => spec.limit.show(bound.ceiling),
            Scope::Host => "-".to_owned(),
        };
        writeln!(
            out,
            "{:<27} {value:>10} {ceiling:>12} {:>26}  {source:<9} {}",
            spec.name,
            spec.show_range(),
            spec.about
        )?;
    }
    for (plugin, limit, value) in of_plugins(plugins) {
        let source = Source::Manifest;
        writeln!(
            out,
            "{:<27} {:>10} {:>12} {:>26}  {source:<9} attempts of {plugin}",
            limit.to_string(),
            limit.show(value),
            "",
            ""
        )?;
    }
    writeln!(out, "\n{:<27} {:>10}  what it bounds", "fixed", "value")?;
    for bound in &BOUNDS {
        let value = match bound.unit {
            "bytes" => ByteSize(bound.value).to_string(),
            _ => bound.value.to_string(),
        };
        writeln!(out, "{:<27} {value:>10}  {}", bound.name, bound.about)?;
    }
    Ok(())
}

/// The limits that manifests set otherwise than the host.
fn of_plugins(plugins: &[Listed]) -> impl Iterator<Item = (&str, Limit, u64)> {
    let loaded = plugins
        .iter()
        .filter_map(|plugin| Some((plugin.name.as_str(), plugin.handler()?.limits())));
    loaded.flat_map(|(name, limits)| {
        let own = LIMITS
            .iter()
            .filter(|spec| limits.bound(spec.limit).source == Source::Manifest);
        own.map(move |spec| (name, spec.limit, limits.get(spec.limit)))
    })
}

fn print_json(checks: &[Check], settings: &[Setting], limits: &Limits, plugins: &[Listed]) -> anyhow::Result<()> {
    let rows = LIMITS.iter().map(|spec| {
        let bound = limits.bound(spec.limit);
        json!({
            "name": spec.name, "unit": spec.unit.as_str(), "value": bound.value,
            "ceiling": (spec.scope == Scope::Plugin).then_some(bound.ceiling), "from": bound.source.to_string(),
            "least": spec.least, "greatest": spec.greatest,
        })
    });
    let own = of_plugins(plugins).map(|(plugin, limit, value)| {
        json!({ "plugin": plugin, "name": limit.to_string(), "unit": limit.spec().unit.as_str(), "value": value })
    });
    let all = json!({
        "findings": checks, "settings": settings, "limits": rows.collect::<Vec<_>>(), "plugin_limits": own.collect::<Vec<_>>(),
        "bounds": BOUNDS,
    });
    writeln!(out(), "{all}")?;
    Ok(())
}
