//! Writes the inputs that fuzzing starts from, a folder for each target: `cargo run --example seeds -- FOLDER`.

#[path = "../suite/guests.rs"]
#[expect(dead_code, reason = "the suite needs more of it")]
mod guests;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Jobs as dg-queue writes them.
const JOBS: &str = include_str!("../data/dg-queue-jobs.ndjson");

/// Jobs as they hardly come, and what is none.
const ODD_JOBS: [&str; 11] = [
    r#"{"name":"a","payload":null,"max_attempts":9,"metadata":{"kiln":{"retry":{"policy":"fixed","base":"1s","max":"1h","jitter":0.5}}}}"#,
    r#"{"name":"a","attempts":5000,"max_attempts":9999,"metadata":{"kiln":{"retry":{"policy":"linear","base":"0s"}}}}"#,
    r#"{"name":"a","lost":2,"x":1.0,"x":[ ],"queue":"no queue","timeout":-1,"created_at":"2026-01-01T00:00:00+02:00"}"#,
    r#"{"id":"7","name":"malformed","payload":{"text":"{"},"failure":{"kind":"malformed","message":"m"}}"#,
    r#"{"id":"7","name":"malformed","payload":{"base64":"/w=="},"failure":{"kind":"malformed","message":"m"}}"#,
    r#"{"id":"7","name":"a","failure":{"kind":"trap","message":"m","queue":"low"}}"#,
    r#"{"name":"a","attempts":"1"}"#,
    r#"{"id":7,"name":"a","timeout":"30s","created_at":1764000000}"#,
    r#"{"name":"a","max_attempts":0,"metadata":{"kiln":{"retri":1,"retry":{"base":"soon","jitter":0.5}}}}"#,
    r#"{"name":"a","delay":5000000000,"available_at":"2027-01-15T08:00:00.9Z","created_at":"2027-01-15T07:59:55.9Z","updated_at":"2027-01-15T07:59:55.9Z"}"#,
    r#"{"name":"a","metadata":[]}"#,
];

fn main() -> Result<()> {
    let corpus = std::env::args_os().nth(1).context("usage: seeds FOLDER")?;
    let corpus = Path::new(&corpus);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    jobs(&corpus.join("job"))?;
    manifests(&corpus.join("manifest"), &root)?;
    plugins(&corpus.join("plugin"), &root.join("tests/guests"))
}

fn jobs(folder: &Path) -> Result<()> {
    for (number, job) in JOBS.lines().chain(ODD_JOBS).enumerate() {
        put(folder, &format!("seed-{number}"), job)?;
    }
    put(folder, "seed-bytes", b"{\"name\":\"\xff\"}")
}

/// Those of the handlers that come with Kiln, and those that have every key and every way to use a secret.
fn manifests(folder: &Path, root: &Path) -> Result<()> {
    for manifest in files(&root.join("tests/data/manifests"))? {
        let name = manifest.file_stem().context("a file has a name")?;
        put(folder, &format!("seed-of-{}", name.display()), fs::read(&manifest)?)?;
    }
    let handlers = &root.join("plugins");
    for handler in files(handlers)?.into_iter().filter(|path| path.is_dir()) {
        let name = handler.file_name().context("a folder has a name")?;
        let manifest = handler.join(name).with_extension("toml");
        if manifest.is_file() {
            put(folder, &format!("seed-{}", name.display()), fs::read(manifest)?)?;
        }
    }
    Ok(())
}

/// The guests of the tests, and of the hostile ones those that call what is Kiln's own. Real handlers are left out: an input made of one takes half a second, one made of a guest some
/// milliseconds, and a changed byte tells as much in either.
fn plugins(folder: &Path, guests: &Path) -> Result<()> {
    for path in files(guests)? {
        let name = path.file_stem().and_then(OsStr::to_str).context("a file has a name")?;
        if path.extension() == Some(OsStr::new("wat")) {
            put(folder, &format!("seed-{name}"), guests::guest(name)?)?;
        }
    }
    for path in files(&guests.join("hostile"))? {
        let name = path.file_stem().and_then(OsStr::to_str).context("a file has a name")?;
        if path.extension() == Some(OsStr::new("wat")) && calls_kiln(&guests::hostile_text(name)?) {
            put(folder, &format!("seed-hostile-{name}"), guests::hostile_guest(name)?)?;
        }
    }
    Ok(())
}

/// Whether a guest imports one of the interfaces that only Kiln has.
fn calls_kiln(text: &str) -> bool {
    let packages = ["tcp", "http", "state"];
    packages
        .iter()
        .any(|package| text.contains(&format!("(import \"kiln:{package}/")))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    paths.collect()
}

fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(name), bytes)?;
    Ok(())
}
