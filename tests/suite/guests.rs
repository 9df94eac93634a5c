//! Guests: the core modules in `tests/guests/*.wat`, made into components.

use std::path::{Path, PathBuf};

use anyhow::Context;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The component of the guest `tests/guests/{name}.wat`.
pub(crate) fn guest(name: &str) -> anyhow::Result<Vec<u8>> {
    let path = guests().join(name).with_extension("wat");
    component(&wat::parse_file(&path)?, "guest").with_context(|| format!("guest {name}"))
}

/// A component of that world of `tests/guests/world.wit`, from a core module in text.
pub(crate) fn component_of(world: &str, wat: &str) -> anyhow::Result<Vec<u8>> {
    component(&wat::parse_str(wat)?, world)
}

/// The core module of a guest, as it is before it becomes a component.
pub(crate) fn core_module(name: &str) -> anyhow::Result<Vec<u8>> {
    Ok(wat::parse_file(guests().join(name).with_extension("wat"))?)
}

fn component(module: &[u8], world: &str) -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    resolve.push_dir(root().join("wit"))?;
    let package = resolve.push_file(guests().join("world.wit"))?;
    let world = resolve.select_world(&[package], Some(world))?;
    let mut module = module.to_vec();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default().validate(true).module(&module)?.encode()
}

fn guests() -> PathBuf {
    root().join("tests/guests")
}

/// The checkout: the folder of this package, or above that of the fuzz targets, which use this file too.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().find(|folder| folder.join("tests/guests").is_dir());
    root.unwrap_or(package)
}
