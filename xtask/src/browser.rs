//! Tests the dashboard in a real browser, and draws its pictures for the documentation.

use std::path::Path;

use anyhow::Result;

use crate::handlers::{self, Environment};
use crate::shell::{Shell, say};
use crate::{apt, plugins};

/// Debian's browser, as the tests start it.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Where they are.
const TESTS: &str = "tests/browser";

/// Runs the tests, on the command and the handlers as they are now.
pub(crate) fn test(root: &Path, env: &Environment) -> Result<()> {
    prepare(root, env)?;
    say("testing the dashboard in a browser");
    shell(&root.join(TESTS), env).run("npm", ["test", "--silent"])
}

/// Draws every page, light and dark, wide and narrow, into `docs/dashboard/`.
pub(crate) fn draw(root: &Path, env: &Environment) -> Result<()> {
    prepare(root, env)?;
    say("drawing the pages of the dashboard");
    shell(&root.join(TESTS), env).run("node", ["screenshots.js"])
}

fn prepare(root: &Path, env: &Environment) -> Result<()> {
    apt::ensure("redis-server", "redis-server")?;
    apt::ensure(CHROMIUM, "chromium")?;
    plugins::build(root)?;
    // With the example: what the tests need is then compiled with the same features as they are.
    Shell::in_dir(root).run("cargo", ["build", "--bin", "kiln", "--example", "demo"])?;
    handlers::install(&root.join(TESTS))?;
    let sh = shell(root, env);
    // The first start on a machine fills caches, which may take longer than a test waits.
    sh.read(CHROMIUM, ["--version"]).map(drop)
}

fn shell<'a>(folder: &'a Path, env: &Environment) -> Shell<'a> {
    let env = env.iter();
    env.fold(Shell::in_dir(folder), |sh, (name, value)| sh.env(name, value.clone()))
}
