//! Builds C: Kiln makes the bindings and the component, any compiler that knows WASI does the rest.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use wasm_encoder::RawSection;
use wasmparser::{Parser, Payload};

use super::tool::Tool;
use super::{Project, ProjectError, has_end, wit};

pub(super) fn build(project: &Project) -> Result<Vec<u8>, ProjectError> {
    let contract = wit::Contract::read(&project.dir, &project.world)?;
    let bindings = project.work()?.join("bindings");
    let generated = contract.bindings(wit_bindgen_c::Opts::default().build(), &bindings)?;
    let core = project.work()?.join("core.wasm");
    let own = [".", "src", "kiln"].map(|folder| sources(&project.dir, folder));
    compiler(project)?
        // -g keeps the names of functions, for the backtrace of a trap. -UNDEBUG keeps assert(), even in an optimised
        // build.
        .args(["-mexec-model=reactor", "-Os", "-g", "-UNDEBUG", "-Wall"])
        // An instance clears its stack when it starts, so a small stack makes starts faster.
        .args(["-Wl,-z,stack-size=65536", "-I.", "-I"])
        .arg(&bindings)
        .args(flags())
        .args(own.into_iter().flatten())
        // The generated object names the module's world. The generated header is not compiled by itself.
        .args(generated.iter().filter(|path| !has_end(path, "h")))
        .arg("-o")
        .arg(&core)
        .run()?;
    let module = fs::read(&core).map_err(ProjectError::file(&core))?;
    contract.component(&without_debug_info(&module).map_err(ProjectError::contract("cannot read what was compiled"))?)
}

/// Removes from a core module what only a debugger reads: nine tenths of it.
fn without_debug_info(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut kept = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        if matches!(&payload, Payload::CustomSection(section) if section.name().starts_with(".debug")) {
            continue;
        }
        if let Some((id, range)) = payload.as_section() {
            let data = &module[range];
            kept.section(&RawSection { id, data });
        }
    }
    Ok(kept.finish())
}

/// Flags that an author adds with the usual variable.
fn flags() -> Vec<String> {
    let flags = std::env::var("CFLAGS").unwrap_or_default();
    flags.split_whitespace().map(str::to_owned).collect()
}

/// The C files of a folder of the project, relative to it, without tests: those have a `main` of their own.
fn sources(project: &Path, folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(project.join(folder)) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let is_source = |name: &OsString| {
        let name = name.to_string_lossy();
        name.ends_with(".c") && !name.ends_with("_test.c")
    };
    let mut sources: Vec<_> = names
        .filter(is_source)
        .map(|name| Path::new(folder).join(name))
        .collect();
    sources.sort();
    sources
}

const INSTALL: &str = "run `python3 -m venv .venv && .venv/bin/pip install ziglang`, or install wasi-sdk and set \
                       WASI_SDK_PATH, or on Debian `apt-get install clang lld wasi-libc libclang-rt-dev-wasm32`";

/// A compiler that knows WASI: zig, wasi-sdk's, or the system's where it has the libraries.
fn compiler(project: &Project) -> Result<Tool, ProjectError> {
    let dir = &project.dir;
    let zig = ["zig", "python-zig"].into_iter().find_map(|name| {
        let own = dir.join(".venv/bin").join(name);
        if own.is_file() {
            Some(own)
        } else {
            which::which(name).ok()
        }
    });
    if let Some(zig) = zig {
        return Ok(Tool::at(&zig, dir).args(["cc", "--target=wasm32-wasi"]));
    }
    // With the stack first, an overflow traps. Zig puts it there by itself, clang has to be told.
    let clang = |program: &Path, target| Tool::at(program, dir).args([target, "-Wl,--stack-first"]);
    let sdk = std::env::var_os("WASI_SDK_PATH").map(|sdk| Path::new(&sdk).join("bin/clang"));
    if let Some(program) = sdk.filter(|program| program.is_file()) {
        return Ok(clang(&program, "--target=wasm32-wasip1"));
    }
    if let Ok(program) = which::which("clang")
        && knows_wasi(&program, dir)
    {
        return Ok(clang(&program, "--target=wasm32-wasi"));
    }
    Err(ProjectError::missing("a C compiler for WASI", INSTALL))
}

/// Whether a clang finds the start code that a handler needs: it then answers with a path.
fn knows_wasi(clang: &Path, dir: &Path) -> bool {
    let ask = Tool::at(clang, dir).args(["--target=wasm32-wasi", "-print-file-name=crt1-reactor.o"]);
    ask.read().is_ok_and(|answer| Path::new(answer.trim()).is_absolute())
}
