//! Builds and tests the handlers that are not written in Rust, and those of the conformance suite, as their authors
//! would: with `kiln build`.

use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::shell::{Shell, say};
use crate::{apt, plugins, toolchains};

/// What was built or fetched, and is no source.
const MADE: &[&str] = &["build", "node_modules", "target", ".venv", "__pycache__"];

/// Modules of Go, and Debian's packages of their sources, that handlers of the tests are built from.
const GO_MODULES: [(&str, &str); 2] = [
    ("github.com/gomodule/redigo", "golang-github-gomodule-redigo-dev"),
    ("github.com/jackc/pgx", "golang-github-jackc-pgx-v4-dev"),
];

/// What a handler's tools are called with.
pub(crate) type Environment = Vec<(&'static str, PathBuf)>;

/// The environment with a compiler for every language.
pub(crate) fn environment(root: &Path) -> Result<Environment> {
    let bin = toolchains::provide(root)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)))?;
    let rustc = plugins::made_rustc(root)?.map(|rustc| ("RUSTC", rustc));
    Ok([("PATH", PathBuf::from(path))].into_iter().chain(rustc).collect())
}

/// A project that `kiln build` builds.
struct Handler {
    dir: PathBuf,
    /// The plugin folder it goes to.
    into: PathBuf,
}

/// Builds those whose source, or whose builder, has changed since.
pub(crate) fn build(root: &Path, env: &Environment) -> Result<()> {
    let kiln = kiln(root)?;
    for handler in all(root)? {
        install(&handler.dir)?;
        if handler.is_fresh(&kiln) {
            continue;
        }
        say(&format!("building {}", handler.dir.display()));
        let args = ["build", "--into"].map(Path::new);
        shell(&handler.dir, env).run(
            &kiln.to_string_lossy(),
            args.into_iter().chain([handler.into.as_path()]),
        )?;
        fs::create_dir_all(handler.dir.join("build"))?;
        fs::write(handler.stamp(), "")?;
    }
    Ok(())
}

/// Runs the tests that authors would run: none of them needs Kiln or Wasm.
pub(crate) fn test(root: &Path, env: &Environment) -> Result<()> {
    for handler in all(root)? {
        install(&handler.dir)?;
        let has = |name: &str| handler.dir.join(name).is_file();
        let sh = shell(&handler.dir, env);
        if has("package.json") {
            say(&format!("testing {}", handler.dir.display()));
            sh.run("npm", ["test", "--silent"])?;
        } else if has("pyproject.toml") {
            say(&format!("testing {}", handler.dir.display()));
            // -B: what it would leave in the kit's folder would be built into the command.
            sh.run(".venv/bin/python", ["-B", "-m", "unittest", "--quiet"])?;
        } else if has("go.mod") {
            say(&format!("testing {}", handler.dir.display()));
            sh.run("go", ["test", "./..."])?;
        } else if has("handler.c") {
            say(&format!("testing {}", handler.dir.display()));
            test_c(&handler.dir, &sh)?;
        }
    }
    Ok(())
}

/// Each test of a handler in C is a program of its own, around the handler.
fn test_c(dir: &Path, sh: &Shell) -> Result<()> {
    let is_test = |file: &PathBuf| file.to_string_lossy().ends_with("_test.c");
    let (tests, mut sources): (Vec<_>, Vec<_>) = files(dir, ".c")?.into_iter().partition(is_test);
    anyhow::ensure!(!tests.is_empty(), "{} has no tests", dir.display());
    for folder in ["src", "kiln"].map(|folder| dir.join(folder)) {
        if folder.is_dir() {
            sources.extend(files(&folder, ".c")?);
        }
    }
    fs::create_dir_all(dir.join("build"))?;
    for test in tests {
        let program = dir.join("build").join(test.file_stem().unwrap_or_default());
        let options = ["-g", "-fsanitize=address,undefined", "-o"].map(PathBuf::from);
        let inputs = [program.clone(), test].into_iter().chain(sources.iter().cloned());
        let args = options.into_iter().chain(inputs).chain([PathBuf::from("-lm")]);
        sh.run("cc", args)?;
        sh.run(&program.to_string_lossy(), iter::empty::<&str>())?;
    }
    Ok(())
}

/// The files of a folder whose names end so.
fn files(dir: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.to_string_lossy().ends_with(end)).collect())
}

pub(crate) fn shell<'a>(dir: &'a Path, env: &Environment) -> Shell<'a> {
    env.iter()
        .fold(Shell::in_dir(dir), |sh, (name, value)| sh.env(name, value.clone()))
}

/// Fetches the packages that a project pins.
pub(crate) fn install(dir: &Path) -> Result<()> {
    for folder in [dir.to_owned(), dir.join("vendor")] {
        let lock = folder.join("package-lock.json");
        if !lock.is_file() {
            continue;
        }
        let installed = folder.join("node_modules/.kiln-lock");
        if fs::read(&installed).ok() == fs::read(&lock).ok() {
            continue;
        }
        say(&format!("installing what {} names", lock.display()));
        Shell::in_dir(&folder).run("npm", ["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"])?;
        fs::copy(&lock, &installed)?;
    }
    let requirements = dir.join("requirements.txt");
    if requirements.is_file() {
        toolchains::venv(&dir.join(".venv"), &requirements)?;
    }
    if dir.join("vendor/modules.txt").is_file() {
        // Its packages are links to what these bring.
        for (module, package) in GO_MODULES {
            apt::ensure(&format!("/usr/share/gocode/src/{module}"), package)?;
        }
    }
    Ok(())
}

impl Handler {
    /// Whether nothing that goes into it is younger than what came of it.
    fn is_fresh(&self, kiln: &Path) -> bool {
        let Ok(built) = fs::metadata(self.stamp()).and_then(|stamp| stamp.modified()) else {
            return false;
        };
        [self.dir.as_path(), kiln]
            .iter()
            .all(|path| youngest(path).is_some_and(|changed| changed < built))
    }

    fn stamp(&self) -> PathBuf {
        self.dir.join("build/built")
    }
}

/// When anything below a path was last written to; links are followed.
fn youngest(path: &Path) -> Option<SystemTime> {
    let found = fs::metadata(path).ok()?;
    if !found.is_dir() {
        return found.modified().ok();
    }
    let entries = fs::read_dir(path).ok()?.flatten();
    let sources = entries.filter(|entry| !MADE.iter().any(|made| entry.file_name() == *made));
    sources.filter_map(|entry| youngest(&entry.path())).max()
}

/// The folders below `plugins` with a manifest and no crate, and all below `tests/handlers`.
fn all(root: &Path) -> Result<Vec<Handler>> {
    let mut handlers = Vec::new();
    for (source, into) in [("plugins", "target/plugins"), ("tests/handlers", "target/handlers")] {
        let source = root.join(source);
        for entry in fs::read_dir(&source).with_context(|| format!("cannot read {}", source.display()))? {
            let dir = entry?.path();
            let manifest = dir.join(dir.file_name().unwrap_or_default()).with_extension("toml");
            let is_project = if source.ends_with("plugins") {
                manifest.is_file() && !dir.join("Cargo.toml").is_file()
            } else {
                dir.is_dir()
            };
            if is_project {
                handlers.push(Handler {
                    dir,
                    into: root.join(into),
                });
            }
        }
    }
    handlers.sort_by(|a, b| a.dir.cmp(&b.dir));
    Ok(handlers)
}

/// The command, built as the tests build it, so that the Wasm engine is compiled once.
pub(crate) fn kiln(root: &Path) -> Result<PathBuf> {
    say("building kiln");
    // With an example, because that is what turns on the features of what only tests need.
    Shell::in_dir(root).run("cargo", ["build", "--quiet", "--bin", "kiln", "--example", "demo"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    Ok(target.join("debug/kiln"))
}
