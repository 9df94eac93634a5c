//! From a file to a handler: what loads, what does not and why, and what is kept for the next start.

use crate::guests::{component_of, core_module, guest};
use crate::sandbox::{TestHost, assert_completes, settings};
use kiln::config::{Manifest, SandboxSettings};
use kiln::sandbox::{LoadError, Offer};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[tokio::test]
async fn a_second_load_comes_from_the_cache() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let cache_dir = dir.path().join("cache");
    let settings = SandboxSettings {
        cache_dir: Some(cache_dir.clone()),
        ..settings()
    };
    TestHost::with(&settings)?;
    let first = files(&cache_dir)?;
    assert!(!first.is_empty());
    let host = TestHost::with(&settings)?;
    assert_eq!(
        files(&cache_dir)?,
        first,
        "a component compiled again would be written again"
    );
    assert_completes(&host.run("ok").await?);
    assert_eq!(std::fs::metadata(&cache_dir)?.permissions().mode() & 0o777, 0o700);
    Ok(())
}

#[tokio::test]
async fn a_cache_others_may_write_to_is_not_used() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777))?;
    let settings = SandboxSettings {
        cache_dir: Some(dir.path().to_path_buf()),
        ..settings()
    };
    assert_completes(&TestHost::with(&settings)?.run("ok").await?);
    assert!(files(dir.path())?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_cache_whose_folder_is_a_link_is_not_used_and_nothing_behind_it_goes() -> anyhow::Result<()> {
    let (dir, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700))?;
    std::fs::write(other.path().join("precious"), "")?;
    std::os::unix::fs::symlink(other.path(), dir.path().join("compiled"))?;
    let settings = SandboxSettings {
        cache_dir: Some(dir.path().to_path_buf()),
        ..settings()
    };
    assert_completes(&TestHost::with(&settings)?.run("ok").await?);
    let names: Vec<_> = std::fs::read_dir(other.path())?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    assert_eq!(names, ["precious"]);
    Ok(())
}

/// The cached components below a directory, and when each was written; the statistics beside them come and go.
fn files(dir: &Path) -> anyhow::Result<Vec<(PathBuf, SystemTime)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_none() {
            let written = std::fs::metadata(&path)?.modified()?;
            found.push((path, written));
        }
    }
    found.sort();
    Ok(found)
}

#[tokio::test]
async fn what_is_not_a_handler_says_what_it_is() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let ok = guest("ok")?;
    let other = component_of("other", r#"(module (func (export "guests:missing/cellar@1.0.0#get")))"#)?;
    let refusals: [(&[u8], &str); 8] = [
        (b"", "not a WebAssembly component: the file is empty"),
        (
            b"\0asm",
            "not a WebAssembly component: the file is cut short or of an unknown version",
        ),
        (b"hello", "not a WebAssembly component: it does not start with \\0asm"),
        (
            b" (component)",
            "not a WebAssembly component: it is text: run wasm-tools parse first",
        ),
        (
            &core_module("ok")?,
            "a core module, not a component: build it for wasm32-wasip2, or make one of it with kiln build --core FILE",
        ),
        (
            b"\x7fELF",
            "precompiled for one machine; Kiln compiles components itself: use the .wasm file it was made from",
        ),
        (&ok[..ok.len() / 2], "does not compile: "),
        (
            &other,
            "does not export kiln:job/handler@0.1.0; it exports guests:missing/cellar@1.0.0",
        ),
    ];
    for (bytes, refusal) in refusals {
        let said = host.refusal(bytes);
        assert!(said.starts_with(refusal) && !said.contains('\n'), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn every_import_that_is_not_offered_is_named() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let bytes = guest("not_offered")?;
    assert_eq!(
        host.refusal(&bytes),
        "imports guests:missing/cellar@1.0.0: not offered; guests:missing/attic@1.0.0: not offered: build it without, or \
         against what is offered"
    );
    let inspection = host.sandbox.inspect(&bytes, &Manifest::default())?;
    assert!(matches!(inspection.problem, Some(LoadError::NotOffered { imports }) if imports.len() == 2));
    Ok(())
}

/// Whoever inspects a plugin does not trust it yet.
#[tokio::test]
async fn a_name_cannot_forge_a_line_or_steer_a_terminal() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let bytes = wat::parse_str(r#"(component (import "url=<a\1b[2K\nit loads>" (instance)))"#)?;
    let inspection = host.sandbox.inspect(&bytes, &Manifest::default())?;
    assert_eq!(inspection.imports[0].name, "url=<a\\u001b[2K\\nit loads>");
    let long = wat::parse_str(format!("(component (import \"{}\" (func)))", "a".repeat(90_000)))?;
    let inspection = host.sandbox.inspect(&long, &Manifest::default())?;
    assert!(inspection.imports[0].name.len() < 1_000);
    Ok(())
}

#[tokio::test]
async fn a_guest_too_big_to_start_does_not_load() -> anyhow::Result<()> {
    let refusal = TestHost::new()?.refusal(&guest("big")?);
    assert_eq!(
        refusal,
        "needs 256.0 MiB of memory to start; the limit is 128.0 MiB: raise max_memory in its manifest"
    );
    Ok(())
}

#[tokio::test]
async fn inspection_tells_which_imports_take_a_grant() -> anyhow::Result<()> {
    let inspection = TestHost::new()?
        .sandbox
        .inspect(&guest("fetch")?, &Manifest::default())?;
    assert!(inspection.problem.is_none());
    assert_eq!(inspection.exports, ["kiln:job/handler@0.1.0"]);
    let grants: Vec<_> = inspection
        .imports
        .iter()
        .filter(|import| import.offer != Offer::Always)
        .collect();
    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0].name, "wasi:http/outgoing-handler@0.2.0");
    assert_eq!(grants[0].offer, Offer::ByGrant("http"));
    Ok(())
}
