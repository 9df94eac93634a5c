//! Writes a component anew, with one core module in place of several.

use std::collections::HashMap;

use anyhow::{Context as _, bail, ensure};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, ComponentAliasSection, InstanceSection, ModuleArg, RawSection,
};

use super::link::{Links, Target};
use super::merge::{self, Merged};
use super::read::{self, Canon, Part, Sort};

/// The number of sections that hold a core module.
const MODULE: u8 = 1;

/// The component in which these instances are one.
pub(super) fn component(links: &Links<'_>, members: &[u32], nested: &[Option<Vec<u8>>]) -> anyhow::Result<Vec<u8>> {
    let wanted = wanted(links, members)?;
    let mut writer = Writer {
        links,
        members,
        merged: merge::merge(links, members, &wanted)?,
        wanted,
        component: wasm_encoder::Component::new(),
        modules: HashMap::new(),
        module_count: 0,
        instances: HashMap::new(),
        instance_count: 0,
        items: HashMap::new(),
        counts: [0; 4],
        depth: 0,
    };
    writer.parts(nested)?;
    Ok(writer.component.finish())
}

/// What others need of the members.
fn wanted(links: &Links<'_>, members: &[u32]) -> anyhow::Result<Vec<Target>> {
    let mut all = Vec::new();
    for (instance, _) in links.instances().filter(|(instance, _)| !members.contains(instance)) {
        all.extend(links.imports(instance)?);
    }
    for (number, item) in (0..).zip(&links.component.items[Sort::Func as usize]) {
        if let read::Item::Canon(Canon::Lower { options, .. }) = item {
            all.push(Target::Canon(number));
            all.extend(links.options(options)?);
        }
    }
    for part in &links.component.parts {
        if let Part::Lift { func, options, .. } = part {
            all.push(links.outer(Sort::Func, *func)?);
            all.extend(links.options(options)?);
        }
    }
    let mut wanted = Vec::new();
    for target in all {
        let inside = matches!(target, Target::Defined { instance, .. } if members.contains(&instance));
        if inside && !wanted.contains(&target) {
            wanted.push(target);
        }
    }
    Ok(wanted)
}

/// A component that is being written. What is core is written when something needs it.
struct Writer<'a> {
    links: &'a Links<'a>,
    members: &'a [u32],
    merged: Merged,
    wanted: Vec<Target>,
    component: wasm_encoder::Component,
    /// The new numbers of what is written, by the old ones.
    modules: HashMap<u32, u32>,
    module_count: u32,
    instances: HashMap<Instance, u32>,
    instance_count: u32,
    items: HashMap<Target, u32>,
    /// How many things there are, by sort.
    counts: [u32; 4],
    /// How deep in what needs each other.
    depth: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Instance {
    Merged,
    Other(u32),
}

/// What needs each other is not so deep.
const MAX_DEPTH: u32 = 100;

impl Writer<'_> {
    fn parts(&mut self, nested: &[Option<Vec<u8>>]) -> anyhow::Result<()> {
        let (mut nested, links) = (links_nested(self.links, nested), self.links);
        for part in &links.component.parts {
            match part {
                Part::Section { id, data } => {
                    self.component.section(&RawSection { id: *id, data });
                }
                Part::Nested => {
                    let (id, data) = (read::NESTED, nested.next().context("no component in it")?);
                    self.component.section(&RawSection { id, data });
                }
                Part::Alias(alias) => self.alias(alias)?,
                Part::Lift { func, ty, options } => {
                    self.instantiate_all()?;
                    let func = self.item(Sort::Func, *func)?;
                    let options = self.options(options)?;
                    let mut section = CanonicalFunctionSection::new();
                    section.lift(func, *ty, options);
                    self.component.section(&section);
                }
            }
        }
        self.instantiate_all()
    }

    fn alias(&mut self, alias: &wasmparser::ComponentAlias<'_>) -> anyhow::Result<()> {
        let mut section = ComponentAliasSection::new();
        section.alias(match *alias {
            wasmparser::ComponentAlias::InstanceExport {
                kind,
                instance_index: instance,
                name,
            } => Alias::InstanceExport {
                instance,
                kind: kind.into(),
                name,
            },
            wasmparser::ComponentAlias::Outer { kind, count, index } => Alias::Outer {
                kind: kind.into(),
                count,
                index,
            },
            wasmparser::ComponentAlias::CoreInstanceExport { .. } => bail!("it is a core thing"),
        });
        self.component.section(&section);
        Ok(())
    }

    /// Writes all instances that are not written yet, in their order.
    fn instantiate_all(&mut self) -> anyhow::Result<()> {
        let all: Vec<_> = self.links.instances().map(|(instance, _)| instance).collect();
        for instance in all {
            self.instance(instance)?;
        }
        Ok(())
    }

    /// The new number of an instance.
    fn instance(&mut self, instance: u32) -> anyhow::Result<u32> {
        let key = if self.members.contains(&instance) {
            Instance::Merged
        } else {
            Instance::Other(instance)
        };
        if let Some(number) = self.instances.get(&key) {
            return Ok(*number);
        }
        self.depth += 1;
        ensure!(self.depth < MAX_DEPTH, "its modules need each other");
        let number = match key {
            Instance::Merged => self.merged()?,
            Instance::Other(instance) => self.other(instance)?,
        };
        self.depth -= 1;
        self.instances.insert(key, number);
        Ok(number)
    }

    fn merged(&mut self) -> anyhow::Result<u32> {
        let imports = self.merged.imports.clone();
        let imports = imports
            .into_iter()
            .zip(0..)
            .map(|(target, name)| (name.to_string(), Sort::Func, target));
        let bag = self.bag(imports.collect())?;
        let data = std::mem::take(&mut self.merged.bytes);
        let module = self.module(&data);
        Ok(self.made(module, &[(merge::OUTSIDE, bag)]))
    }

    /// An instance that stays as it is, and has what it imports from bags of its own.
    fn other(&mut self, instance: u32) -> anyhow::Result<u32> {
        let links = self.links;
        let (made, module, args) = links.made(instance)?;
        let mut bags = Vec::new();
        for (from, _) in args {
            let mut items: Vec<(String, Sort, Target)> = Vec::new();
            for sort in Sort::ALL {
                for (number, import) in (0..).zip(&made.imports[sort as usize]) {
                    if import.module == *from && !items.iter().any(|(name, ..)| name == import.name) {
                        items.push((import.name.to_owned(), sort, links.inner(instance, sort, number)?));
                    }
                }
            }
            bags.push((*from, self.bag(items)?));
        }
        let module = if let Some(module) = self.modules.get(&module) {
            *module
        } else {
            let number = self.module(made.bytes);
            self.modules.insert(module, number);
            number
        };
        Ok(self.made(module, &bags))
    }

    fn module(&mut self, data: &[u8]) -> u32 {
        self.component.section(&RawSection { id: MODULE, data });
        self.module_count += 1;
        self.module_count - 1
    }

    fn made(&mut self, module: u32, bags: &[(&str, u32)]) -> u32 {
        let mut section = InstanceSection::new();
        section.instantiate(
            module,
            bags.iter().map(|(name, bag)| (*name, ModuleArg::Instance(*bag))),
        );
        self.next_instance(&section)
    }

    fn bag(&mut self, items: Vec<(String, Sort, Target)>) -> anyhow::Result<u32> {
        let mut exports = Vec::new();
        for (name, sort, target) in items {
            exports.push((name, sort.export(), self.target(target)?));
        }
        let mut section = InstanceSection::new();
        section.export_items(
            exports
                .iter()
                .map(|(name, kind, number)| (name.as_str(), *kind, *number)),
        );
        Ok(self.next_instance(&section))
    }

    fn next_instance(&mut self, section: &InstanceSection) -> u32 {
        self.component.section(section);
        self.instance_count += 1;
        self.instance_count - 1
    }

    /// The new number of what a number of the component stands for.
    fn item(&mut self, sort: Sort, index: u32) -> anyhow::Result<u32> {
        self.target(self.links.outer(sort, index)?)
    }

    fn target(&mut self, target: Target) -> anyhow::Result<u32> {
        if let Some(number) = self.items.get(&target) {
            return Ok(*number);
        }
        let sort = match target {
            Target::Defined { instance, sort, index } => {
                let name = self.name(target, instance, sort, index)?;
                let instance = self.instance(instance)?;
                let mut section = ComponentAliasSection::new();
                section.alias(Alias::CoreInstanceExport {
                    instance,
                    kind: sort.export(),
                    name: &name,
                });
                self.component.section(&section);
                sort
            }
            Target::Canon(number) => {
                self.canon(number)?;
                Sort::Func
            }
        };
        let count = &mut self.counts[sort as usize];
        self.items.insert(target, *count);
        *count += 1;
        Ok(*count - 1)
    }

    /// Under which name its instance exports it now.
    fn name(&self, target: Target, instance: u32, sort: Sort, index: u32) -> anyhow::Result<String> {
        if self.members.contains(&instance) {
            let number = self.wanted.iter().position(|wanted| *wanted == target);
            return Ok(number.context("something that nobody seemed to want")?.to_string());
        }
        let (module, ..) = self.links.made(instance)?;
        let number = index + u32::try_from(module.imports[sort as usize].len())?;
        let found = module.exports.iter().find(|(_, export)| **export == (sort, number));
        Ok((*found.context("something that is not exported")?.0).to_owned())
    }

    fn canon(&mut self, number: u32) -> anyhow::Result<()> {
        let (mut section, links) = (CanonicalFunctionSection::new(), self.links);
        match links.canon(number)? {
            Canon::Lower { func, options } => {
                let options = self.options(options)?;
                section.lower(*func, options);
            }
            Canon::ResourceDrop(ty) => {
                section.resource_drop(*ty);
            }
        }
        self.component.section(&section);
        Ok(())
    }

    fn options(&mut self, options: &[wasmparser::CanonicalOption]) -> anyhow::Result<Vec<CanonicalOption>> {
        let mut written = Vec::new();
        for option in options {
            written.push(match *option {
                wasmparser::CanonicalOption::Memory(memory) => {
                    CanonicalOption::Memory(self.item(Sort::Memory, memory)?)
                }
                wasmparser::CanonicalOption::Realloc(func) => CanonicalOption::Realloc(self.item(Sort::Func, func)?),
                wasmparser::CanonicalOption::PostReturn(func) => {
                    CanonicalOption::PostReturn(self.item(Sort::Func, func)?)
                }
                wasmparser::CanonicalOption::Callback(func) => CanonicalOption::Callback(self.item(Sort::Func, func)?),
                wasmparser::CanonicalOption::CoreType(_) => bail!("a function has a core type"),
                other => other.into(),
            });
        }
        Ok(written)
    }
}

/// The components in it, as they are now.
fn links_nested<'a>(links: &Links<'a>, nested: &'a [Option<Vec<u8>>]) -> impl Iterator<Item = &'a [u8]> {
    let both = links.component.nested.iter().zip(nested);
    both.map(|(old, new)| new.as_deref().unwrap_or(old))
}
