//! Builds Go: its own compiler makes a core module, Kiln makes that a component.
//!
//! Bindings are absent on purpose: the kit speaks the canonical ABI itself. What generators make for Go allocates from the
//! collected heap while the host hands strings over, and traps when a collection starts just then.

use std::fs;
use std::path::Path;

use super::tool::Tool;
use super::{Project, ProjectError, wit};

/// The last part of the module's path that is no version: what the author calls it.
pub(super) fn name(dir: &Path) -> Result<String, ProjectError> {
    let path = dir.join("go.mod");
    let text = fs::read_to_string(&path).map_err(ProjectError::file(&path))?;
    let module = text.lines().find_map(|line| line.trim().strip_prefix("module "));
    let module = module.ok_or_else(|| ProjectError::description(&path, "names no module"))?;
    let module = module.split("//").next().unwrap_or_default().trim().trim_matches('"');
    let is_version = |part: &str| {
        part.strip_prefix('v')
            .is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let name = module.rsplit('/').find(|part| !is_version(part));
    Ok(name.unwrap_or(module).to_owned())
}

pub(super) fn build(project: &Project) -> Result<Vec<u8>, ProjectError> {
    let contract = wit::Contract::read(&project.dir, &project.world)?;
    let core = project.work()?.join("core.wasm");
    Tool::named("go", &project.dir, "install Go 1.24 or newer: https://go.dev/dl")?
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        .args(["build", "-buildmode=c-shared"])
        // The same source makes the same bytes, on whatever machine and at whatever commit.
        .args(["-trimpath", "-buildvcs=false"])
        // The kit reaches into the runtime: see its realloc_wasip1.go.
        .args(["-ldflags=-checklinkname=0", "-o"])
        .arg(&core)
        .arg(".")
        .run()?;
    contract.component(&fs::read(&core).map_err(ProjectError::file(&core))?)
}
