//! `kiln inspect`: what a component is made of, and why it would not load.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::plugin::SandboxArgs;
use super::{out, plural, shown};
use crate::config::Schedule;
use crate::plugins::{PluginError, read_plugin};
use crate::sandbox::{GrantError, Import, Inspection, LoadError, Offer};

/// The exit code for a component that would not load.
pub(super) const EXIT_UNLOADABLE: u8 = 4;

const JSON: &str = "\
JSON: digest (SHA-256), bytes, jobs, schedules, exports, imports, loads, problem (null, or why it does not load).
Each of imports: name; need, which is missing, grant, always or runtime; offer, which says the same in words.";

/// Tell what a plugin exports, imports and would need granted
///
/// Says in plain words why it would not load; the exit code is then 4. Imports stand in order of what they ask for: what
/// this host lacks, what a grant has to allow, what every handler has, and what only language runtimes import.
#[derive(Debug, Args)]
#[command(after_help = JSON)]
pub(super) struct InspectArgs {
    /// The component
    plugin: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

pub(super) fn inspect(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let sandbox = args.sandbox.open(NonZeroU32::MIN)?;
    let (bytes, manifest) = read_plugin(&args.plugin, sandbox.limits())?;
    let found = sandbox.inspect(&bytes, &manifest).map_err(|source| PluginError::Load {
        path: args.plugin.clone(),
        source,
    })?;
    let stem = args
        .plugin
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let jobs = manifest.jobs.clone().unwrap_or_else(|| vec![stem]);
    let problem = found.problem.as_ref().map(ToString::to_string);
    let mut out = out();
    if args.json {
        let imports: Vec<_> = found
            .imports
            .iter()
            .map(|import| {
                let (need, offer) = (need(import.offer), import.offer.to_string());
                json!({ "name": import.name, "need": need, "offer": offer, "granted": import.granted })
            })
            .collect();
        let loads = problem.is_none();
        let report = json!({
            "digest": found.digest, "bytes": bytes.len(), "jobs": jobs, "schedules": manifest.schedules, "exports": found.exports, "imports": imports,
            "loads": loads, "problem": problem,
        });
        writeln!(out, "{report}")?;
    } else {
        writeln!(
            out,
            "{}: {} bytes, sha256 {}",
            shown(&args.plugin),
            bytes.len(),
            found.digest
        )?;
        writeln!(out, "handles   {}", jobs.join(", "))?;
        for schedule in &manifest.schedules {
            show_schedule(&mut out, schedule)?;
        }
        show(&mut out, &found)?;
    }
    Ok(if found.problem.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_UNLOADABLE)
    })
}

fn show_schedule(out: &mut impl Write, schedule: &Schedule) -> io::Result<()> {
    let (id, when, queue) = (schedule.id(), schedule.when(), schedule.queue());
    let zone = schedule.zone();
    let zone = zone.iana_name().unwrap_or("UTC");
    match schedule.job() {
        Some(job) => writeln!(out, "schedule  {id}: {when} ({zone}), job {job} to queue {queue}"),
        None => writeln!(out, "schedule  {id}: {when} ({zone}), to queue {queue}"),
    }
}

/// Tells all that a component exports and imports, and whether it loads.
fn show(out: &mut impl Write, found: &Inspection) -> io::Result<()> {
    for export in &found.exports {
        writeln!(out, "exports   {export}")?;
    }
    for import in &found.imports {
        show_import(out, import)?;
    }
    show_problem(out, found)
}

/// Shows which imports somebody has to see to, which packages the others belong to, and whether the component loads.
pub(super) fn show_briefly(out: &mut impl Write, found: &Inspection) -> io::Result<()> {
    let is_given = |import: &&Import| matches!(import.offer, Offer::Always | Offer::Empty);
    let (given, others): (Vec<_>, Vec<_>) = found.imports.iter().partition(is_given);
    for import in others {
        show_import(out, import)?;
    }
    let (empty, given): (Vec<_>, Vec<_>) = given.into_iter().partition(|import| import.offer == Offer::Empty);
    show_packages(out, &given, "that every handler has")?;
    show_packages(out, &empty, "that every handler may import, but empty")?;
    if let Some(LoadError::Grant(GrantError::Missing { loads_where, .. })) = &found.problem {
        return writeln!(out, "it loads where {loads_where}");
    }
    show_problem(out, found)
}

/// Tells how many interfaces these are, and of which packages.
fn show_packages(out: &mut impl Write, imports: &[&Import], which: &str) -> io::Result<()> {
    if imports.is_empty() {
        return Ok(());
    }
    let packages = imports.iter().filter_map(|import| import.name.split('/').next());
    let packages: Vec<_> = packages.collect::<BTreeSet<_>>().into_iter().collect();
    let count = plural(imports.len() as u64, "interface", "interfaces");
    writeln!(out, "imports   {count} {which}, of {}", packages.join(", "))
}

fn show_import(out: &mut impl Write, import: &Import) -> io::Result<()> {
    writeln!(out, "imports   {:<44} {}", import.name, told(import))
}

fn show_problem(out: &mut impl Write, found: &Inspection) -> io::Result<()> {
    match &found.problem {
        None => writeln!(out, "it loads"),
        Some(problem) => writeln!(out, "it does not load: {problem}"),
    }
}

fn need(offer: Offer) -> &'static str {
    match offer {
        Offer::Never | Offer::OtherVersion(_) => "missing",
        Offer::ByGrant(_) => "grant",
        Offer::Always => "always",
        Offer::Empty => "runtime",
    }
}

/// How an import is met, with what the manifest grants of it.
fn told(import: &Import) -> String {
    match import.offer {
        Offer::ByGrant(key) if import.granted.is_empty() => format!("nothing granted (grants.{key})"),
        Offer::ByGrant(_) => format!("granted: {}", import.granted.join(", ")),
        offer => offer.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_empty_is_not_counted_among_what_every_handler_has() {
        let import = |name: &str, offer| Import {
            name: name.to_owned(),
            offer,
            granted: Vec::new(),
        };
        let found = Inspection {
            digest: String::new(),
            exports: Vec::new(),
            imports: vec![
                import("wasi:clocks/wall-clock@0.2.0", Offer::Always),
                import("wasi:sockets/tcp@0.2.0", Offer::Empty),
                import("wasi:sockets/udp@0.2.0", Offer::Empty),
            ],
            problem: None,
        };
        let mut shown = Vec::new();
        show_briefly(&mut shown, &found).unwrap();
        assert_eq!(
            String::from_utf8(shown).unwrap(),
            "imports   1 interface that every handler has, of wasi:clocks\n\
             imports   2 interfaces that every handler may import, but empty, of wasi:sockets\nit loads\n"
        );
    }
}
