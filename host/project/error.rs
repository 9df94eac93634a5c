//! Why a handler's project could not be made or built. All of these are for its author, in the author's words.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use super::Language;

/// Why a project could not be made or built.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// A name that not every language's tools, and not Redis' users, would take.
    #[error(
        "a handler's name is made of at most 64 lower-case letters, digits and hyphens, begins with a letter and ends with no hyphen: {0:?} does not do"
    )]
    Name(String),
    /// A name that cannot be that of a file.
    #[error(
        "{}: the handler's name would be {name:?}, which cannot be a file's: it has at most 64 bytes, no slash, and begins with no dot",
        dir.display()
    )]
    Unplain {
        /// The project.
        dir: PathBuf,
        /// Its name, as it says itself.
        name: String,
    },
    /// A name that the language's tools use for something else.
    #[error("{0:?} means something else to the language's tools; choose another name")]
    Reserved(String),
    /// The engine is one of another language.
    #[error("{0} has no choice of engines; that is for JavaScript")]
    Engine(Language),
    /// There is something already.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// No file in the folder tells its language.
    #[error(
        "{} holds no Cargo.toml, package.json, pyproject.toml, go.mod or .c file; `kiln new NAME --lang LANGUAGE` makes a project",
        .0.display()
    )]
    NoLanguage(PathBuf),
    /// The tools of several languages would take a folder for theirs.
    #[error("{} holds {}: say with --lang which of them to build", dir.display(), found.join(" and "))]
    Ambiguous {
        /// The folder.
        dir: PathBuf,
        /// The files that tell, each with its language.
        found: Vec<String>,
    },
    /// A project file lacks what the build needs from it.
    #[error("{}: {why}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A part of the toolchain is not there.
    #[error("{what} is missing; {install}")]
    Missing {
        /// The part.
        what: String,
        /// How to install it.
        install: String,
    },
    /// A program of the toolchain could not be started.
    #[error("cannot run {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program of the toolchain failed; it has said why.
    #[error("{} failed with {status}", program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// The contract, or what was built against it, is not what it should be.
    #[error("{what}: {why}")]
    Contract {
        /// What was being done.
        what: &'static str,
        /// What is wrong, with its causes.
        why: String,
    },
    /// A file or folder could not be read or written.
    #[error("{}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ProjectError {
    pub(super) fn description(path: &Path, why: &(impl ToString + ?Sized)) -> Self {
        Self::Description {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }

    pub(super) fn missing(what: impl Into<String>, install: impl Into<String>) -> Self {
        Self::Missing {
            what: what.into(),
            install: install.into(),
        }
    }

    /// For the error of a library that has its causes in a chain.
    pub(super) fn contract(what: &'static str) -> impl FnOnce(anyhow::Error) -> Self {
        move |err| Self::Contract {
            what,
            why: format!("{err:#}"),
        }
    }

    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            path: path.to_owned(),
            source,
        }
    }
}
