//! Provides the Redis server that the tests start for themselves.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::shell::{Shell, say};

const BY_HAND: &str = "the tests need redis-server on PATH; install it, on Debian with: apt-get install redis-server";

/// Installs `redis-server` where it is missing and apt may install without asking.
///
/// The tests start their own servers on ports of their own. `RUNLEVEL=1` keeps the package from starting one besides.
pub(crate) fn ensure_server() -> Result<()> {
    if on_path("redis-server") {
        return Ok(());
    }
    say("installing redis-server");
    let sh = Shell::in_dir(Path::new("/"));
    let sudo: &[&str] = match sh.read("id", ["-u"]).as_deref() {
        Ok("0") => &[],
        _ => &["sudo", "-n"],
    };
    let apt = |args: &[&str]| {
        let quiet = ["env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"];
        let line = [sudo, quiet.as_slice(), args].concat();
        sh.run(line[0], &line[1..])
    };
    let install = ["install", "--yes", "--no-install-recommends", "redis-server"];
    // A fresh container has no package lists at all, and old lists name files that are gone.
    apt(&install)
        .or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
        .context(BY_HAND)?;
    if !on_path("redis-server") {
        bail!(BY_HAND);
    }
    Ok(())
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
