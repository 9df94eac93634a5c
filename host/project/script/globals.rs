//! Which of the kit's globals a bundle needs: those that it names. A global that is not named costs it nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::super::{Project, ProjectError};

/// What every handler gets, such as timers.
const ALWAYS: &str = "kiln/globals.js";

/// The files of the kit that make other globals, and the globals that each makes.
const NAMES: &str = "kiln/web/names.json";

/// What a file of the kit is for.
#[derive(Deserialize)]
struct Module {
    /// The globals it makes. A name may have a path: `crypto.subtle` is exported as `subtle`.
    makes: Vec<String>,
    /// Words in a program that show that it needs this module, without the name of a global.
    #[serde(default)]
    serves: Vec<String>,
}

/// The globals that a project's kit has, if it brings a kit.
pub(super) struct Globals {
    dir: PathBuf,
    /// By file, below `kiln/web`.
    modules: BTreeMap<String, Module>,
}

impl Globals {
    pub(super) fn of(project: &Project) -> Result<Option<Self>, ProjectError> {
        let (dir, path) = (project.dir.clone(), project.dir.join(NAMES));
        if !dir.join(ALWAYS).is_file() {
            return Ok(None);
        }
        // An older kit has no such file.
        let modules = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|err| ProjectError::description(&path, &err))?,
            Err(_) => BTreeMap::new(),
        };
        Ok(Some(Self { dir, modules }))
    }

    /// Writes a module that makes the globals that every handler gets, and those whose names are in this text.
    pub(super) fn write_for(&self, text: &str, to: &Path) -> Result<(), ProjectError> {
        let words: BTreeSet<_> = text.split(|c: char| !is_part_of_name(c)).collect();
        let mut imports = format!("import {};\n", quoted(&self.dir.join(ALWAYS)));
        let mut makes = String::new();
        for (file, module) in &self.modules {
            let used = module.makes.iter().map(String::as_str);
            let used: Vec<_> = used.filter(|name| words.contains(bare(name))).collect();
            if used.is_empty() && !module.serves.iter().any(|word| words.contains(word.as_str())) {
                continue;
            }
            let exports: Vec<_> = used.iter().map(|name| bare(name)).collect();
            let file = quoted(&self.dir.join("kiln/web").join(file));
            let _ = writeln!(imports, "import {{ {} }} from {file};", exports.join(", "));
            for name in used {
                let _ = writeln!(makes, "globalThis.{name} = {};", bare(name));
            }
        }
        fs::write(to, imports + &makes).map_err(ProjectError::file(to))
    }
}

/// A path as JavaScript writes it.
fn quoted(path: &Path) -> String {
    Value::String(path.display().to_string()).to_string()
}

const fn is_part_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$'
}

/// A name without the path to it.
fn bare(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_gets_the_globals_that_it_names() {
        let modules = serde_json::from_value(serde_json::json!({
            "streams.js": {"makes": ["ReadableStream", "WritableStream"], "serves": ["tee"]},
            "subtle.js": {"makes": ["crypto.subtle"]},
            "url.js": {"makes": ["URL"]},
        }));
        let kit = Globals {
            dir: PathBuf::from("/tea"),
            modules: modules.expect("modules"),
        };
        let always = "import \"/tea/kiln/globals.js\";\n";
        let written = |text: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("globals.js");
            kit.write_for(text, &path).expect("written");
            let text = fs::read_to_string(path).expect("text");
            text.strip_prefix(always).expect("what all get").to_owned()
        };
        assert_eq!(written("order.URLs.url = MYURL"), "");
        let url = "import { URL } from \"/tea/kiln/web/url.js\";\nglobalThis.URL = URL;\n";
        assert_eq!(written("new globalThis.URL('x')"), url);
        let subtle = "import { subtle } from \"/tea/kiln/web/subtle.js\";\nglobalThis.crypto.subtle = subtle;\n";
        assert_eq!(written("const { subtle: s } = crypto"), subtle);
        assert_eq!(written("a.tee()"), "import {  } from \"/tea/kiln/web/streams.js\";\n");
    }
}
