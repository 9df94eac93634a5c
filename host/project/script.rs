//! Builds JavaScript and TypeScript: tsc checks types, esbuild makes one file of it, componentize-qjs links that with
//! `QuickJS`.

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
}

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
    tool(project, "componentize-qjs")?
        .arg("--wit")
        .arg(&contract.folder)
        // Exports that run to their end in one call are what a handler is.
        .args(["--sync", "--world", &contract.world, "--js"])
        .arg(&bundle)
        .arg("--output")
        .arg(&component)
        .run_explained(|said| complaint::of_loading(said, &text))?;
    fs::read(&component).map_err(ProjectError::file(&component))
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

/// Refuses uses of `Intl` in the author's own files. `QuickJS` has none, but the compiler takes it for a part of the
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
        let why = "this file, or one of the project's own that it imports, uses `Intl`, which QuickJS does not have";
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
    match Globals::of(project)? {
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

fn esbuild(project: &Project, main: &str, options: &[String], bundle: &Path, meta: &Path) -> Result<(), ProjectError> {
    tool(project, "esbuild")?
        .arg(main)
        .args(["--bundle", "--format=esm", "--target=es2023", "--log-level=warning"])
        .args(["--conditions=kiln", "--external:kiln:*", "--external:wasi:*"])
        .args(options)
        // The engine does not settle its own promises within one call. The kit's promises are settled.
        .args(["--supported:async-await=false", "--supported:async-generator=false"])
        .arg("--supported:for-await=false")
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
