//! Builds Go: its own compiler makes a core module, Kiln makes that a component.
//!
//! Generated bindings are absent on purpose: the kit speaks the canonical ABI itself. Bindings that generators make for
//! Go allocate from the collected heap while the host hands strings over, and trap if a collection starts just then.

mod overlay;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use wasm_encoder::{MemorySection, MemoryType, RawSection};
use wasmparser::{Parser, Payload};

use super::tool::Tool;
use super::{Built, Project, ProjectError, wit};
use crate::snapshot::{self, Start};
use overlay::Overlay;

/// Pages of memory that a module without a snapshot has from the start, beyond those of its data: as many as Go's runtime takes
/// before a small handler has answered. To grow by them would change the memory's mapping in each attempt, which costs more than to have them.
const ROOM_PAGES: u64 = 32;

/// The last part of the module's path that is not a version: the author's name for the module.
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

pub(super) fn build(project: &Project) -> Result<Built, ProjectError> {
    let contract = wit::Contract::read(&project.dir, &project.world)?;
    let core = project.work()?.join("core.wasm");
    let template = "{{.ImportPath}} {{.Dir}}";
    let packages = go(project)?.args(["list", "-deps", "-f", template, "."]).read()?;
    let folders: HashMap<_, _> = packages.lines().filter_map(|line| line.split_once(' ')).collect();
    let Overlay { file, tags } = overlay::write(project, &folders, project.takes_snapshot)?;
    let is_prepared = tags.contains(overlay::SNAPSHOT);
    let mut compile = go(project)?
        .args(["build", "-buildmode=c-shared"])
        // The same source makes the same bytes, on whatever machine and at whatever commit.
        .args(["-trimpath", "-buildvcs=false"])
        // The kit reaches into the runtime: see its realloc_wasip1.go.
        .args(["-ldflags=-checklinkname=0", "-o"])
        .arg(&core);
    if let Some(file) = file {
        let goflags = go(project)?.args(["env", "GOFLAGS"]).read()?;
        compile = compile.arg(tagged(tags, &goflags)).arg("-overlay").arg(file);
    }
    compile.arg(".").run()?;
    let module = fs::read(&core).map_err(ProjectError::file(&core))?;
    let (module, start) = if is_prepared {
        snapshot::of(&module)
    } else {
        (
            module,
            Start::Untouched("Go is of a version that Kiln does not know".to_owned()),
        )
    };
    let module = match &start {
        Start::Untouched(_) => with_room(&module).map_err(ProjectError::contract("cannot read what was compiled"))?,
        Start::Initialised(_) | Start::Ready => module,
    };
    Ok(Built {
        component: contract.component(&module)?,
        snapshot: project.takes_snapshot.then(|| told(start)),
    })
}

/// How far a handler is on when an attempt begins, for its author.
fn told(start: Start) -> String {
    match start {
        Start::Ready => "taken after main: an attempt begins with its job".to_owned(),
        Start::Initialised(why) => format!("taken before main, which each attempt calls: {why}"),
        Start::Untouched(why) => format!("none, each attempt initialises all packages: {why}"),
    }
}

/// Gives a core module memory to grow into from the start.
fn with_room(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut roomy = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        if let Payload::MemorySection(memories) = payload {
            let mut section = MemorySection::new();
            for memory in memories {
                let memory = memory?;
                section.memory(MemoryType {
                    minimum: memory.initial + ROOM_PAGES,
                    maximum: memory.maximum,
                    memory64: memory.memory64,
                    shared: memory.shared,
                    page_size_log2: memory.page_size_log2,
                });
            }
            roomy.section(&section);
        } else if let Some((id, range)) = payload.as_section() {
            let data = &module[range];
            roomy.section(&RawSection { id, data });
        }
    }
    Ok(roomy.finish())
}

fn go(project: &Project) -> Result<Tool, ProjectError> {
    let go = Tool::named("go", &project.dir, "install Go 1.24 or newer: https://go.dev/dl")?;
    Ok(go.env("GOOS", "wasip1").env("GOARCH", "wasm"))
}

/// These build tags, and those that the author's `GOFLAGS` name: a flag of a command takes the place of theirs.
fn tagged<'a>(kit: impl IntoIterator<Item = &'a str>, goflags: &'a str) -> String {
    let flags = goflags.split_whitespace().map(|flag| flag.trim_start_matches('-'));
    let own = flags.filter_map(|flag| flag.strip_prefix("tags=")).next_back();
    let all: Vec<_> = kit.into_iter().chain(own).collect();
    format!("-tags={}", all.join(","))
}

#[cfg(test)]
mod tests {
    use super::tagged;

    #[test]
    fn the_tags_of_goflags_are_kept() {
        assert_eq!(tagged(["kiln_net"], "\n"), "-tags=kiln_net");
        assert_eq!(
            tagged(["kiln_net", "kiln_nethttp"], "-mod=mod -tags=tea,milk --tags=water\n"),
            "-tags=kiln_net,kiln_nethttp,water"
        );
    }
}
