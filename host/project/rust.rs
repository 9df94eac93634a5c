//! Builds a crate for `wasm32-wasip2`, whose linker makes the component.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::tool::Tool;
use super::{Project, ProjectError, has_end};

const TARGET: &str = "wasm32-wasip2";

const INSTALL: &str = "install Rust: https://rustup.rs";

pub(super) fn name(dir: &Path) -> Result<String, ProjectError> {
    #[derive(Deserialize)]
    struct Manifest {
        package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    let path = dir.join("Cargo.toml");
    let text = fs::read_to_string(&path).map_err(ProjectError::file(&path))?;
    let manifest: Manifest = toml::from_str(&text).map_err(|err| ProjectError::description(&path, err.message()))?;
    Ok(manifest.package.name)
}

pub(super) fn build(project: &Project) -> Result<Vec<u8>, ProjectError> {
    let cargo = Tool::named("cargo", &project.dir, INSTALL)?;
    require_target(project)?;
    if let Some(set) = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"]
        .into_iter()
        .find(|name| std::env::var_os(name).is_some())
    {
        tracing::warn!("{set} takes the place of the flags in .cargo/config.toml, the small stack among them");
    }
    // Its messages tell what it made and where, wherever that is configured to be.
    let messages = cargo
        .args(["build", "--release", "--lib", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .read()?;
    let component = messages.lines().filter_map(component).next_back().ok_or_else(|| {
        let why = r#"builds no component; it needs [lib] crate-type = ["cdylib"]"#;
        ProjectError::description(&project.dir.join("Cargo.toml"), why)
    })?;
    fs::read(&component).map_err(ProjectError::file(&component))
}

/// The component that a message of cargo's tells of. The last of a build is the package's own.
fn component(message: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Artifact {
        filenames: Vec<PathBuf>,
    }
    let artifact: Artifact = serde_json::from_str(message).ok()?;
    let mut files = artifact.filenames.into_iter();
    files.find(|file| has_end(file, "wasm"))
}

fn require_target(project: &Project) -> Result<(), ProjectError> {
    // The compiler that cargo will use.
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let libraries = Tool::named(&rustc, &project.dir, INSTALL)?
        .args(["--print", "target-libdir", "--target", TARGET])
        .read()?;
    let is_std = |name: &str| name.starts_with("libstd-");
    let has_std = fs::read_dir(libraries.trim()).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_str().is_some_and(is_std))
    });
    if has_std {
        return Ok(());
    }
    let install = format!("run `rustup target add {TARGET}`");
    Err(ProjectError::missing(format!("Rust's target {TARGET}"), install))
}
