//! What a new project consists of: the template of its language, the kit, and the contract. All of it is in the binary,
//! so that a project carries what it was made for.

use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};

use super::{Engine, Language, MAX_NAME_BYTES, ProjectError, wit};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/plugins/templates");
static KITS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/plugins/kits");
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/wit");

/// Makes a project in a folder of its name, and returns the folder.
///
/// # Errors
/// When the engine is none of the language, the name will not do, the folder exists already, or cannot be written.
pub fn create(parent: &Path, name: &str, language: Language, engine: Engine) -> Result<PathBuf, ProjectError> {
    if engine != Engine::default() && language != Language::JavaScript {
        return Err(ProjectError::Engine(language));
    }
    if !is_name(name) {
        return Err(ProjectError::Name(name.to_owned()));
    }
    // The crate of the kit, and the folder in which Go looks for copies of packages.
    if matches!(
        (language, name),
        (Language::Rust, "kiln-handler") | (Language::Go, "vendor")
    ) {
        return Err(ProjectError::Reserved(name.to_owned()));
    }
    fs::metadata(parent).map_err(ProjectError::file(parent))?;
    let folder = parent.join(name);
    if folder.exists() {
        return Err(ProjectError::Exists(folder));
    }
    let kit = match language {
        Language::TypeScript => Language::JavaScript,
        language => language,
    };
    let making = || {
        put(TEMPLATES.get_dir(language.id()), &folder, name)?;
        if engine == Engine::StarlingMonkey {
            put(TEMPLATES.get_dir("starlingmonkey"), &folder, name)?;
        }
        put(KITS.get_dir(kit.id()), &folder.join("kiln"), name)?;
        put(Some(&WIT), &folder.join(wit::FOLDER), name)
    };
    making().inspect_err(|_| {
        // Half a project would stand in the way of the next try.
        let _ = fs::remove_dir_all(&folder);
    })?;
    Ok(folder)
}

/// Whether all languages' tools take a name as it is.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(fits)
}

fn put(from: Option<&Dir<'_>>, to: &Path, name: &str) -> Result<(), ProjectError> {
    for entry in from.into_iter().flat_map(Dir::entries) {
        let called = entry.path().file_name().unwrap_or_default().to_string_lossy();
        if called == "__pycache__" {
            // Python leaves this folder behind when a handler of this repository is tested.
            continue;
        }
        let path = to.join(file_name(&called, name));
        match entry {
            DirEntry::Dir(dir) => put(Some(dir), &path, name)?,
            DirEntry::File(file) => match file.contents_utf8() {
                Some(text) => wit::write(&path, fill(text, name).as_bytes())?,
                None => wit::write(&path, file.contents())?,
            },
        }
    }
    Ok(())
}

/// The name of a template's file in a project. In this repository it has another one, so that no tool takes it for its
/// own.
fn file_name(stored: &str, name: &str) -> String {
    let stored = stored.strip_suffix(".tmpl").unwrap_or(stored);
    let stored = match stored.strip_prefix('_') {
        Some(rest) if !rest.starts_with('_') => format!(".{rest}"),
        _ => stored.to_owned(),
    };
    fill(&stored, name)
}

fn fill(text: &str, name: &str) -> String {
    text.replace("{{name}}", name)
        .replace("{{name_snake}}", &name.replace('-', "_"))
}
