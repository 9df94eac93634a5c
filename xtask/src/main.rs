//! Kiln's developer tasks: `cargo xtask COMMAND`.
//!
//! Everything a fresh machine lacks is fetched here, so that each task is one command. Nothing of Kiln itself is linked
//! in: the tasks must build in seconds.

mod apt;
mod browser;
mod count;
mod fuzz;
mod handlers;
mod package;
mod plugins;
mod shell;
mod suite;
mod toolchains;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use shell::{Shell, say};

const HELP: &str = "\
usage: cargo xtask COMMAND

  plugins         build the handlers in plugins/, with compilers for their languages, and put them into target/plugins
  demo [--ui]     build those in Rust, then run examples/demo.rs with them; --ui keeps it open in the dashboard
  browser         run the tests of the dashboard in a browser; test runs them, too
  test [ARGS...]  run every test, handlers first; ARGS go to the cargo test of the host
  fuzz [TARGET [INPUT]] [--seconds N]
                  fuzz the job decoder, manifests and plugins, or one of them: job, manifest, plugin; 60 seconds each.
                  With INPUT, run that alone
  package         make the package for Debian, of the program of the tests, and install it below target/package; test does so, too
  screenshots     draw the pictures of the dashboard in docs/ anew
  docs            make the book of docs/, into target/book
  count [STORE]   count the instructions that a job takes, with callgrind; on a store in memory, or on redis://…";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let done = match (command.as_str(), rest.as_slice()) {
        ("plugins", []) => all_plugins(),
        ("demo", []) => demo(&[]),
        ("demo", [ui]) if ui == "--ui" => demo(&["--ui"]),
        ("test", args) => test(args),
        ("fuzz", args) => match fuzz::Options::parse(args) {
            Some(options) => fuzz::fuzz(root(), &options),
            None => return usage(),
        },
        ("browser", []) => handlers::environment(root()).and_then(|env| browser::test(root(), &env)),
        ("package", []) => package::package(root()),
        ("screenshots", []) => handlers::environment(root()).and_then(|env| browser::draw(root(), &env)),
        ("docs", []) => handlers::environment(root()).and_then(|env| book(&env)),
        ("count", []) => count("memory:"),
        ("count", [store]) => count(store),
        _ => return usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("xtask: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{HELP}");
    ExitCode::from(2)
}

fn rust_plugins() -> Result<PathBuf> {
    let built = plugins::build(root())?;
    say(&format!("handlers are in {}", built.display()));
    Ok(built)
}

fn all_plugins() -> Result<()> {
    let env = handlers::environment(root())?;
    rust_plugins()?;
    handlers::build(root(), &env)
}

/// Uses the profile of the tests, so that wasmtime is compiled once for both.
fn demo(args: &[&str]) -> Result<()> {
    let built = rust_plugins()?;
    say("running the demo");
    let sh = Shell::in_dir(root());
    let demo = ["run", "--quiet", "--example", "demo", "--"].map(Path::new);
    let args = args.iter().map(Path::new);
    sh.run("cargo", demo.into_iter().chain([built.as_path()]).chain(args))
}

fn count(store: &str) -> Result<()> {
    rust_plugins()?;
    count::count(root(), store)
}

/// The order is that of the waiting time: what fails soon comes first.
fn test(args: &[String]) -> Result<()> {
    apt::ensure("redis-server", "redis-server")?;
    apt::ensure("/usr/lib/postgresql", "postgresql")?;
    apt::ensure("promtool", "prometheus")?;
    apt::ensure("systemd-analyze", "systemd")?;
    let env = handlers::environment(root())?;
    toolchains::provide_servers(root())?;
    plugins::test(root())?;
    handlers::test(root(), &env)?;
    rust_plugins()?;
    handlers::build(root(), &env)?;
    // Not as RUSTC: the host itself is compiled by the installed compiler.
    let made = plugins::made_rustc(root())?;
    let sh = made
        .into_iter()
        .fold(Shell::in_dir(root()), |sh, rustc| sh.env("KILN_TEST_RUSTC", rustc));
    say("testing the host");
    // Every target but the benches, which would run for minutes.
    let all = ["test", "--workspace", "--lib", "--bins", "--examples"];
    if args.is_empty() {
        sh.run("cargo", all.into_iter().chain(["--test", "chaos"]))?;
        suite::run(&sh)?;
    } else {
        sh.run(
            "cargo",
            all.into_iter()
                .chain(["--tests"])
                .chain(args.iter().map(String::as_str)),
        )?;
    }
    package::package(root())?;
    browser::test(root(), &env)?;
    say("testing the examples in the documentation");
    sh.run("cargo", ["test", "--workspace", "--doc"])?;
    book(&env)
}

/// Makes the book of `docs/`, into `target/book`.
fn book(env: &handlers::Environment) -> Result<()> {
    say("making the book");
    handlers::shell(root(), env).run("mdbook", ["build", "docs"])
}

/// The checkout, wherever cargo was called from.
fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}
