//! The layering of `host/`, read from its imports: who may use whom, and who alone may use which library.
//!
//! A test and not a crate for each room: crates would make every internal of a room public, with all that this asks of
//! names and documentation, and release builds would have to put together again what they took apart. What the compiler
//! would have checked is checked here: each `crate::room` in the source of a room stands in the table below, and so does
//! each library that has one owner.

mod circles;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every room of the house, lowest first, with the rooms below it that it uses. All may use `text`.
const ROOMS: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("file", &[]),
    ("aside", &[]),
    ("page_faults", &[]),
    ("stop", &[]),
    ("state", &[]),
    ("recording", &["file"]),
    ("outcome", &["state"]),
    ("job", &["outcome"]),
    ("events", &["job", "outcome"]),
    ("config", &["job", "state", "recording"]),
    ("retry", &["job", "outcome", "config"]),
    ("queue", &["stop", "job", "state", "outcome", "events", "config"]),
    (
        "sandbox",
        &[
            "file",
            "aside",
            "page_faults",
            "stop",
            "job",
            "state",
            "recording",
            "outcome",
            "config",
        ],
    ),
    ("plugins", &["file", "job", "outcome", "events", "config", "sandbox"]),
    ("schedule", &["job", "config", "queue", "plugins"]),
    ("observe", &["job", "outcome", "events", "queue", "plugins"]),
    (
        "worker",
        &[
            "aside", "stop", "job", "outcome", "events", "config", "retry", "queue", "sandbox", "plugins",
        ],
    ),
    (
        "service",
        &[
            "job", "outcome", "events", "config", "queue", "plugins", "schedule", "observe", "worker",
        ],
    ),
    (
        "admin",
        &[
            "job",
            "state",
            "recording",
            "outcome",
            "config",
            "queue",
            "sandbox",
            "plugins",
            "schedule",
        ],
    ),
    (
        "web",
        &["job", "outcome", "config", "queue", "plugins", "observe", "admin"],
    ),
    (
        "bench",
        &["page_faults", "job", "outcome", "events", "queue", "sandbox"],
    ),
    ("snapshot", &[]),
    ("project", &["snapshot"]),
    (
        "cli",
        &[
            "file",
            "job",
            "state",
            "recording",
            "outcome",
            "events",
            "config",
            "queue",
            "sandbox",
            "plugins",
            "observe",
            "worker",
            "service",
            "admin",
            "web",
            "bench",
            "project",
        ],
    ),
    ("main", &["cli"]),
];

/// Libraries that only these rooms may use.
const OWNERS: &[(&str, &[&str])] = &[
    ("redis", &["queue"]),
    // One runs what may be hostile, the other an author's own code while it is built.
    ("wasmtime", &["sandbox", "snapshot"]),
    ("wasmtime_wizer", &["snapshot"]),
    ("wasmtime_wasi", &["sandbox"]),
    ("wasmtime_wasi_http", &["sandbox"]),
    // Each watches a folder of its own: that of plugins, and an author's project.
    ("notify", &["plugins", "project"]),
    ("wit_bindgen_core", &["project"]),
    ("wit_component", &["project"]),
    ("axum", &["web"]),
    ("hyper_util", &["web"]),
    ("maud", &["web"]),
    ("ureq", &["observe"]),
    ("clap", &["cli"]),
    ("sd_notify", &["cli"]),
    ("anyhow", &["cli", "project"]),
    ("croner", &["config"]),
];

#[test]
fn every_room_uses_only_those_below_it() {
    let breaches = breaches(&sources());
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn the_check_finds_what_it_is_for() {
    let wrong = |path: &str, code: &str| breaches(&[(PathBuf::from(path), code.to_owned())]).join("\n");
    assert_eq!(
        wrong("queue/redis/mod.rs", "use crate::sandbox::Handler;"),
        "host/queue/redis/mod.rs uses crate::sandbox, and queue may not"
    );
    assert_eq!(
        wrong("job.rs", "fn f() { let _ = crate::config::Limit::Stack; }"),
        "host/job.rs uses crate::config, and job may not"
    );
    assert_eq!(
        wrong("cli/run.rs", "use wasmtime::Engine;"),
        "host/cli/run.rs uses wasmtime, which is for sandbox and snapshot alone"
    );
    assert_eq!(
        wrong("worker.rs", "let x = ::redis::cmd(\"GET\");"),
        "host/worker.rs uses redis, which is for queue alone"
    );
    assert_eq!(
        wrong("attic/mod.rs", ""),
        "host/attic/mod.rs is in no room of the table in tests/suite/house.rs"
    );
    assert_eq!(
        wrong("job.rs", "use super::queue::Store;"),
        "host/job.rs reaches another room by super::, which this check does not follow; write crate::"
    );
    for right in [
        "use crate::job::Job;",
        "use crate::queue::Store; // wasmtime::Engine",
        "//! See crate::sandbox.",
    ] {
        assert_eq!(wrong("queue/mod.rs", right), "", "{right}");
    }
}

/// What breaks the layering, each in a line.
fn breaches(sources: &[(PathBuf, String)]) -> Vec<String> {
    let rooms: BTreeSet<_> = ROOMS.iter().map(|(room, _)| *room).collect();
    let mut found = Vec::new();
    for (path, source) in sources {
        let shown = format!("host/{}", path.display());
        let Some((room, may)) = room_of(path) else {
            found.push(format!("{shown} is in no room of the table in tests/suite/house.rs"));
            continue;
        };
        let code = without_comments(source);
        let used: BTreeSet<_> = after(&code, "crate::").filter(|name| rooms.contains(name)).collect();
        for used in used
            .into_iter()
            .filter(|used| *used != room && *used != "text" && !may.contains(used))
        {
            found.push(format!("{shown} uses crate::{used}, and {room} may not"));
        }
        // Of a room's own file or `mod.rs`, the parent is the crate.
        let at_the_top = path.components().count() == 1 || path.ends_with("mod.rs") && path.components().count() == 2;
        if at_the_top && after(&code, "super::").any(|name| rooms.contains(name)) {
            found.push(format!(
                "{shown} reaches another room by super::, which this check does not follow; write crate::"
            ));
        }
        for (library, owners) in OWNERS {
            if !owners.contains(&room) && names_library(&code, library) {
                found.push(format!(
                    "{shown} uses {library}, which is for {} alone",
                    owners.join(" and ")
                ));
            }
        }
    }
    found
}

fn room_of(path: &Path) -> Option<(&'static str, &'static [&'static str])> {
    let first = path.iter().next()?.to_str()?;
    let room = first.strip_suffix(".rs").unwrap_or(first);
    ROOMS.iter().find(|(name, _)| *name == room).copied()
}

/// The identifiers that follow a path's beginning.
fn after<'a>(code: &'a str, begin: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(begin).map(move |(at, _)| {
        let rest = &code[at + begin.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// Whether a path of the code begins with the library's name: in `a::redis::b` it would be a module of ours.
fn names_library(code: &str, library: &str) -> bool {
    let begin = format!("{library}::");
    code.match_indices(&begin).any(|(at, _)| {
        let before = &code[..at];
        let of_ours = before.ends_with("::") && !before.ends_with([' ', '(', '\n']) && {
            let before = before.trim_end_matches("::");
            before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
        };
        let longer_name = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        !of_ours && !longer_name
    })
}

fn without_comments(source: &str) -> String {
    let lines = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The host's source files, by their path within `host`.
fn sources() -> Vec<(PathBuf, String)> {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("host");
    let (mut folders, mut sources) = (vec![host.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let within = path.strip_prefix(&host).unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && within != Path::new("lib.rs") {
                sources.push((within, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(
        sources.len() > 100,
        "the host's source is not where it was: {}",
        sources.len()
    );
    sources
}
