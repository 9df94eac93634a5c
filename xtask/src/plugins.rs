//! Builds and tests the handlers in `plugins/`, a workspace of their own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::{Shell, say};

const TARGET: &str = "wasm32-wasip2";

/// Builds the handlers and puts each, with its manifest, into `target/plugins`.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let source = root.join("plugins");
    let (sh, target) = match provide_target(root)? {
        Provision::Installed => (Shell::in_dir(&source), source.join("target")),
        // What was built with one std cannot be linked with another, and cargo cannot tell them apart: it goes when the
        // toolchain goes.
        Provision::Made(made) => (
            Shell::in_dir(&source).env("RUSTC", made.join("rustc")),
            made.join("target"),
        ),
    };
    say("building the handlers");
    // From inside the folder, because cargo finds `.cargo/config.toml` by where it runs.
    sh.env("CARGO_TARGET_DIR", target.clone())
        .run("cargo", ["build", "--release", "--locked", "--target", TARGET])?;

    let built = target.join(TARGET).join("release");
    let folder = root.join("target/plugins");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for name in names(&source)? {
        // The component last: a host that watches the folder then never runs it under an old manifest.
        put(&source.join(&name).join(&name).with_extension("toml"), &folder)?;
        put(&built.join(&name).with_extension("wasm"), &folder)?;
    }
    Ok(folder)
}

/// Tests the handlers' plain logic, and the kit, on this machine.
pub(crate) fn test(root: &Path) -> Result<()> {
    say("testing the handlers' logic");
    let source = root.join("plugins");
    // A target folder of its own, whatever the caller has set for the host.
    let sh = Shell::in_dir(&source).env("CARGO_TARGET_DIR", source.join("target"));
    sh.run("cargo", ["test", "--quiet", "--locked", "--workspace"])
}

/// Every handler's crate has its manifest beside it; that tells it from other folders, and its Cargo.toml from handlers in
/// other languages.
fn names(source: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(source)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let has = |file: &Path| source.join(&name).join(file).is_file();
        if has(&Path::new(&name).with_extension("toml")) && has(Path::new("Cargo.toml")) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Copies under another name first, so that a host never reads half a file.
fn put(file: &Path, folder: &Path) -> Result<()> {
    let name = file.file_name().context("a file has a name")?;
    let temporary = folder.join(format!(".{}.new", name.to_string_lossy()));
    fs::copy(file, &temporary).with_context(|| format!("cannot copy {}", file.display()))?;
    fs::rename(&temporary, folder.join(name)).with_context(|| format!("cannot place {}", file.display()))?;
    Ok(())
}

/// Where the target's standard library is.
enum Provision {
    /// With the installed compiler.
    Installed,
    /// With a compiler in this folder, made from Debian's packages.
    Made(PathBuf),
}

/// The compiler to build handlers with, where that is not the installed one.
pub(crate) fn made_rustc(root: &Path) -> Result<Option<PathBuf>> {
    Ok(match provide_target(root)? {
        Provision::Installed => None,
        Provision::Made(made) => Some(made.join("rustc")),
    })
}

/// Makes sure the target can be built for. What is there is used; else rustup adds it; else, where rustup cannot reach
/// its server, a compiler is made from Debian's packages.
fn provide_target(root: &Path) -> Result<Provision> {
    let sh = Shell::in_dir(root);
    if has_std(&sh)? {
        return Ok(Provision::Installed);
    }
    // One for each version of the installed compiler, because it borrows that one's linkers.
    let version = sh
        .read("rustc", ["--version"])?
        .split_whitespace()
        .nth(1)
        .unwrap_or("unknown")
        .to_owned();
    let made = cache_folder()?.join(TARGET).join(format!("rustc-{version}"));
    if made.exists() {
        return Ok(Provision::Made(made));
    }
    say(&format!("adding the target {TARGET}"));
    if sh.run("rustup", ["target", "add", TARGET]).is_ok() && has_std(&sh)? {
        return Ok(Provision::Installed);
    }
    say("making it from Debian's packages instead, once: some minutes, 140 MB to download");
    sh.run("bash", [&root.join("xtask/wasm32-wasip2-std.sh"), &made])?;
    Ok(Provision::Made(made))
}

fn has_std(sh: &Shell) -> Result<bool> {
    let libraries = sh.read("rustc", ["--print", "target-libdir", "--target", TARGET])?;
    let Ok(entries) = fs::read_dir(libraries) else {
        return Ok(false);
    };
    Ok(entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
}

/// Outside the checkout, so that it is made once a machine.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(home);
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("kiln"))
}
