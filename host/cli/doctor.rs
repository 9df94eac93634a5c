//! `kiln doctor`: every setting and limit in force, and what would bite a worker started with the same flags.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::json;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::{NoSubscriber, with_default};

use super::settings::Setting;
use super::store::StoreArgs;
use super::worker::WorkerArgs;
use super::{machine, out};
use crate::config::{LIMITS, Limit, Limits, PluginSettings, SandboxSettings, Scope, Source};
use crate::plugins::{Listed, Plugins};
use crate::queue::{QueueError, Store};
use crate::sandbox::Sandbox;
use crate::text::{self, MAX_LINE_BYTES};

/// The exit code where something would bite.
const EXIT_BITES: u8 = 7;

/// Files a worker has open beside those of its handlers' connections: the store, the folder, the log, its threads'.
const OWN_FILES: u64 = 64;

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
    /// What is wrong with who may read the file of settings.
    #[arg(skip)]
    pub(super) exposed: Option<String>,
}

/// What was looked at, and what came of it.
#[derive(Debug, Serialize)]
struct Finding {
    about: &'static str,
    level: Level,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// Worth a thought.
    Note,
    /// A worker would not do what it is there for.
    Bites,
}

pub(super) async fn doctor(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let WorkerArgs { host, store, .. } = args.worker;
    let mut findings = check_store(&store).await;
    findings.extend(args.exposed.map(|text| finding("settings", Level::Bites, text)));
    let folder = host.plugins.clone();
    let settings = host.settings()?;
    // What is wrong is told below, in order; the log would only say it first.
    let plugins = match with_default(NoSubscriber::new(), || Sandbox::new(&settings)) {
        Ok(sandbox) => {
            findings.extend(check_sandbox(&sandbox, &settings));
            check_plugins(Arc::new(sandbox), &folder, &mut findings).await
        }
        Err(err) => {
            findings.push(finding("sandbox", Level::Bites, err.to_string()));
            Vec::new()
        }
    };
    findings.push(check_files(&settings, &plugins));
    findings.push(check_memory(&settings.limits, settings.concurrency.get(), &plugins));
    if args.json {
        print_json(&findings, &args.settings, &settings.limits, &plugins)?;
    } else {
        print(&findings, &args.settings, &settings.limits, &plugins)?;
    }
    let bites = findings.iter().any(|finding| finding.level == Level::Bites);
    Ok(if bites {
        ExitCode::from(EXIT_BITES)
    } else {
        ExitCode::SUCCESS
    })
}

fn finding(about: &'static str, level: Level, text: impl Into<String>) -> Finding {
    let text = text::message(&text.into(), MAX_LINE_BYTES).into_owned();
    Finding { about, level, text }
}

async fn check_store(args: &StoreArgs) -> Vec<Finding> {
    if args.settings().url == "memory:" {
        let text = "in this process' memory: its jobs end with it";
        return vec![finding("store", Level::Note, text)];
    }
    match ask_store(args).await {
        Ok(findings) => findings,
        Err(err) => vec![finding("store", Level::Bites, err.to_string())],
    }
}

async fn ask_store(args: &StoreArgs) -> Result<Vec<Finding>, QueueError> {
    let store = Store::open(&args.settings()).await?;
    let asked = Instant::now();
    let trouble = store.trouble().await?;
    let ms = asked.elapsed().as_secs_f64() * 1000.0;
    let mut findings = vec![match trouble {
        Some(trouble) => finding("store", Level::Bites, trouble),
        None => finding("store", Level::Ok, format!("answers in {ms:.1} ms")),
    }];
    if let Some(evicts) = store.evicts().await? {
        findings.push(finding("store", Level::Bites, evicts));
    }
    Ok(findings)
}

fn check_sandbox(sandbox: &Sandbox, settings: &SandboxSettings) -> Vec<Finding> {
    let pool = match sandbox.unpooled() {
        None => finding("sandbox", Level::Ok, "sandboxes come from a pool"),
        Some(why) => finding(
            "sandbox",
            Level::Bites,
            format!("no pool, each attempt costs several times as much: address space is short (ulimit -v?): {why}"),
        ),
    };
    let cache = match (&settings.cache_dir, sandbox.uncached()) {
        (Some(dir), None) => finding(
            "cache",
            Level::Ok,
            format!("{} is private and can be written to", dir.display()),
        ),
        (Some(dir), Some(why)) => finding(
            "cache",
            Level::Bites,
            format!("{}: {why}; every start compiles every plugin anew", dir.display()),
        ),
        (None, _) => finding("cache", Level::Note, "none; every start compiles every plugin anew"),
    };
    vec![pool, cache]
}

/// Loads every plugin, as a worker would.
async fn check_plugins(sandbox: Arc<Sandbox>, folder: &Path, findings: &mut Vec<Finding>) -> Vec<Listed> {
    let patient = PluginSettings {
        patience: Duration::MAX,
        ..PluginSettings::default()
    };
    let opened = Plugins::open(sandbox, folder, patient)
        .with_subscriber(NoSubscriber::new())
        .await;
    let listed = match opened {
        Ok(plugins) => plugins.list(),
        Err(err) => {
            findings.push(finding("plugins", Level::Bites, err.to_string()));
            return Vec::new();
        }
    };
    let loaded = listed.iter().filter(|plugin| plugin.fault.is_none()).count();
    let level = if listed.is_empty() { Level::Note } else { Level::Ok };
    let text = format!("{}: {loaded} of {} load", folder.display(), listed.len());
    findings.push(finding("plugins", level, text));
    for plugin in &listed {
        if let Some(fault) = &plugin.fault {
            findings.push(finding("plugins", Level::Bites, format!("{}: {fault}", plugin.name)));
        }
    }
    if others_may_write(folder) {
        let text = format!(
            "{}: others may write to it, and what lies there is run; chmod go-w",
            folder.display()
        );
        findings.push(finding("plugins", Level::Bites, text));
    }
    listed
}

fn others_may_write(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(folder).is_ok_and(|found| found.mode() & 0o022 != 0)
}

fn check_files(settings: &SandboxSettings, plugins: &[Listed]) -> Finding {
    machine::raise_open_files();
    let reaching = plugins
        .iter()
        .filter_map(|plugin| plugin.handler())
        .filter(|handler| handler.reaches_network());
    let each = reaching
        .map(|handler| handler.limits().get(Limit::HttpConnections))
        .max()
        .unwrap_or(0);
    let attempts = settings.concurrency.get();
    let needed = each.saturating_mul(attempts.into()).saturating_add(OWN_FILES);
    match machine::open_files() {
        Some(allowed) if allowed < needed => {
            let text = format!(
                "{allowed} may be open (ulimit -n); {attempts} attempts with {each} HTTP connections each could need {needed}"
            );
            finding("files", Level::Bites, text)
        }
        Some(allowed) => finding(
            "files",
            Level::Ok,
            format!("{allowed} may be open; up to {needed} could be needed"),
        ),
        None => finding("files", Level::Ok, "any number may be open"),
    }
}

fn check_memory(limits: &Limits, attempts: u32, plugins: &[Listed]) -> Finding {
    let guests = limits.get(Limit::GuestMemory);
    let each = limits.get(Limit::MaxMemory);
    let show = |value| Limit::GuestMemory.show(value);
    if let Some(memory) = machine::memory().filter(|memory| *memory < guests) {
        let text = format!(
            "guests may hold {} together, and there are {}",
            show(guests),
            show(memory)
        );
        return finding("memory", Level::Bites, text);
    }
    let raised = plugins
        .iter()
        .filter_map(|plugin| Some(plugin.handler()?.limits().get(Limit::MaxMemory)));
    let largest = raised.chain([each]).max().unwrap_or(each);
    if largest > guests / 2 {
        let text = format!(
            "one attempt may hold {}, but half of what all may hold together ({}) is kept in equal shares; raise guest_memory",
            show(largest),
            show(guests)
        );
        return finding("memory", Level::Bites, text);
    }
    let all = each.saturating_mul(attempts.into());
    if all > guests {
        let text = format!(
            "{attempts} attempts with {} each would come to {}; together they may hold {}, and beyond that fail as memory",
            show(each),
            show(all),
            show(guests)
        );
        return finding("memory", Level::Note, text);
    }
    finding(
        "memory",
        Level::Ok,
        format!("guests may hold {} together", show(guests)),
    )
}

fn print(findings: &[Finding], settings: &[Setting], limits: &Limits, plugins: &[Listed]) -> anyhow::Result<()> {
    let mut out = out();
    for Finding { about, level, text } in findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Bites => "BITES",
        };
        writeln!(out, "{about:<9} {level:<6} {text}")?;
    }
    writeln!(out, "\n{:<20} {:<28} from", "setting", "value")?;
    for Setting { name, value, from } in settings {
        let value = text::line(value.as_deref().unwrap_or("-"), MAX_LINE_BYTES);
        writeln!(out, "{name:<20} {value:<28} {}", text::line(from, MAX_LINE_BYTES))?;
    }
    writeln!(
        out,
        "\n{:<27} {:>10} {:>12}  {:<9} what it bounds",
        "limit", "value", "manifest to", "from"
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
            "{:<27} {value:>10} {ceiling:>12}  {source:<9} {}",
            spec.name, spec.about
        )?;
    }
    for (plugin, limit, value) in of_plugins(plugins) {
        let source = Source::Manifest;
        writeln!(
            out,
            "{:<27} {:>10} {:>12}  {source:<9} attempts of {plugin}",
            limit.to_string(),
            limit.show(value),
            ""
        )?;
    }
    Ok(())
}

/// What manifests say otherwise.
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

fn print_json(findings: &[Finding], settings: &[Setting], limits: &Limits, plugins: &[Listed]) -> anyhow::Result<()> {
    let rows = LIMITS.iter().map(|spec| {
        let bound = limits.bound(spec.limit);
        json!({
            "name": spec.name, "unit": spec.unit.as_str(), "value": bound.value,
            "ceiling": (spec.scope == Scope::Plugin).then_some(bound.ceiling), "from": bound.source.to_string(),
        })
    });
    let own = of_plugins(plugins).map(|(plugin, limit, value)| {
        json!({ "plugin": plugin, "name": limit.to_string(), "unit": limit.spec().unit.as_str(), "value": value })
    });
    let all = json!({
        "findings": findings, "settings": settings, "limits": rows.collect::<Vec<_>>(), "plugin_limits": own.collect::<Vec<_>>(),
    });
    writeln!(out(), "{all}")?;
    Ok(())
}
