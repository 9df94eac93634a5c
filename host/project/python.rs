//! Builds Python: componentize-py links the handler and the packages it imports with `CPython`.

mod complaint;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::tool::Tool;
use super::{Project, ProjectError, has_end, wit};

pub(super) fn name(dir: &Path) -> Result<String, ProjectError> {
    #[derive(Deserialize)]
    struct Description {
        project: Table,
    }
    #[derive(Deserialize)]
    struct Table {
        name: String,
    }
    let path = dir.join("pyproject.toml");
    let text = fs::read_to_string(&path).map_err(ProjectError::file(&path))?;
    let found: Description = toml::from_str(&text).map_err(|err| ProjectError::description(&path, err.message()))?;
    Ok(found.project.name)
}

/// The module that is made a component. It imports the author's.
const MODULE: &str = "kiln.component";

pub(super) fn build(project: &Project) -> Result<Vec<u8>, ProjectError> {
    let contract = wit::Contract::read(&project.dir, &project.world)?;
    let component = project.work()?.join("component.wasm");
    let venv = project.dir.join(".venv");
    let mut tool = Tool::at(&componentize(project)?, &project.dir)
        // The tool's own frames tell an author nothing: the author's traceback stands before them.
        .env("RUST_BACKTRACE", "0")
        .args(["--quiet", "--wit-path"])
        .arg(&contract.folder)
        .args(["--world", &contract.world, "componentize", MODULE, "--python-path", "."]);
    if venv.is_dir() {
        // Without it the tool takes the packages of the first Python on PATH.
        tool = tool.env("VIRTUAL_ENV", venv);
    }
    if let Some(stage) = stage(project)? {
        tool = tool.arg("--python-path").arg(stage);
    }
    tool.arg("--output")
        .arg(&component)
        .run_explained(|said| complaint::of_building(said, &project.dir))?;
    fs::read(&component).map_err(ProjectError::file(&component))
}

/// Makes a folder with a copy of the kit, if the kit is a link: the tool does not read links to outside the project.
fn stage(project: &Project) -> Result<Option<PathBuf>, ProjectError> {
    let kit = project.dir.join("kiln");
    if !kit.is_symlink() {
        return Ok(None);
    }
    let stage = project.work()?.join("stage");
    for entry in fs::read_dir(&kit).map_err(ProjectError::file(&kit))?.flatten() {
        let path = entry.path();
        if has_end(&path, "py") {
            let text = fs::read(&path).map_err(ProjectError::file(&path))?;
            wit::write(&stage.join("kiln").join(entry.file_name()), &text)?;
        }
    }
    Ok(Some(stage))
}

fn componentize(project: &Project) -> Result<PathBuf, ProjectError> {
    let own = project.dir.join(".venv/bin/componentize-py");
    if own.is_file() {
        return Ok(own);
    }
    which::which("componentize-py").map_err(|_| {
        let install = "run `python3 -m venv .venv && .venv/bin/pip install -r requirements.txt`";
        ProjectError::missing("componentize-py", format!("{install} in {}", project.dir.display()))
    })
}
