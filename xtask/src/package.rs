//! Makes the package for Debian as a release does, and looks at what came of it: installed into a root of its own, its
//! program runs, and all is where people and systemd look for it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::plugins::cache_folder;
use crate::shell::{Shell, say};
use crate::{apt, handlers};

/// What makes packages, built once a machine.
const CARGO_DEB: &str = "3.8.0";

/// Where the package puts what people and systemd look for.
const BROUGHT: [&str; 6] = [
    "usr/share/man/man1/kiln.1.gz",
    "usr/share/man/man1/kiln-worker.1.gz",
    "usr/share/bash-completion/completions/kiln",
    "usr/share/doc/kiln/copyright",
    "usr/share/doc/kiln/README.md",
    UNIT,
];

const UNIT: &str = "usr/lib/systemd/system/kiln.service";

/// Uses the program of the tests, whose build is there already.
pub(crate) fn package(root: &Path) -> Result<()> {
    apt::ensure("dpkg-shlibdeps", "dpkg-dev")?;
    let tool = provide()?;
    let kiln = handlers::kiln(root)?;
    say("making the package for Debian");
    describe(root, &kiln)?;
    let made = root.join("target/package");
    let (deb, installed) = (made.join("kiln.deb"), made.join("root"));
    let sh = Shell::in_dir(root);
    if installed.exists() {
        apt::as_root(&["rm", "-r", &installed.to_string_lossy()])?;
    }
    fs::create_dir_all(&made)?;
    let args = ["--no-build", "--no-strip", "--fast", "--profile", "dev", "--output"].map(Path::new);
    sh.run(&tool.to_string_lossy(), args.into_iter().chain([deb.as_path()]))?;
    install(&deb, &installed)?;
    for file in BROUGHT {
        ensure!(installed.join(file).is_file(), "the package brings no {file}");
    }
    let version = sh.read(&installed.join("usr/bin/kiln").to_string_lossy(), ["--version"])?;
    ensure!(version.starts_with("kiln "), "it calls itself {version}");
    let depends = sh.read("dpkg-deb", [Path::new("--field"), &deb, Path::new("Depends")])?;
    ensure!(depends.contains("libc6 (>= "), "it depends on {depends}");
    // Whether systemd takes the unit, a test of the suite says.
    let [kept, brought] = [root.join("examples/systemd/kiln.service"), installed.join(UNIT)].map(fs::read);
    ensure!(kept? == brought?, "the package brings another unit");
    say(&format!(
        "{version} is installed in {}; it depends on {depends}",
        installed.display()
    ));
    Ok(())
}

fn provide() -> Result<PathBuf> {
    let folder = cache_folder()?.join(format!("cargo-deb-{CARGO_DEB}"));
    let tool = folder.join("bin/cargo-deb");
    if !tool.is_file() {
        say("installing cargo-deb, once: a minute or two");
        let args = [
            "install",
            "--quiet",
            "--locked",
            "cargo-deb",
            "--version",
            CARGO_DEB,
            "--root",
        ]
        .map(Path::new);
        Shell::in_dir(&cache_folder()?).run("cargo", args.into_iter().chain([folder.as_path()]))?;
    }
    Ok(tool)
}

/// Man pages and completions, which the program writes itself.
fn describe(root: &Path, kiln: &Path) -> Result<()> {
    let sh = Shell::in_dir(root);
    let program = kiln.to_string_lossy();
    sh.run(&program, ["man", "target/man"])?;
    let completions = sh.read(&program, ["completions", "bash"])?;
    fs::create_dir_all(root.join("target/completions"))?;
    fs::write(root.join("target/completions/kiln"), completions + "\n").context("cannot write the completions")
}

/// Installs the package into a folder, as if that were a machine's root. What it depends on is not there.
fn install(deb: &Path, root: &Path) -> Result<()> {
    let known = root.join("var/lib/dpkg");
    fs::create_dir_all(known.join("updates"))?;
    fs::create_dir_all(known.join("info"))?;
    fs::write(known.join("status"), "")?;
    let (root, deb) = (format!("--root={}", root.display()), deb.to_string_lossy());
    apt::as_root(&["dpkg", &root, "--force-depends", "--install", &deb])
}
