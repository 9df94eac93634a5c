//! `kiln build`: from a handler's source to a plugin.

use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use bytesize::ByteSize;
use clap::Args;

use super::new::language;
use super::plugin::SandboxArgs;
use super::{inspect, out, shown, tell, told};
use crate::plugins::read_manifest;
use crate::project::{BUILD, Built, Changes, Language, Project, ProjectError, Put};
use crate::sandbox::Sandbox;
use crate::text;

/// Build a handler from its source
///
/// Tells the language by what lies in the folder (Cargo.toml, package.json, pyproject.toml, go.mod, *.c), runs that
/// language's own tools, and puts NAME.wasm and its manifest where you say. Bindings and components for C and Go are made
/// here, so that these need no more than a compiler. What is missing is named, with how to install it; nothing is
/// installed. A component that would not load is not put anywhere. The values of secrets that its manifest grants are not
/// needed: its worker has them. A manifest that an operator has changed there stays.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kiln build --into plugins --watch    edit; the next job runs the new code")]
pub(super) struct BuildArgs {
    /// The project
    #[arg(default_value = ".", hide_default_value = true)]
    dir: PathBuf,
    /// The plugin folder to put the result into [default: build, in the project]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Build again whenever the source changes
    #[arg(long)]
    watch: bool,
    /// Make the component of this core module, which another toolchain has built, instead of running one
    #[arg(long, value_name = "FILE")]
    core: Option<PathBuf>,
    /// The language, where the tools of several would take the folder for theirs [default: told by what lies in it]
    #[arg(long, value_parser = language(), value_name = "LANGUAGE", conflicts_with = "core")]
    lang: Option<Language>,
    /// The world to build for, of those in the project's folder wit [default: script-handler for JavaScript and
    /// TypeScript, else job-handler]
    #[arg(long)]
    world: Option<String>,
    /// Have each attempt initialise Go's runtime and packages, instead of beginning where that ended when the handler was
    /// built
    #[arg(long)]
    no_snapshot: bool,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

impl BuildArgs {
    fn project(&self) -> Result<Project, ProjectError> {
        let world = self.world.as_deref();
        match self.core {
            Some(_) => Project::open_for_core(&self.dir, world),
            None if self.no_snapshot => Ok(Project::open(&self.dir, self.lang, world)?.without_snapshot()),
            None => Project::open(&self.dir, self.lang, world),
        }
    }

    /// Where the result goes.
    fn folder(&self, project: &Project) -> PathBuf {
        self.into.clone().unwrap_or_else(|| project.dir().join(BUILD))
    }
}

pub(super) fn build(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    let sandbox = args.sandbox.open(NonZeroU32::MIN)?;
    if !args.watch {
        return once(args, &sandbox);
    }
    let project = args.project()?;
    let mut changes = Changes::of(&project, &args.folder(&project), args.core.as_deref())?;
    loop {
        // A fault is no reason to stop: the next change may mend it.
        if let Err(err) = once(args, &sandbox) {
            tell(&format!("kiln: {}", told(&err)));
        }
        tell("waiting for changes");
        changes.wait()?;
    }
}

fn once(args: &BuildArgs, sandbox: &Sandbox) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let project = args.project()?;
    let Built { component, snapshot } = match &args.core {
        Some(core) => project.componentize(core)?,
        None => project.build()?,
    };
    let manifest = read_manifest(&project.manifest().with_extension("wasm"))?;
    // Compiles the component, which may take as long as making it.
    let found = sandbox.inspect(&component, &manifest)?;
    let language = project.language().map(|language| language.to_string());
    let core = args.core.as_deref().map(shown);
    let source = core.or(language).unwrap_or_default();
    let mut out = out();
    writeln!(
        out,
        "{}: {}, from {} in {:.1} s",
        text::name(project.name()),
        ByteSize(component.len() as u64),
        source,
        started.elapsed().as_secs_f64()
    )?;
    if let Some(snapshot) = snapshot {
        writeln!(out, "snapshot  {}", text::line(&snapshot, text::MAX_LINE_BYTES))?;
    }
    inspect::show_briefly(&mut out, &found)?;
    // Secrets need not be on the machine that builds: their values are the worker's.
    if found.problem.as_ref().is_some_and(|problem| !problem.may_pass()) {
        return Ok(ExitCode::from(inspect::EXIT_UNLOADABLE));
    }
    let Put { path, kept } = project.put(&component, &args.folder(&project))?;
    if let Some(kept) = kept {
        let (own, kept) = (shown(&project.manifest()), shown(&kept));
        let why = "which is not the project's; to take that";
        writeln!(out, "kept      {kept}, {why}: cp {own} {kept}")?;
    }
    writeln!(out, "written   {}", shown(&path))?;
    Ok(ExitCode::SUCCESS)
}
