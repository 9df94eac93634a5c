//! A handler's source: the folder that `kiln new` makes and `kiln build` makes a component of.
//!
//! Each language has a file here, which knows how to call its toolchain and what an author has to install for it.
//! [`wit`] is the only owner of wit-bindgen and wit-component. Compilers of some languages know nothing of components:
//! for them it makes the bindings before the compiler runs and the component afterwards, so that an author needs only a
//! compiler. [`fuse`] makes one core module of those that such tools link.
//!
//! Absent on purpose: installing anything. An error names what is missing, with the command that installs it.

mod c;
mod error;
mod fuse;
mod go;
mod language;
mod python;
mod rust;
mod script;
mod template;
mod tool;
mod watch;
mod wit;

use std::fs;
use std::path::{Path, PathBuf};

pub use error::ProjectError;
pub use language::Language;
pub use script::Engine;
pub use template::create;
pub use watch::Changes;

/// The folder of a project that holds what is built from it.
pub const BUILD: &str = "build";

/// The world of a handler that is written by hand or with bindings.
const WORLD: &str = "job-handler";

/// Longer names make file names, keys and log lines that are hard to read.
const MAX_NAME_BYTES: usize = 64;

/// Prefix of files that are still being written.
const UNFINISHED: &str = ".kiln-build-";

/// A folder with a handler's source.
#[derive(Debug)]
pub struct Project {
    dir: PathBuf,
    name: String,
    /// None where another toolchain builds.
    language: Option<Language>,
    world: String,
    takes_snapshot: bool,
}

impl Project {
    /// Opens the project in a folder, to be built for a world of its contract. Without a `language`, the files in the
    /// folder tell it. Without a `world`, it is that of the language.
    ///
    /// # Errors
    /// When its language or its name cannot be told.
    pub fn open(dir: &Path, language: Option<Language>, world: Option<&str>) -> Result<Self, ProjectError> {
        // The toolchains run in it, and are handed paths to what lies in it.
        let dir = fs::canonicalize(dir).map_err(ProjectError::file(dir))?;
        let language = match language {
            Some(language) => language.or_typed(&dir)?,
            None => Language::of(&dir)?,
        };
        let name = match language {
            Language::Rust => rust::name(&dir),
            Language::JavaScript | Language::TypeScript => script::name(&dir),
            Language::Python => python::name(&dir),
            Language::Go => go::name(&dir),
            Language::C => name_by_files(&dir),
        }?;
        Self::new(dir, name, Some(language), world.unwrap_or(language.world()))
    }

    /// Opens a folder whose core module another toolchain builds, from any language. The name is that of the only
    /// manifest in the folder, or else the folder's.
    ///
    /// # Errors
    /// When its name cannot be told.
    pub fn open_for_core(dir: &Path, world: Option<&str>) -> Result<Self, ProjectError> {
        let dir = fs::canonicalize(dir).map_err(ProjectError::file(dir))?;
        let name = name_by_files(&dir)?;
        Self::new(dir, name, None, world.unwrap_or(WORLD))
    }

    fn new(dir: PathBuf, name: String, language: Option<Language>, world: &str) -> Result<Self, ProjectError> {
        if !is_plain(&name) {
            return Err(ProjectError::Unplain { dir, name });
        }
        Ok(Self {
            dir,
            name,
            language,
            world: world.to_owned(),
            takes_snapshot: true,
        })
    }

    /// The same project, of whose initialisation no snapshot is taken when it is built.
    #[must_use]
    pub fn without_snapshot(mut self) -> Self {
        self.takes_snapshot = false;
        self
    }

    /// What the plugin is called, and the job that it handles.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The language it is written in. None if another toolchain builds it.
    #[must_use]
    pub fn language(&self) -> Option<Language> {
        self.language
    }

    /// The folder that it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Builds the component, and returns it. The toolchain's own words go to standard error.
    ///
    /// # Errors
    /// When a part of the toolchain is missing or fails.
    pub fn build(&self) -> Result<Built, ProjectError> {
        let component = match self.language {
            Some(Language::Go) => return go::build(self),
            Some(Language::Rust) => rust::build(self),
            Some(Language::JavaScript | Language::TypeScript) => script::build(self).map(fuse::of),
            Some(Language::Python) => python::build(self).map(fuse::of),
            Some(Language::C) => c::build(self),
            None => Err(ProjectError::NoLanguage(self.dir.clone())),
        }?;
        Ok(Built {
            component,
            snapshot: None,
        })
    }

    /// Makes a component of a core module that another toolchain has built.
    ///
    /// # Errors
    /// When it does not fit the contract.
    pub fn componentize(&self, core: &Path) -> Result<Built, ProjectError> {
        let bytes = fs::read(core).map_err(ProjectError::file(core))?;
        match bytes.get(..8) {
            Some(b"\0asm\x01\0\0\0") => Ok(Built {
                component: wit::Contract::read(&self.dir, &self.world)?.component(&bytes)?,
                snapshot: None,
            }),
            Some(b"\0asm\x0d\0\x01\0") => {
                let why = "is a component already, which needs no more than to be put into the plugin folder";
                Err(ProjectError::description(core, why))
            }
            _ => Err(ProjectError::description(core, "is no WebAssembly module")),
        }
    }

    /// The operator's side of the handler, which may be missing.
    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.dir.join(format!("{}.toml", self.name))
    }

    /// Puts a component into a folder, and the project's manifest beside it if there is one. A manifest that is there
    /// already is the operator's and stays, unless an earlier call put it there.
    ///
    /// A host that watches the folder never sees half a file, nor a new component under an older manifest of the project.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn put(&self, component: &[u8], folder: &Path) -> Result<Put, ProjectError> {
        fs::create_dir_all(folder).map_err(ProjectError::file(folder))?;
        let folder = fs::canonicalize(folder).map_err(ProjectError::file(folder))?;
        let manifest = self.manifest();
        let kept = match read_if_there(&manifest)? {
            // It is there already.
            Some(_) if folder == self.dir => None,
            Some(bytes) => self.put_manifest(&bytes, &folder)?,
            None => None,
        };
        let path = folder.join(format!("{}.wasm", self.name));
        place(component, &path)?;
        Ok(Put { path, kept })
    }

    /// Puts the manifest there. Returns the path of one that stays instead, because somebody else wrote it.
    fn put_manifest(&self, bytes: &[u8], folder: &Path) -> Result<Option<PathBuf>, ProjectError> {
        let path = folder.join(format!("{}.toml", self.name));
        let last = self.work()?.join("manifest.toml");
        let there = read_if_there(&path)?;
        let is_ours = there.is_none() || there == read_if_there(&last)?;
        if !is_ours && there.as_deref() != Some(bytes) {
            return Ok(Some(path));
        }
        place(bytes, &path)?;
        place(bytes, &last)?;
        Ok(None)
    }

    /// Whether this is a file that is still being written, under a temporary name.
    fn is_unfinished(path: &Path) -> bool {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED))
    }

    /// The folder for intermediate files of the build.
    fn work(&self) -> Result<PathBuf, ProjectError> {
        let work = self.dir.join(BUILD).join("work");
        fs::create_dir_all(&work).map_err(ProjectError::file(&work))?;
        Ok(work)
    }
}

/// What was built.
#[derive(Debug)]
pub struct Built {
    /// The component.
    pub component: Vec<u8>,
    /// How much of its initialisation is done in it, or why nothing is: for its author. None where nothing is to be done, or
    /// where the language's own tools do it.
    pub snapshot: Option<String>,
}

/// What was put into a folder.
#[derive(Debug)]
pub struct Put {
    /// The component.
    pub path: PathBuf,
    /// A manifest that stayed, though the project has another.
    pub kept: Option<PathBuf>,
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, ProjectError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(ProjectError::file(path)(err)),
    }
}

/// The name of a project whose tools give it none: that of the only manifest in it, or else the folder's.
fn name_by_files(dir: &Path) -> Result<String, ProjectError> {
    let entries = fs::read_dir(dir).map_err(ProjectError::file(dir))?;
    let manifests: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| has_end(path, "toml"))
        .collect();
    let named = match manifests.as_slice() {
        [manifest] => manifest.file_stem(),
        _ => dir.file_name(),
    };
    let name = named.map(|name| name.to_string_lossy().into_owned());
    name.ok_or_else(|| ProjectError::NoLanguage(dir.to_owned()))
}

/// Whether the name of a file ends so, after its last dot.
fn has_end(path: &Path, end: &str) -> bool {
    path.extension().is_some_and(|found| found == end)
}

/// Whether a name can be that of a file in any folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

/// Writes a file beside the path, then renames it, so that nobody reads half of it.
fn place(bytes: &[u8], path: &Path) -> Result<(), ProjectError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let placed = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(folder)
        .and_then(|mut file| {
            use std::io::Write;
            use std::os::unix::fs::PermissionsExt;
            file.write_all(bytes)?;
            // A temporary file is readable by its owner only, but the worker may be another user.
            file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
            file.persist(path).map_err(|err| err.error)?;
            Ok(())
        });
    placed.map_err(ProjectError::file(path))
}
