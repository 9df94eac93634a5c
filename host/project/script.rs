//! Builds JavaScript and TypeScript: tsc checks types, esbuild makes one file of it, componentize-qjs links that with
//! `QuickJS`, or componentize-js with `StarlingMonkey`.

mod complaint;
mod globals;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::globals::Globals;
use super::tool::Tool;
use super::{Language, Project, ProjectError, wit};

/// The interface that a handler exports, as JavaScript calls it.
const EXPORT: &str = "handler";

#[derive(Deserialize)]
struct Package {
    name: Option<String>,
    main: Option<String>,
    #[serde(default)]
    kiln: Settings,
}

/// What runs a program in a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// `QuickJS`: small and quick to start. The kit adds what of the Web's APIs a program names.
    #[default]
    QuickJs,
    /// `StarlingMonkey`, which is built upon Firefox's `SpiderMonkey`: it brings the Web's APIs, and is several times as large.
    StarlingMonkey,
}

impl Engine {
    /// All of them, as the command line calls them.
    pub const ALL: [(&'static str, Self); 2] = [("quickjs", Self::QuickJs), ("starlingmonkey", Self::StarlingMonkey)];
}

/// What `kiln build` looks for in a project's description.
#[derive(Deserialize, Default)]
struct Settings {
    #[serde(default)]
    engine: Engine,
    /// Modules that packages ask for, such as those of Node.js, and what they get instead: a package, or a file of the project's.
    #[serde(default)]
    alias: BTreeMap<String, String>,
}

/// Modules of Node.js that the kit has.
const NODE_MODULES: [&str; 2] = ["net", "tls"];

fn package(dir: &Path) -> Result<(PathBuf, Package), ProjectError> {
    let path = dir.join("package.json");
    let text = fs::read_to_string(&path).map_err(ProjectError::file(&path))?;
    let package = serde_json::from_str(&text).map_err(|err| ProjectError::description(&path, &err))?;
    Ok((path, package))
}

pub(super) fn name(dir: &Path) -> Result<String, ProjectError> {
    let (path, package) = package(dir)?;
    let name = package
        .name
        .ok_or_else(|| ProjectError::description(&path, "has no name"))?;
    // `@scope/name`: the scope says whose the package is.
    let bare = name.strip_prefix('@').and_then(|scoped| scoped.split_once('/'));
    Ok(bare.map_or(name.as_str(), |(_, bare)| bare).to_owned())
}

/// The file that exports the handler.
pub(super) fn main(dir: &Path) -> Result<String, ProjectError> {
    let (path, package) = package(dir)?;
    let why = "has no main: the source file that exports the handler";
    package.main.ok_or_else(|| ProjectError::description(&path, why))
}

pub(super) fn build(project: &Project) -> Result<Vec<u8>, ProjectError> {
    let contract = wit::Contract::read(&project.dir, &project.world)?;
    if project.language == Some(Language::TypeScript) {
        check_types(project)?;
    }
    refuse_intl(project)?;
    let bundle = bundle(project)?;
    let text = fs::read_to_string(&bundle).map_err(ProjectError::file(&bundle))?;
    let component = project.work()?.join("component.wasm");
    match engine(project)? {
        Engine::QuickJs => tool(project, "componentize-qjs")?
            .arg("--wit")
            .arg(&contract.folder)
            // Exports that run to their end in one call are what a handler is.
            .args(["--sync", "--world", &contract.world, "--js"])
            .arg(&bundle)
            .arg("--output")
            .arg(&component)
            .run_explained(|said| complaint::of_loading(said, &text))?,
        Engine::StarlingMonkey => tool(project, "componentize-js")?
            .arg(&bundle)
            .arg("--wit")
            .arg(&contract.folder)
            .args(["--world-name", &contract.world, "--out"])
            .arg(&component)
            .run_explained(str::to_owned)?,
    }
    fs::read(&component).map_err(ProjectError::file(&component))
}

fn engine(project: &Project) -> Result<Engine, ProjectError> {
    Ok(package(&project.dir)?.1.kiln.engine)
}

/// Has the project's own compiler look at the types, which esbuild only cuts off.
fn check_types(project: &Project) -> Result<(), ProjectError> {
    let (Some(tsc), true) = (program(project, "tsc"), project.dir.join("tsconfig.json").is_file()) else {
        tracing::warn!("types are not checked: that takes a tsconfig.json, and `npm install --save-dev typescript`");
        return Ok(());
    };
    // Files that did not change since the last build are not checked again.
    let state = project.work()?.join("types.tsbuildinfo");
    Tool::at(&tsc, &project.dir)
        .args(["--noEmit", "--pretty", "false", "--incremental", "--tsBuildInfoFile"])
        .arg(state)
        .run_explained(str::to_owned)
}

/// Refuses uses of `Intl` in the author's own files. No engine here has any, but the compiler takes it for a part of the
/// language, and `globals.d.ts` can take back some of its classes only. Code that checks first whether `Intl` exists
/// may use it.
fn refuse_intl(project: &Project) -> Result<(), ProjectError> {
    const NONE: &str = "kilnHasNoIntl";
    let (work, main) = (project.work()?, main(&project.dir)?);
    let own = work.join("own.js");
    let options = [
        "--packages=external",
        "--log-level=error",
        &format!("--define:Intl={NONE}"),
    ];
    esbuild(
        project,
        &main,
        &options.map(str::to_owned),
        &own,
        &work.join("own.json"),
    )?;
    let text = fs::read_to_string(&own).map_err(ProjectError::file(&own))?;
    if text.contains(NONE) && !text.contains(&format!("typeof {NONE}")) {
        let why = "this file, or one of the project's own that it imports, uses `Intl`, which the engine does not have";
        return Err(ProjectError::description(&project.dir.join(main), &why));
    }
    Ok(())
}

/// Makes one file of the handler and all that it imports.
fn bundle(project: &Project) -> Result<PathBuf, ProjectError> {
    let (work, main) = (project.work()?, main(&project.dir)?);
    let (bundle, meta) = (work.join("bundle.js"), work.join("bundle.json"));
    let read = |path: &Path| fs::read_to_string(path).map_err(ProjectError::file(path));
    let globals = work.join("globals.js");
    let has_globals = engine(project)? == Engine::StarlingMonkey;
    match Globals::of(project)?.filter(|_| !has_globals) {
        None => esbuild(project, &main, &[], &bundle, &meta)?,
        Some(kit) => {
            // The first run shows which globals the code names, the second adds them. Only the second shows warnings.
            esbuild(project, &main, &["--log-level=error".to_owned()], &bundle, &meta)?;
            kit.write_for(&read(&bundle)?, &globals)?;
            let first = format!("--inject:{}", globals.display());
            esbuild(project, &main, &[first], &bundle, &meta)?;
        }
    }
    if !exports(&meta)?.iter().any(|name| name == EXPORT) {
        let why = format!("exports no `{EXPORT}`; the contract asks for `export const {EXPORT} = …`");
        return Err(ProjectError::description(&project.dir.join(main), &why));
    }
    // With the source map the kit tells where in the author's own files an error was thrown.
    let map = serde_json::Value::String(read(&bundle.with_extension("js.map"))?);
    let text = format!("{}\nglobalThis.kilnSourceMap = {map};\n", read(&bundle)?);
    fs::write(&bundle, text).map_err(ProjectError::file(&bundle))?;
    Ok(bundle)
}

/// What modules of Node.js, and others, are taken from: the project's own choice first, then the kit.
fn aliases(project: &Project) -> Result<Vec<String>, ProjectError> {
    let Settings { alias: own, engine } = package(&project.dir)?.1.kiln;
    let of_kit = if engine == Engine::QuickJs {
        &NODE_MODULES[..]
    } else {
        &[]
    };
    let kit = of_kit.iter().copied().filter_map(|module| {
        let file = project.dir.join("kiln/node").join(module).with_extension("js");
        (!own.contains_key(module) && file.is_file()).then(|| (module.to_owned(), file))
    });
    // A file is the project's, whatever package asks for it.
    let place = |to: &String| {
        if to.starts_with("./") {
            project.dir.join(to)
        } else {
            PathBuf::from(to)
        }
    };
    let own = own.iter().map(|(module, to)| (module.clone(), place(to)));
    let options = own
        .chain(kit)
        .flat_map(|(module, to)| ["", "node:"].map(|scheme| format!("--alias:{scheme}{module}={}", to.display())));
    Ok(options.collect())
}

fn esbuild(project: &Project, main: &str, options: &[String], bundle: &Path, meta: &Path) -> Result<(), ProjectError> {
    let of_engine: &[&str] = match engine(project)? {
        // It does not settle its own promises within one call. The kit's promises are settled.
        Engine::QuickJs => &[
            "--conditions=kiln",
            "--supported:async-await=false",
            "--supported:async-generator=false",
            "--supported:for-await=false",
        ],
        Engine::StarlingMonkey => &["--conditions=starlingmonkey"],
    };
    tool(project, "esbuild")?
        .arg(main)
        .args(["--bundle", "--format=esm", "--target=es2023", "--log-level=warning"])
        .args(["--external:kiln:*", "--external:wasi:*"])
        .args(of_engine)
        .args(aliases(project)?)
        .args(options)
        .arg("--define:process.env.NODE_ENV=\"production\"")
        .args(["--sourcemap=external", "--sources-content=false"])
        .arg(format!("--outfile={}", bundle.display()))
        .arg(format!("--metafile={}", meta.display()))
        .run_explained(complaint::of_bundling)
}

/// What a bundle exports, as esbuild tells.
fn exports(meta: &Path) -> Result<Vec<String>, ProjectError> {
    #[derive(Deserialize)]
    struct Meta {
        outputs: BTreeMap<String, Output>,
    }
    #[derive(Deserialize)]
    struct Output {
        exports: Vec<String>,
    }
    let text = fs::read_to_string(meta).map_err(ProjectError::file(meta))?;
    let told: Meta = serde_json::from_str(&text).map_err(|err| ProjectError::description(meta, &err))?;
    Ok(told.outputs.into_values().flat_map(|output| output.exports).collect())
}

/// A program that the project's own packages bring, if they do.
fn program(project: &Project, name: &str) -> Option<PathBuf> {
    let folders = project.dir.ancestors();
    let mut programs = folders.map(|dir| dir.join("node_modules/.bin").join(name));
    programs.find(|program| program.is_file())
}

fn tool(project: &Project, name: &str) -> Result<Tool, ProjectError> {
    let Some(program) = program(project, name) else {
        which::which("npm").map_err(|_| ProjectError::missing("npm", "install Node.js: https://nodejs.org"))?;
        let install = format!("run `npm install` in {}", project.dir.display());
        return Err(ProjectError::missing(name, install));
    };
    Ok(Tool::at(&program, &project.dir))
}
