//! Provides the compilers of the languages that handlers are written in, and servers that tests talk to, each of a pinned
//! version.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::apt;
use crate::plugins::cache_folder;
use crate::shell::{Shell, say};

/// Makes sure that all compilers can be called, and returns a folder to have on PATH.
pub(crate) fn provide(root: &Path) -> Result<PathBuf> {
    apt::ensure("python3", "python3-venv")?;
    apt::ensure("npm", "npm")?;
    Ok(installed(root, "toolchains")?.join("bin"))
}

/// Makes sure that the tests find their servers.
pub(crate) fn provide_servers(root: &Path) -> Result<()> {
    installed(root, "servers").map(drop)
}

/// Installs what a file of pins beside this crate names.
///
/// It lies outside the checkout, so that it is downloaded once a machine, and anew when a pin changes. The link in `target`
/// is where the tests look.
fn installed(root: &Path, name: &str) -> Result<PathBuf> {
    let pins = root.join("xtask").join(name).with_extension("txt");
    let made = venv(&cache_folder()?.join(name), &pins)?;
    let link = root.join("target").join(name);
    fs::create_dir_all(root.join("target"))?;
    if fs::read_link(&link).ok().as_ref() != Some(&made) {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&made, &link).with_context(|| format!("cannot link {}", link.display()))?;
    }
    Ok(made)
}

/// A virtual environment with what a file of requirements names. It is whole once it holds a copy of that file.
pub(crate) fn venv(venv: &Path, requirements: &Path) -> Result<PathBuf> {
    let wanted = fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let installed = venv.join("requirements.txt");
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(venv.to_owned());
    }
    say(&format!("installing what {} names", requirements.display()));
    fs::create_dir_all(venv)?;
    let folder = requirements.parent().unwrap_or(Path::new("."));
    let sh = Shell::in_dir(folder);
    sh.run(
        "python3",
        [Path::new("-m"), Path::new("venv"), Path::new("--clear"), venv],
    )?;
    let pip = venv.join("bin/pip");
    let args = ["install", "--quiet", "--disable-pip-version-check", "--requirement"].map(Path::new);
    sh.run(&pip.to_string_lossy(), args.into_iter().chain([requirements]))?;
    fs::write(&installed, wanted)?;
    Ok(venv.to_owned())
}
