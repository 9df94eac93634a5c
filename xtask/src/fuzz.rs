//! Fuzzes what comes from outside: the targets in `tests/fuzz`, a package of its own.
//!
//! No cargo-fuzz and no nightly compiler: libFuzzer is linked in by its crate, and `instrument.sh`, as the compiler's
//! wrapper, has Kiln alone compiled for it. All else is what the tests have built already.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt;
use crate::shell::{Shell, say};

/// Time each target gets where the caller names none, in seconds.
const SECONDS_DEFAULT: u64 = 60;

/// A target, and what libFuzzer is to know of it. Small inputs show all there is; an input may take seconds at most.
struct Target {
    name: &'static str,
    flags: &'static [&'static str],
}

const TARGETS: [Target; 3] = [
    Target {
        name: "job",
        flags: &["-max_len=8192", "-timeout=10", "-rss_limit_mb=2048"],
    },
    Target {
        name: "manifest",
        flags: &["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048"],
    },
    Target {
        name: "plugin",
        // One change at a time: after several, hardly any component is one.
        flags: &["-max_len=16384", "-timeout=20", "-rss_limit_mb=2048", "-mutate_depth=1"],
    },
];

/// What the caller asks for.
pub(crate) struct Options {
    target: Option<&'static Target>,
    /// To be run once, instead of fuzzing.
    input: Option<PathBuf>,
    seconds: u64,
}

impl Options {
    /// Reads `[TARGET [INPUT]] [--seconds N]`; none where it is anything else.
    pub(crate) fn parse(args: &[String]) -> Option<Self> {
        let (words, seconds) = match args {
            [words @ .., flag, seconds] if flag == "--seconds" => (words, seconds.parse().ok()?),
            words => (words, SECONDS_DEFAULT),
        };
        let target = |name: &String| TARGETS.iter().find(|target| target.name == name);
        let (target, input) = match words {
            [] => (None, None),
            [name] => (Some(target(name)?), None),
            [name, input] => (Some(target(name)?), Some(PathBuf::from(input))),
            _ => return None,
        };
        Some(Self { target, input, seconds })
    }
}

/// Builds the targets and runs them one after the other, until one finds something.
pub(crate) fn fuzz(root: &Path, options: &Options) -> Result<()> {
    // libFuzzer is written in C++.
    apt::ensure("c++", "g++")?;
    same_versions(root)?;
    let package = Package::new(root)?;
    say("building the fuzz targets");
    package.cargo(["build", "--bins", "--examples"], [])?;
    if let (Some(target), Some(input)) = (options.target, &options.input) {
        return package.run(target, [std::path::absolute(input)?.into()]);
    }
    package.cargo(["run", "--example", "seeds"], ["--".into(), package.corpus().into()])?;
    match options.target {
        Some(target) => package.fuzz(target, options.seconds),
        None => TARGETS
            .iter()
            .try_for_each(|target| package.fuzz(target, options.seconds)),
    }
}

/// Makes sure that what both lock files name has one version: one that differs may have wasmtime compiled once more.
fn same_versions(root: &Path) -> Result<()> {
    let read = |path| fs::read_to_string(root.join(path)).context(path);
    let (tests, fuzzing) = (read("Cargo.lock")?, read("tests/fuzz/Cargo.lock")?);
    let known: HashSet<_> = packages(&tests).collect();
    let names: HashSet<_> = packages(&tests).map(|(name, _)| name).collect();
    let differs = packages(&fuzzing).find(|package| names.contains(package.0) && !known.contains(package));
    if let Some((name, version)) = differs {
        bail!(
            "tests/fuzz/Cargo.lock has {name} {version}, Cargo.lock has not; bring it into step: \
             cp Cargo.lock tests/fuzz/ && cargo update --workspace --manifest-path tests/fuzz/Cargo.toml"
        );
    }
    Ok(())
}

/// The names and versions in a lock file.
fn packages(lock: &str) -> impl Iterator<Item = (&str, &str)> {
    lock.split("[[package]]\n").filter_map(|package| {
        let mut lines = package.lines();
        let name = lines.next()?.strip_prefix("name = ")?;
        Some((name, lines.next()?.strip_prefix("version = ")?))
    })
}

/// The package of the targets.
struct Package<'a> {
    sh: Shell<'a>,
    folder: PathBuf,
}

impl<'a> Package<'a> {
    fn new(root: &'a Path) -> Result<Self> {
        let folder = root.join("tests/fuzz");
        let build = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let sh = Shell::in_dir(root)
            .env("CARGO_TARGET_DIR", std::path::absolute(build)?)
            .env("RUSTC_WRAPPER", folder.join("instrument.sh"));
        Ok(Self { sh, folder })
    }

    /// Where cargo-fuzz has it, too.
    fn corpus(&self) -> PathBuf {
        self.folder.join("corpus")
    }

    fn fuzz(&self, target: &Target, seconds: u64) -> Result<()> {
        say(&format!("fuzzing {} for {seconds} s", target.name));
        let artifacts = self.folder.join("artifacts").join(target.name);
        fs::create_dir_all(&artifacts)?;
        let mut args: Vec<OsString> = vec![self.corpus().join(target.name).into()];
        args.extend(target.flags.iter().map(OsString::from));
        // The slash says that it is a folder.
        args.push(format!("-artifact_prefix={}/", artifacts.display()).into());
        args.push(format!("-max_total_time={seconds}").into());
        // Every input kept would be a line, thousands of them.
        args.extend(["-verbosity=0", "-print_funcs=0", "-print_final_stats=1"].map(OsString::from));
        self.run(target, args).with_context(|| found(target, &artifacts))
    }

    fn run(&self, target: &Target, args: impl IntoIterator<Item = OsString>) -> Result<()> {
        self.cargo(
            ["run", "--bin", target.name],
            [OsString::from("--")].into_iter().chain(args),
        )
    }

    fn cargo<const N: usize>(&self, args: [&str; N], then: impl IntoIterator<Item = OsString>) -> Result<()> {
        let manifest = self.folder.join("Cargo.toml");
        let package = ["--locked".into(), "--manifest-path".into(), manifest.into()];
        let args = args.into_iter().map(OsString::from).chain(package);
        self.sh.run("cargo", args.chain(then))
    }
}

/// What to tell whoever sees a target fail: the newest of the inputs it noted, and how to run that again.
fn found(target: &Target, artifacts: &Path) -> String {
    let written = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).ok();
    let inputs = fs::read_dir(artifacts).into_iter().flatten().flatten();
    match inputs.map(|entry| entry.path()).max_by_key(written) {
        Some(input) => format!("again: cargo xtask fuzz {} {}", target.name, input.display()),
        None => format!("{} does not run", target.name),
    }
}
