//! What componentize-py's errors mean, in terms of an author's files and packages.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::project::has_end;

/// Why a component was not made: which package cannot be part of one, or the author's own part of the traceback.
pub(super) fn of_building(said: &str, project: &Path) -> String {
    // The error stands between the tool's own traceback and its list of causes.
    let Some((_, error)) = said.split_once("AssertionError: ") else {
        return said.to_owned();
    };
    let trace = own(error.split("\n\nCaused by:").next().unwrap_or(error));
    let last = trace.lines().next_back().unwrap_or_default();
    let named = last.split('\'').nth(1).unwrap_or_default();
    let mut frames: Vec<_> = trace.lines().filter_map(frame).collect();
    let by = frames.first().map(|(file, line)| format!("{file}, {line}"));
    frames.reverse();
    // The innermost package counts: the others only import it.
    let packages = frames
        .iter()
        .filter_map(|(file, _)| file.split_once('/'))
        .map(|(package, _)| package);
    let missing = named.split('.').next();
    for package in missing.into_iter().chain(packages) {
        if let Some(extension) = compiled(package, project) {
            return format!(
                "{package} has compiled extensions, which a component cannot load: {}\n\
                 it is imported from {}; use a package of pure Python, or do without\n",
                extension.display(),
                by.unwrap_or_default()
            );
        }
    }
    let mut text = trace.trim_end().to_owned() + "\n";
    if last.starts_with("ModuleNotFoundError") && named.starts_with('_') && !named.contains('.') {
        let _ = writeln!(
            text,
            "{named} is a part of Python that needs a library which a component does not have"
        );
    }
    text
}

/// A traceback with the author's names for files, and without the frames of the kit.
fn own(trace: &str) -> String {
    let mut text = String::new();
    let mut skips = false;
    for line in trace.lines() {
        let line = match line.split_once("File \"/") {
            // componentize-py numbers the folders in which it finds modules.
            Some((start, rest)) if start.trim().is_empty() => {
                let numbered = rest.split_once('/').filter(|(number, _)| number.parse::<u32>().is_ok());
                let file = numbered.map_or(rest, |(_, file)| file);
                skips = file.starts_with("kiln/");
                format!("{start}File \"{file}")
            }
            _ => {
                skips &= line.starts_with("    ");
                line.to_owned()
            }
        };
        if !skips {
            text = text + &line + "\n";
        }
    }
    text
}

/// The file and the line that a frame's first line names.
fn frame(line: &str) -> Option<(&str, &str)> {
    let (file, rest) = line.trim_start().strip_prefix("File \"")?.split_once("\", ")?;
    Some((file, rest.split(',').next()?))
}

/// A library of machine code in a package.
fn compiled(package: &str, project: &Path) -> Option<PathBuf> {
    if package.is_empty() {
        return None;
    }
    let versions = fs::read_dir(project.join(".venv/lib")).into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("site-packages"));
    let mut folders = std::iter::once(project.to_owned()).chain(folders);
    folders.find_map(|folder| library(&folder.join(package)))
}

fn library(folder: &Path) -> Option<PathBuf> {
    let entries: Vec<_> = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    let is_library = |path: &&PathBuf| has_end(path, "so") || has_end(path, "pyd");
    let found = entries.iter().find(is_library).cloned();
    found.or_else(|| entries.iter().find_map(|path| library(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
Traceback (most recent call last):
  File \"/p/.venv/bin/componentize-py\", line 8, in <module>
    sys.exit(script())
             ^^^^^^^^
AssertionError: Traceback (most recent call last):
  File \"/0/kiln/component.py\", line 25, in <module>
    import handler  # noqa: E402, F401
    ^^^^^^^^^^^^^^
  File \"/0/handler.py\", line 2, in <module>
    import ledger
  File \"/1/ledger/__init__.py\", line 1, in <module>
    from . import _sums
ImportError: cannot import name '_sums' from 'ledger' (/1/ledger/__init__.py)


Caused by:
    ImportError: cannot import name '_sums' from 'ledger' (/1/ledger/__init__.py)
";

    #[test]
    fn a_package_with_compiled_extensions_is_named_with_one_of_them() {
        let project = tempfile::tempdir().unwrap();
        let package = project.path().join(".venv/lib/python3.14/site-packages/ledger");
        fs::create_dir_all(package.join("inner")).unwrap();
        let library = package.join("inner/_sums.cpython-314-x86_64-linux-gnu.so");
        fs::write(&library, "").unwrap();
        assert_eq!(
            of_building(SAID, project.path()),
            format!(
                "ledger has compiled extensions, which a component cannot load: {}\nit is imported from handler.py, line 2; \
                 use a package of pure Python, or do without\n",
                library.display()
            )
        );
    }

    #[test]
    fn of_another_traceback_the_authors_part_is_left() {
        let project = tempfile::tempdir().unwrap();
        let told = of_building(SAID, project.path());
        assert!(
            told.starts_with("Traceback (most recent call last):\n  File \"handler.py\", line 2"),
            "{told}"
        );
        assert!(told.ends_with("(/1/ledger/__init__.py)\n"), "{told}");
        let missing = SAID.replace(
            "ImportError: cannot import name '_sums' from",
            "ModuleNotFoundError: No module named '_ssl'",
        );
        assert!(of_building(&missing, project.path()).contains("_ssl is a part of Python that needs a library"));
    }
}
