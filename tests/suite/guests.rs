//! Guests: the core modules in `tests/guests`, made into components.

use std::path::{Path, PathBuf};

use anyhow::Context;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, PackageId, Resolve};

/// What every hostile guest has beside the text of its file, unless the file says the first part of it itself.
const FRAME: [(&str, &str); 3] = [
    (r#"(memory (export "memory")"#, " 2)"),
    (
        r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)"#,
        "
        global.get $free
        (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
        (global $free (mut i32) (i32.const 4096))",
    ),
    (
        "(type $handle (func",
        " (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32) (result i32)))",
    ),
];

/// The component of the guest `tests/guests/{name}.wat`.
pub(crate) fn guest(name: &str) -> anyhow::Result<Vec<u8>> {
    let path = guests_folder().join(name).with_extension("wat");
    component(&wat::parse_file(&path)?, "world.wit", "guest").with_context(|| format!("guest {name}"))
}

/// The component of the hostile guest `tests/guests/hostile/{name}.wat`.
pub(crate) fn hostile_guest(name: &str) -> anyhow::Result<Vec<u8>> {
    hostile_component(&hostile_text(name)?).with_context(|| format!("hostile guest {name}"))
}

/// The text of the hostile guest `tests/guests/hostile/{name}.wat`.
pub(crate) fn hostile_text(name: &str) -> anyhow::Result<String> {
    let path = guests_folder().join("hostile").join(name).with_extension("wat");
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The component of a hostile guest's text: the fields of a core module, without what all of them have.
pub(crate) fn hostile_component(fields: &str) -> anyhow::Result<Vec<u8>> {
    hostile_component_in(fields, StringEncoding::UTF8)
}

/// The same of one whose strings are in that encoding.
pub(crate) fn hostile_component_in(fields: &str, strings: StringEncoding) -> anyhow::Result<Vec<u8>> {
    let mut module = format!("(module\n{fields}");
    for (start, rest) in FRAME {
        if !fields.contains(start) {
            module.extend([start, rest, "\n"]);
        }
    }
    module.push(')');
    component_in(&wat::parse_str(&module)?, "hostile/world.wit", "guest", strings)
}

/// A component of that world of `tests/guests/world.wit`, from a core module in text.
pub(crate) fn component_of(world: &str, wat: &str) -> anyhow::Result<Vec<u8>> {
    component(&wat::parse_str(wat)?, "world.wit", world)
}

/// The core module of a guest, as it is before it becomes a component.
pub(crate) fn core_module(name: &str) -> anyhow::Result<Vec<u8>> {
    Ok(wat::parse_file(guests_folder().join(name).with_extension("wat"))?)
}

/// A component of a world with these imports and exports, that traps wherever it is called. Kiln's own package is that
/// of `wit/`, changed as `edits` say; `others` are other packages.
pub(crate) fn stranger(world: &str, edits: &[(&str, &str)], others: &str) -> anyhow::Result<Vec<u8>> {
    let job = std::fs::read_to_string(wit_folder().join("job.wit"))?;
    let (_, job) = job.split_once("package kiln:job@0.1.0;").context("its package")?;
    let (job, _) = job
        .split_once("/// What a handler is built against.")
        .context("its world")?;
    let mut text =
        format!("package guests:strange;\nworld stranger {{ {world} }}\npackage kiln:job@0.1.0 {{ {job} }}\n{others}");
    for (from, to) in edits {
        anyhow::ensure!(text.contains(from), "nothing to replace: {from}");
        text = text.replace(from, to);
    }
    let mut resolve = Resolve::default();
    let package = resolve.push_str("stranger.wit", &text)?;
    let world = resolve.select_world(&[package], None)?;
    encode(
        dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync)),
        &resolve,
        package,
        "stranger",
    )
}

/// A component with all that the frozen contract has, changed as `edits` say.
pub(crate) fn frozen(edits: &[(&str, &str)]) -> anyhow::Result<Vec<u8>> {
    let folder = root().join("tests/data/wit-0.1");
    let mut resolve = Resolve::default();
    for dependency in ["config/store.wit", "logging/logging.wit"] {
        resolve.push_file(folder.join("deps").join(dependency))?;
    }
    let mut text = std::fs::read_to_string(folder.join("job.wit"))?;
    for (from, to) in edits {
        anyhow::ensure!(text.contains(from), "nothing to replace: {from}");
        text = text.replace(from, to);
    }
    let package = resolve.push_str("job.wit", &text)?;
    let world = resolve.select_world(&[package], Some("job-handler"))?;
    let module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    encode(module, &resolve, package, "job-handler")
}

fn component(module: &[u8], wit: &str, world: &str) -> anyhow::Result<Vec<u8>> {
    component_in(module, wit, world, StringEncoding::UTF8)
}

fn component_in(module: &[u8], wit: &str, world: &str, strings: StringEncoding) -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    resolve.push_dir(wit_folder())?;
    let package = resolve.push_file(guests_folder().join(wit))?;
    encode_in(module.to_vec(), &resolve, package, world, strings)
}

fn encode(module: Vec<u8>, resolve: &Resolve, package: PackageId, world: &str) -> anyhow::Result<Vec<u8>> {
    encode_in(module, resolve, package, world, StringEncoding::UTF8)
}

fn encode_in(
    mut module: Vec<u8>,
    resolve: &Resolve,
    package: PackageId,
    world: &str,
    strings: StringEncoding,
) -> anyhow::Result<Vec<u8>> {
    let world = resolve.select_world(&[package], Some(world))?;
    embed_component_metadata(&mut module, resolve, world, strings)?;
    ComponentEncoder::default().validate(true).module(&module)?.encode()
}

fn wit_folder() -> PathBuf {
    root().join("wit")
}

pub(crate) fn guests_folder() -> PathBuf {
    root().join("tests/guests")
}

/// The checkout: the folder of this package, or above that of the fuzz targets, which use this file too.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().find(|folder| folder.join("tests/guests").is_dir());
    root.unwrap_or(package)
}
