//! No module of a room imports from one that imports from it, directly or by way of others.
//!
//! Who reads such a room can begin with the modules that import nothing, and never has to know what comes later.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{sources, without_comments};

/// The rooms of which this is so.
const ROOMS: &[&str] = &["queue", "sandbox"];

type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_module_imports_from_one_that_imports_from_it() {
    let sources = sources();
    for room in ROOMS {
        let imports = imports(room, &sources);
        assert!(imports.len() > 10, "{room} is not where it was");
        let circles = circles(&imports);
        assert!(circles.is_empty(), "{circles:?}");
    }
}

#[test]
fn a_circle_is_found() {
    let files = |files: &[(&str, &str)]| {
        let file = |(path, code): &(&str, &str)| (PathBuf::from(path), (*code).to_owned());
        circles(&imports("queue", &files.iter().map(file).collect::<Vec<_>>()))
    };
    let (one, two) = (
        ("queue/a.rs", "use super::b::{C, d::E};"),
        ("queue/b/d.rs", "use crate::queue::a;"),
    );
    assert_eq!(files(&[one, two]), ["queue::a", "queue::b::d"]);
    let parent = ("queue/b/mod.rs", "mod d;\npub use d::E;\nstruct F;");
    let child = ("queue/b/d.rs", "use super::F;");
    assert!(
        files(&[parent, child]).is_empty(),
        "a parent may show what its children have"
    );
    let parent = ("queue/b/mod.rs", "mod d;\nuse d::E;");
    assert_eq!(files(&[parent, child]), ["queue::b", "queue::b::d"]);
}

/// The modules of a room, each with those that it imports from.
fn imports(room: &str, sources: &[(PathBuf, String)]) -> Imports {
    let of_room = sources.iter().filter(|(path, _)| path.starts_with(room));
    let modules: BTreeMap<_, _> = of_room.map(|(path, code)| (module_of(path), (path, code))).collect();
    let imports_of = |(module, (path, code)): (&String, &(&PathBuf, &String))| {
        let code = without_comments(code.split("#[cfg(test)]").next().unwrap_or_default());
        let shows_children = path.ends_with("mod.rs");
        let statements = code.split_inclusive(';').filter_map(|statement| {
            let at = statement.find("use ")?;
            let before = statement[..at].trim_start();
            let is_public = before.lines().last().is_some_and(|line| line.starts_with("pub"));
            let is_import = statement[..at].ends_with('\n') || at == 0 || is_public;
            (is_import && !(is_public && shows_children)).then(|| statement[at + 4..].trim_end_matches(';'))
        });
        let paths = statements.flat_map(|statement| each_path(statement.trim()));
        let found = paths.filter_map(|path| resolve(&path, module, &modules));
        (module.clone(), found.filter(|found| found != module).collect())
    };
    modules.iter().map(imports_of).collect()
}

/// The modules from which a way of imports leads back to themselves.
fn circles(imports: &Imports) -> Vec<String> {
    let leads_back = |module: &&String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![*module]);
        while let Some(at) = next.pop() {
            for to in imports.get(at).into_iter().flatten() {
                if seen.insert(to) {
                    next.push(to);
                }
            }
        }
        seen.contains(*module)
    };
    imports.keys().filter(leads_back).cloned().collect()
}

/// The path of a file's module: `queue/redis/mod.rs` is `queue::redis`.
fn module_of(path: &Path) -> String {
    let path = path.with_extension("");
    let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
    let parts: Vec<_> = parts.filter(|part| part != "mod").collect();
    parts.join("::")
}

/// Each path of an import: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn each_path(import: &str) -> Vec<String> {
    let Some((before, inner)) = import.split_once('{') else {
        return vec![import.trim().to_owned()];
    };
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let (mut depth, mut parts) = (0_i32, vec![String::new()]);
    for c in inner.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            c => parts.last_mut().expect("one at least").push(c),
        }
    }
    let paths = parts.iter().filter(|part| !part.trim().is_empty());
    paths
        .flat_map(|part| each_path(&format!("{before}{}", part.trim())))
        .collect()
}

/// The module that an import of `module` leads to, if that is in the room.
fn resolve<T>(path: &str, module: &str, modules: &BTreeMap<String, T>) -> Option<String> {
    let mut parts = path.split("::").map(str::trim).peekable();
    let mut at: Vec<_> = module.split("::").collect();
    match *parts.peek()? {
        "crate" => {
            parts.next();
            at.clear();
        }
        "self" => _ = parts.next(),
        _ => {}
    }
    while parts.next_if_eq(&"super").is_some() {
        at.pop();
    }
    let begun = at.len();
    for part in parts {
        at.push(part);
        let is_prefix = modules.keys().any(|known| {
            let known: Vec<_> = known.split("::").collect();
            known.starts_with(&at)
        });
        if !is_prefix {
            at.pop();
            break;
        }
    }
    // A path that begins with neither is one of another crate, or leads into a child.
    let relative = path.starts_with("super") || path.starts_with("self") || path.starts_with("crate");
    (relative || at.len() > begun).then(|| at.join("::"))
}
