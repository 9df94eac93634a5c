//! Builds Go: its own compiler makes a core module, Kiln makes that a component.
//!
//! Generated bindings are absent on purpose: the kit speaks the canonical ABI itself. Bindings that generators make for
//! Go allocate from the collected heap while the host hands strings over, and trap if a collection starts just then.

use std::fs;
use std::path::{Path, PathBuf};

use super::tool::Tool;
use super::{Project, ProjectError, wit};

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

pub(super) fn build(project: &Project) -> Result<Vec<u8>, ProjectError> {
    let contract = wit::Contract::read(&project.dir, &project.world)?;
    let core = project.work()?.join("core.wasm");
    let go = go(project)?
        .args(["build", "-buildmode=c-shared"])
        // The same source makes the same bytes, on whatever machine and at whatever commit.
        .args(["-trimpath", "-buildvcs=false"])
        // The kit reaches into the runtime: see its realloc_wasip1.go.
        .args(["-ldflags=-checklinkname=0", "-o"])
        .arg(&core);
    let go = match net_http(project)? {
        Some(folder) => go
            .args(["-tags", "kiln_nethttp", "-overlay"])
            .arg(overlay(project, &folder)?),
        None => go,
    };
    go.arg(".").run()?;
    contract.component(&fs::read(&core).map_err(ProjectError::file(&core))?)
}

fn go(project: &Project) -> Result<Tool, ProjectError> {
    let go = Tool::named("go", &project.dir, "install Go 1.24 or newer: https://go.dev/dl")?;
    Ok(go.env("GOOS", "wasip1").env("GOARCH", "wasm"))
}

/// Where the source of `net/http` is, if the handler or one of its packages imports it. Other handlers shall not pay
/// for it.
fn net_http(project: &Project) -> Result<Option<PathBuf>, ProjectError> {
    let template = r#"{{if eq .ImportPath "net/http"}}{{.Dir}}{{end}}"#;
    let folder = go(project)?.args(["list", "-deps", "-f", template, "."]).read()?;
    let folder = folder.trim();
    Ok((!folder.is_empty()).then(|| PathBuf::from(folder)))
}

/// The line of `net/http` with which every `http.Transport` sends a request, and its replacement: see the kit's
/// `nethttp_wasip1.go`. So every HTTP client works, whichever package makes it.
const SENDS: &str = "\n\treturn t.roundTrip(req)\n}\n";
const HANDS_OVER: &str = "
	if req.URL != nil && (req.URL.Scheme == \"http\" || req.URL.Scheme == \"https\") {
		return kilnRoundTrip(t, req)
	}
	return t.roundTrip(req)
}

//go:linkname kilnRoundTrip
func kilnRoundTrip(*Transport, *Request) (*Response, error)
";

/// Writes the changed source of `net/http`, and returns the overlay file that makes the compiler use it.
fn overlay(project: &Project, folder: &Path) -> Result<PathBuf, ProjectError> {
    let replaced = folder.join("roundtrip.go");
    let source = fs::read_to_string(&replaced).map_err(ProjectError::file(&replaced))?;
    if !source.contains(SENDS) {
        return Err(ProjectError::description(
            &replaced,
            "is of a version of Go that Kiln does not know",
        ));
    }
    let work = project.work()?;
    // Not named .go: `go test ./...` looks for packages in this folder, too.
    let source_file = work.join("roundtrip.go.txt");
    wit::write(&source_file, source.replacen(SENDS, HANDS_OVER, 1).as_bytes())?;
    let overlay = work.join("overlay.json");
    let says = serde_json::json!({ "Replace": { replaced.to_string_lossy(): source_file } });
    wit::write(&overlay, says.to_string().as_bytes())?;
    Ok(overlay)
}
