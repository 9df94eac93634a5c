//! What the errors of esbuild and `QuickJS` mean, in terms of an author's files and packages.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How esbuild begins each of its errors.
const ERROR: &str = "✘ [ERROR] ";

/// What stands before the error that a module throws while it loads, as componentize-qjs tells it.
const THROWN: &str = "JavaScript module evaluation: ";

/// What stands before the host's function that a module calls while it loads.
const CALLED: &str = "unknown import: `";

/// What can be done about a package that needs what the engine lacks.
const ADVICE: &str = "use a package that needs less, or bring what is missing in a file that is imported before it";

/// What can be done about a package that needs a module of Node.js.
const MODULE_ADVICE: &str = "use a package that needs less, or say under \"kiln\": {\"alias\": {…}} in package.json what it gets \
                             instead: a file of yours, or another package";

/// Why esbuild made no bundle: one line for each missing module of Node.js and each importer; all other text as it is.
pub(super) fn of_bundling(said: &str) -> String {
    let mut text = String::new();
    // One place for each package is enough.
    let mut needs: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for error in without_trace(said).split_inclusive(ERROR) {
        // The errors stand between its marks.
        let (error, more) = error.strip_suffix(ERROR).map_or((error, ""), |error| (error, ERROR));
        match node_module(error) {
            Some((module, place)) => {
                needs.entry((module, package(place).unwrap_or(place))).or_insert(place);
                let kept = text.strip_suffix(ERROR).map_or(text.len(), str::len);
                text.truncate(kept);
            }
            None => text.push_str(error),
        }
        text.push_str(more);
    }
    for ((module, _), place) in &needs {
        let _ = writeln!(
            text,
            "{} needs the module {module:?} of Node.js, which a component does not have",
            whose(place)
        );
    }
    if !needs.is_empty() {
        let _ = writeln!(text, "{MODULE_ADVICE}");
    }
    text
}

/// Without the stack of the script that starts esbuild.
fn without_trace(said: &str) -> &str {
    said.split_once("\nnode:").map_or(said, |(before, _)| before)
}

/// The module of Node.js that an error is about, and where it is imported.
fn node_module(error: &str) -> Option<(&str, &str)> {
    if !error.contains("is built into node") {
        return None;
    }
    let module = error.split('"').nth(1)?;
    let place = error.lines().map(str::trim).find_map(|line| line.strip_suffix(':'))?;
    Some((module, place))
}

/// Why a bundle does not load: which file or package threw what.
pub(super) fn of_loading(said: &str, bundle: &str) -> String {
    if let Some((_, import)) = said.split_once(CALLED) {
        let import = import.split('`').next().unwrap_or_default();
        let call = if import.starts_with("kiln:http/") {
            "fetch"
        } else {
            import
        };
        return format!("a module calls {call} while it is loaded, which only a handler can while it runs\n");
    }
    let Some((before, error)) = said.split_once(THROWN) else {
        return said.to_owned();
    };
    let reason = error.lines().next().unwrap_or_default().trim_start_matches("Error: ");
    let lines = error.split("bundle.js:").skip(1);
    let lines = lines.filter_map(|rest| rest.split(':').next()?.parse().ok());
    let file = lines
        .filter_map(|line| source(bundle, line))
        .find(|file| !file.starts_with("kiln/"));
    let file = file.map_or_else(|| "a module".to_owned(), whose);
    let why = match reason.strip_suffix(" is not defined") {
        Some(name) => format!("{file} needs {name}, which QuickJS does not have: {ADVICE}"),
        None => format!("{file} throws while it is loaded: {reason}"),
    };
    // Keeps what modules printed while they loaded, and drops what the tool says of itself and its arguments.
    let is_own = |line: &&str| {
        ["componentize-qjs", "  WIT:", "  JS:", "  Output:", "Error: "]
            .iter()
            .any(|own| line.starts_with(own))
    };
    let printed: Vec<_> = before.lines().filter(|line| !is_own(line)).collect();
    format!("{}\n{why}\n", printed.join("\n")).trim_start().to_owned()
}

/// The file that a line of a bundle comes from: esbuild writes its path, as a comment, before what is in it.
fn source(bundle: &str, line: usize) -> Option<&str> {
    let before: Vec<_> = bundle.lines().take(line).collect();
    before.into_iter().rev().find_map(|line| line.strip_prefix("// "))
}

/// A place in the words of an author: the package before the file, if it is in one.
fn whose(place: &str) -> String {
    match package(place) {
        Some(package) => format!("the package {package} ({place})"),
        None => place.to_owned(),
    }
}

/// The package that a file lies in.
fn package(place: &str) -> Option<&str> {
    const FOLDER: &str = "node_modules/";
    let start = place.rfind(FOLDER)? + FOLDER.len();
    let slashes = if place[start..].starts_with('@') { 2 } else { 1 };
    let (end, _) = place[start..].match_indices('/').nth(slashes - 1)?;
    Some(&place[start..start + end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_of_node_is_told_with_the_package_that_needs_it() {
        let said = "\
✘ [ERROR] Could not resolve \"crypto\"

    node_modules/@shop/sign/index.js:4:21:
      4 │ const crypto = require('crypto');
        ╵                        ~~~~~~~~

  The package \"crypto\" wasn't found on the file system but is built into node. Are you trying to bundle for node? You \
can use \"--platform=node\" to do that, which will remove this error.

✘ [ERROR] Could not resolve \"./nowhere.js\"

    handler.js:2:18:
      2 │ import { x } from \"./nowhere.js\";
        ╵                   ~~~~~~~~~~~~~~

✘ [ERROR] Could not resolve \"crypto\"

    node_modules/@shop/sign/other.js:1:1:

  The package \"crypto\" wasn't found on the file system but is built into node. Are you trying to bundle for node?

node:child_process:930
    throw err;
    ^
";
        assert_eq!(
            of_bundling(said),
            "\
✘ [ERROR] Could not resolve \"./nowhere.js\"

    handler.js:2:18:
      2 │ import { x } from \"./nowhere.js\";
        ╵                   ~~~~~~~~~~~~~~

the package @shop/sign (node_modules/@shop/sign/index.js:4:21) needs the module \"crypto\" of Node.js, which a component \
does not have
use a package that needs less, or say under \"kiln\": {\"alias\": {…}} in package.json what it gets instead: a file of yours, or \
another package
"
        );
    }

    #[test]
    fn what_a_module_lacks_while_it_loads_is_told_with_its_package() {
        let said = "componentize-qjs\n  JS:     x\nloading\nError: : Failed to evaluate user JavaScript module: Failed to \
                    finish JavaScript module evaluation: Error: WebSocket is not defined\n    at <anonymous> \
                    (/build/work/bundle.js:3:13)\n";
        let bundle = "// handler.js\nlet a;\nlet b = new WebSocket();\n// kiln/index.js\n";
        assert_eq!(
            of_loading(said, &bundle.replace("handler.js", "node_modules/jose/util.js")),
            format!(
                "loading\nthe package jose (node_modules/jose/util.js) needs WebSocket, which QuickJS does not have: {ADVICE}\n"
            )
        );
        let early = "…: unknown import: `kiln:http/client@0.1.0#start` has not been defined";
        let told = "a module calls fetch while it is loaded, which only a handler can while it runs\n";
        assert_eq!(of_loading(early, bundle), told);
        assert!(
            of_loading(&said.replace("WebSocket is not defined", "no tea"), bundle)
                .ends_with("handler.js throws while it is loaded: no tea\n")
        );
    }
}
