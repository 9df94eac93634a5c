//! `kiln new`: a project for a handler.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{Usage, out, shown};
use crate::project::{Engine, Language, ProjectError, create};

/// Make a project for a handler
///
/// Writes a folder with a small handler to start from, its test, its manifest, the kit of its language and the contract
/// with the host. Nothing is installed and nothing else is touched.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kiln new send-email --lang ts && cd send-email && npm install && kiln build")]
pub(super) struct NewArgs {
    /// What the handler, its folder and the job that it handles are called: lower-case letters, digits and hyphens
    name: String,
    /// What it is to be written in
    #[arg(long, value_parser = language(), value_name = "LANGUAGE")]
    lang: Language,
    /// What runs it: starlingmonkey has more of the Web's APIs, and takes several times as much (JavaScript only)
    #[arg(long, value_parser = engine(), default_value = "quickjs", value_name = "ENGINE")]
    engine: Engine,
    /// The folder in which to make the project
    #[arg(long, default_value = ".", value_name = "DIR")]
    parent: PathBuf,
}

pub(super) fn language() -> impl TypedValueParser<Value = Language> {
    // Only names that parse get this far.
    PossibleValuesParser::new(Language::ALL.map(Language::id)).try_map(|id| id.parse::<Language>())
}

fn engine() -> impl TypedValueParser<Value = Engine> {
    let find = |id: String| Engine::ALL.into_iter().find(|(name, _)| *name == id);
    PossibleValuesParser::new(Engine::ALL.map(|(name, _)| name))
        .try_map(move |id| find(id).map(|(_, engine)| engine).ok_or("no engine"))
}

pub(super) fn new(args: &NewArgs) -> anyhow::Result<ExitCode> {
    let folder = create(&args.parent, &args.name, args.lang, args.engine).map_err(|err| match err {
        ProjectError::Engine(_) | ProjectError::Name(_) | ProjectError::Reserved(_) | ProjectError::Exists(_) => {
            Usage(err.to_string()).into()
        }
        err => anyhow::Error::from(err),
    })?;
    let folder = shown(&folder);
    let mut out = out();
    writeln!(out, "{folder} holds a handler in {}. Next:\n", args.lang)?;
    writeln!(out, "  cd {folder}")?;
    if let Some(setup) = args.lang.setup() {
        writeln!(out, "  {setup}")?;
    }
    writeln!(out, "  kiln build\n\nIts README.md tells the rest.")?;
    Ok(ExitCode::SUCCESS)
}
