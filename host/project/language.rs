//! The languages that Kiln has a template and a build for, and how a folder tells which one it is in.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use super::{ProjectError, has_end};

/// A language that handlers are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// By way of `cargo`.
    Rust,
    /// By way of `QuickJS`, which is linked in.
    JavaScript,
    /// JavaScript with its types cut off.
    TypeScript,
    /// By way of `CPython`, which is linked in.
    Python,
    /// By way of Go's own compiler.
    Go,
    /// By way of any C compiler that knows WASI.
    C,
}

impl Language {
    /// All of them, in the order in which they are told of.
    pub const ALL: [Self; 6] = [
        Self::Rust,
        Self::JavaScript,
        Self::TypeScript,
        Self::Python,
        Self::Go,
        Self::C,
    ];

    /// What the command line calls it.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::JavaScript => "js",
            Self::TypeScript => "ts",
            Self::Python => "python",
            Self::Go => "go",
            Self::C => "c",
        }
    }

    /// The world of the contract that its handlers are built for, unless their author names another.
    #[must_use]
    pub fn world(self) -> &'static str {
        match self {
            // The engine offers a program only what the world imports.
            Self::JavaScript | Self::TypeScript => "script-handler",
            Self::Rust | Self::Python | Self::Go | Self::C => "job-handler",
        }
    }

    /// What a new project needs before it can be built for the first time, beyond the language itself.
    #[must_use]
    pub fn setup(self) -> Option<&'static str> {
        match self {
            Self::JavaScript | Self::TypeScript => Some("npm install"),
            Self::Python => Some("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"),
            Self::Rust | Self::Go | Self::C => None,
        }
    }

    /// The language of a folder, by the file that its own tools use. C files count only where no other file tells: many
    /// projects of other languages have some.
    pub(super) fn of(dir: &Path) -> Result<Self, ProjectError> {
        let mut found = Vec::new();
        for (file, language) in [
            ("Cargo.toml", Self::Rust),
            ("package.json", Self::JavaScript),
            ("pyproject.toml", Self::Python),
            ("go.mod", Self::Go),
        ] {
            if dir.join(file).is_file() {
                found.push((file, language));
            }
        }
        match found.as_slice() {
            [] => {
                let entries = fs::read_dir(dir).map_err(ProjectError::file(dir))?;
                let is_c = entries.flatten().any(|entry| has_end(&entry.path(), "c"));
                let nothing = || ProjectError::NoLanguage(dir.to_owned());
                is_c.then_some(Self::C).ok_or_else(nothing)
            }
            [(_, language)] => language.or_typed(dir),
            _ => Err(ProjectError::Ambiguous {
                dir: dir.to_owned(),
                found: found
                    .iter()
                    .map(|(file, language)| format!("{file} (--lang {})", language.id()))
                    .collect(),
            }),
        }
    }

    /// Which of JavaScript and TypeScript it is: the two share package.json.
    pub(super) fn or_typed(self, dir: &Path) -> Result<Self, ProjectError> {
        if !matches!(self, Self::JavaScript | Self::TypeScript) {
            return Ok(self);
        }
        let main = super::script::main(dir)?;
        let typed = has_end(Path::new(&main), "ts") || has_end(Path::new(&main), "mts");
        Ok(if typed { Self::TypeScript } else { Self::JavaScript })
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|language| language.id() == text)
            .ok_or_else(|| format!("one of {}", Self::ALL.map(Self::id).join(", ")))
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::JavaScript => "JavaScript",
            Self::TypeScript => "TypeScript",
            Self::Python => "Python",
            Self::Go => "Go",
            Self::C => "C",
        })
    }
}
