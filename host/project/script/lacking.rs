//! Which globals an author's own files use that `QuickJS` lacks, whatever types packages bring along.
//!
//! The compiler cannot tell: `Intl` and `Atomics` are part of every library of its, and one package that asks for the types
//! of a browser brings them all. So esbuild, which knows what a name means where it stands, is told to write another name in
//! the place of each of these globals, and what it has written is looked through.

use std::collections::BTreeMap;

use super::complaint::{package, source};

/// What programs know from Node.js, from browsers or from the language, and a component does not have.
const LACKING: [&str; 49] = [
    "AbortController",
    "AbortSignal",
    "Atomics",
    "Blob",
    "BroadcastChannel",
    "Buffer",
    "CompressionStream",
    "CustomEvent",
    "DecompressionStream",
    "Event",
    "EventTarget",
    "File",
    "FormData",
    "Headers",
    "Intl",
    "MessageChannel",
    "MessagePort",
    "ReadableStream",
    "Request",
    "Response",
    "Temporal",
    "TextDecoder",
    "TextEncoder",
    "TransformStream",
    "URL",
    "URLPattern",
    "URLSearchParams",
    "WebAssembly",
    "WebSocket",
    "Worker",
    "WritableStream",
    "XMLHttpRequest",
    "__dirname",
    "__filename",
    "clearImmediate",
    "clearInterval",
    "document",
    "fetch",
    "global",
    "localStorage",
    "navigator",
    "reportError",
    "require",
    "scheduler",
    "self",
    "sessionStorage",
    "setInterval",
    "structuredClone",
    "window",
];

/// What begins the other names. No program has names like that.
const MARK: &str = "kilnLacks_";

/// Has esbuild write the other names.
pub(super) fn defines() -> impl Iterator<Item = String> {
    let define = |name: &str| {
        let bare = format!("--define:{name}={MARK}{name}");
        [bare, format!("--define:globalThis.{name}={MARK}{name}")]
    };
    LACKING.into_iter().flat_map(define)
}

/// The globals that an author's own files use, each with the first such file. Not those that are only asked for (`typeof
/// fetch`), and not those that something in the bundle brings (`globalThis.URL = …`).
pub(super) fn used(bundle: &str) -> BTreeMap<&str, &str> {
    let mut used = BTreeMap::new();
    for (number, line) in bundle.lines().enumerate() {
        for (at, _) in line.match_indices(MARK) {
            let rest = &line[at + MARK.len()..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
            let is_asked_for = line[..at].ends_with("typeof ") || after.starts_with("?.");
            let file = source(bundle, number).filter(|file| package(file).is_none() && !file.starts_with("kiln/"));
            if let (Some(file), false) = (file, is_asked_for) {
                used.entry(name).or_insert(file);
            }
        }
    }
    used.retain(|name, _| !bundle.contains(&format!("{MARK}{name} = ")));
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_authors_files_use_and_nobody_brings_is_told() {
        let bundle = "\
// node_modules/dep/index.js
var five = new kilnLacks_Intl.NumberFormat();
// kiln/globals.js
kilnLacks_fetch();
// lib/bring.ts
kilnLacks_URL = class {};
// handler.ts
var a = typeof kilnLacks_Blob, b = kilnLacks_structuredClone?.(a), c = new kilnLacks_URL(kilnLacks_Buffer);
var d = kilnLacks_Intl;
// lib/more.ts
var e = [kilnLacks_Intl, kilnLacks___dirname];
";
        let expected = [
            ("Buffer", "handler.ts"),
            ("Intl", "handler.ts"),
            ("__dirname", "lib/more.ts"),
        ];
        assert_eq!(used(bundle), BTreeMap::from(expected));
    }
}
