//! Provides programs that come with the system.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::shell::{Shell, say};

/// Installs what a package brings, a program on PATH or a file, where it is missing and apt may install without asking.
///
/// The tests start servers of their own, on ports of their own. `RUNLEVEL=1` keeps a package from starting one besides.
pub(crate) fn ensure(brings: &str, package: &str) -> Result<()> {
    if is_there(brings) {
        return Ok(());
    }
    say(&format!("installing {package}"));
    let by_hand = || format!("{brings} is needed; install it, on Debian with: apt-get install {package}");
    let apt = |args: &[&str]| {
        let quiet = ["env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"];
        as_root(&[quiet.as_slice(), args].concat())
    };
    let install = ["install", "--yes", "--no-install-recommends", package];
    // A fresh container has no package lists at all, and old lists name files that are gone.
    apt(&install)
        .or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
        .with_context(by_hand)?;
    if !is_there(brings) {
        bail!(by_hand());
    }
    Ok(())
}

/// Runs a command as root, without asking.
pub(crate) fn as_root(line: &[&str]) -> Result<()> {
    let sh = Shell::in_dir(Path::new("/"));
    let sudo: &[&str] = match sh.read("id", ["-u"]).as_deref() {
        Ok("0") => &[],
        _ => &["sudo", "-n"],
    };
    let line = [sudo, line].concat();
    sh.run(line[0], &line[1..])
}

fn is_there(brings: &str) -> bool {
    if Path::new(brings).is_absolute() {
        return Path::new(brings).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(brings).is_file())
}
