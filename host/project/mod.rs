//! A handler's source: the folder that `kiln new` makes and `kiln build` makes a component of.
//!
//! Each language has a file here, which knows how its toolchain is called and what an author has to install for it.
//! [`wit`] is the only owner of wit-bindgen and wit-component: for the languages whose compilers know nothing of
//! components it makes the bindings before and the component after them, so that an author needs only a compiler.
//!
//! Absent on purpose: installing anything. What is missing is told of, with the command that installs it.

mod c;
mod error;
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
pub use template::create;
pub use watch::Changes;

/// The folder of a project that holds what is built from it.
pub const BUILD: &str = "build";

/// Longer names make file names, keys and log lines that are hard to read.
const MAX_NAME_BYTES: usize = 64;

/// What the names of files begin with that are being written.
const UNFINISHED: &str = ".kiln-build-";

/// A folder with a handler's source.
#[derive(Debug)]
pub struct Project {
    dir: PathBuf,
    name: String,
    language: Language,
    world: String,
}

impl Project {
    /// The project in a folder, to be built for a world of its contract: that of its language, if none is named.
    ///
    /// # Errors
    /// When its language or its name cannot be told.
    pub fn open(dir: &Path, world: Option<&str>) -> Result<Self, ProjectError> {
        // The toolchains run in it, and are handed paths to what lies in it.
        let dir = fs::canonicalize(dir).map_err(ProjectError::file(dir))?;
        let language = Language::of(&dir)?;
        let name = match language {
            Language::Rust => rust::name(&dir),
            Language::JavaScript | Language::TypeScript => script::name(&dir),
            Language::Python => python::name(&dir),
            Language::Go => go::name(&dir),
            Language::C => c::name(&dir),
        }?;
        if !is_plain(&name) {
            return Err(ProjectError::Unplain { dir, name });
        }
        Ok(Self {
            dir,
            name,
            language,
            world: world.unwrap_or(language.world()).to_owned(),
        })
    }

    /// What the plugin is called, and the job that it handles.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is written in.
    #[must_use]
    pub fn language(&self) -> Language {
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
    pub fn build(&self) -> Result<Vec<u8>, ProjectError> {
        match self.language {
            Language::Rust => rust::build(self),
            Language::JavaScript | Language::TypeScript => script::build(self),
            Language::Python => python::build(self),
            Language::Go => go::build(self),
            Language::C => c::build(self),
        }
    }

    /// Makes a component of a core module that another toolchain has built.
    ///
    /// # Errors
    /// When it does not fit the contract.
    pub fn componentize(&self, core: &Path) -> Result<Vec<u8>, ProjectError> {
        let core = fs::read(core).map_err(ProjectError::file(core))?;
        wit::Contract::read(&self.dir, &self.world)?.component(&core)
    }

    /// The operator's side of the handler, which may be missing.
    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.dir.join(format!("{}.toml", self.name))
    }

    /// Puts a component into a folder, and the manifest beside it where the project has one. Returns the component's
    /// path.
    ///
    /// A host that watches the folder never sees half a file, nor a new component under an older manifest of the project.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn put(&self, component: &[u8], folder: &Path) -> Result<PathBuf, ProjectError> {
        fs::create_dir_all(folder).map_err(ProjectError::file(folder))?;
        let folder = fs::canonicalize(folder).map_err(ProjectError::file(folder))?;
        let manifest = self.manifest();
        match fs::read(&manifest) {
            // It is there already.
            Ok(_) if folder == self.dir => {}
            Ok(bytes) => place(&bytes, &folder.join(format!("{}.toml", self.name)))?,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            Err(err) => return Err(ProjectError::file(&manifest)(err)),
        }
        let path = folder.join(format!("{}.wasm", self.name));
        place(component, &path)?;
        Ok(path)
    }

    /// Whether this is a file that is not whole yet, and has not its name.
    fn is_unfinished(path: &Path) -> bool {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED))
    }

    /// A folder for what lies between source and component.
    fn work(&self) -> Result<PathBuf, ProjectError> {
        let work = self.dir.join(BUILD).join("work");
        fs::create_dir_all(&work).map_err(ProjectError::file(&work))?;
        Ok(work)
    }
}

/// Whether a name can be that of a file in any folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

/// Writes beside the file and renames.
fn place(bytes: &[u8], path: &Path) -> Result<(), ProjectError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let placed = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(folder)
        .and_then(|mut file| {
            use std::io::Write;
            use std::os::unix::fs::PermissionsExt;
            file.write_all(bytes)?;
            // A temporary file is its owner's alone; a worker may be another user.
            file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
            file.persist(path).map_err(|err| err.error)?;
            Ok(())
        });
    placed.map_err(ProjectError::file(path))
}
