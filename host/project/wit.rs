//! The contract in a project's `wit` folder: makes bindings from it, and components of core modules.

use std::fs;
use std::path::{Path, PathBuf};

use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR;
use wit_bindgen_core::{Files, WorldGenerator};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

use super::ProjectError;

/// The folder of a project that holds it.
pub(super) const FOLDER: &str = "wit";

/// What preview 1 calls the system, as the name of imports: a core module that has them needs the adapter.
const PREVIEW1: &str = "wasi_snapshot_preview1";

/// A world, read from a project's `wit` folder.
pub(super) struct Contract {
    pub(super) folder: PathBuf,
    pub(super) world: String,
    resolve: Resolve,
    id: WorldId,
}

impl Contract {
    pub(super) fn read(project: &Path, world: &str) -> Result<Self, ProjectError> {
        let folder = project.join(FOLDER);
        if !folder.is_dir() {
            let copy = "it holds the contract with the host: copy it from a project that `kiln new` made";
            return Err(ProjectError::missing(format!("the folder {}", folder.display()), copy));
        }
        let mut resolve = Resolve::default();
        let (package, _) = resolve
            .push_path(&folder)
            .map_err(ProjectError::contract("cannot read the contract"))?;
        let id = resolve
            .select_world(&[package], Some(world))
            .map_err(ProjectError::contract("no such world"))?;
        Ok(Self {
            folder,
            world: world.to_owned(),
            resolve,
            id,
        })
    }

    /// Writes bindings into a folder. Leaves a file alone that would not change: compilers go by its age.
    pub(super) fn bindings(
        &self,
        mut generator: Box<dyn WorldGenerator>,
        folder: &Path,
    ) -> Result<Vec<PathBuf>, ProjectError> {
        let mut files = Files::default();
        // The generator changes the world that it reads.
        generator
            .generate(&mut self.resolve.clone(), self.id, &mut files)
            .map_err(ProjectError::contract("cannot make bindings"))?;
        let mut written = Vec::new();
        for (name, bytes) in files.iter() {
            let path = folder.join(name);
            write(&path, bytes)?;
            written.push(path);
        }
        Ok(written)
    }

    /// Makes a component of a core module. Its imports and exports are named by the canonical ABI, or are those of
    /// preview 1.
    pub(super) fn component(&self, core: &[u8]) -> Result<Vec<u8>, ProjectError> {
        let mut module = core.to_vec();
        embed_component_metadata(&mut module, &self.resolve, self.id, StringEncoding::UTF8)
            .and_then(|()| ComponentEncoder::default().module(&module))
            .and_then(|encoder| encoder.adapter(PREVIEW1, REACTOR))
            .and_then(|encoder| encoder.validate(true).encode())
            .map_err(ProjectError::contract("cannot make a component"))
    }
}

/// Writes a file and the folders it lies in, unless it holds just that already.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), ProjectError> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(ProjectError::file(folder))?;
    }
    fs::write(path, bytes).map_err(ProjectError::file(path))
}
