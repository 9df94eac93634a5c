//! What each thing of a component's core modules is in the end, and which of the modules can be made one.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, bail, ensure};
use wasmparser::{CanonicalOption, ConstExpr, Operator};

use super::module::Module;
use super::read::{Canon, Component, CoreInstance, Item, Sort};

/// What a name or a number stands for, after all that it is handed on by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Target {
    /// What an instance of a module defines; its number without what the module imports.
    Defined { instance: u32, sort: Sort, index: u32 },
    /// A function of the canonical ABI, by its number among the component's core functions.
    Canon(u32),
}

/// A module, its number, and the instances that its imports are taken from, by the names of these.
type Made<'l, 'a> = (&'l Module<'a>, u32, &'l [(&'a str, u32)]);

pub(super) struct Links<'a> {
    pub(super) component: &'a Component<'a>,
    pub(super) modules: Vec<Module<'a>>,
}

impl<'a> Links<'a> {
    pub(super) fn of(component: &'a Component<'a>) -> anyhow::Result<Self> {
        let modules = component.modules.iter().map(|bytes| Module::read(bytes));
        Ok(Self {
            component,
            modules: modules.collect::<anyhow::Result<_>>()?,
        })
    }

    /// The instances whose modules are made one, in the order in which they are made: those with the memory that most of them
    /// have, which need nothing of the host that needs that memory itself.
    pub(super) fn members(&self) -> anyhow::Result<Vec<u32>> {
        let mut sharing: HashMap<Target, BTreeSet<u32>> = HashMap::new();
        for (instance, module) in self.instances() {
            for number in 0..module.imports[Sort::Memory as usize].len() {
                let memory = self.inner(instance, Sort::Memory, u32::try_from(number)?)?;
                sharing.entry(memory).or_default().insert(instance);
            }
        }
        let Some((Target::Defined { instance: owner, .. }, mut linked)) =
            sharing.into_iter().max_by_key(|(_, linked)| linked.len())
        else {
            return Ok(Vec::new());
        };
        linked.insert(owner);
        let mut members = Vec::new();
        for instance in &linked {
            if self.can_join(*instance, &members, &linked)? {
                members.push(*instance);
            }
        }
        ensure!(members.contains(&owner), "the module with the memory needs others");
        for (instance, module) in self.instances() {
            ensure!(
                members.contains(&instance) || !module.has_start,
                "another module has a start"
            );
        }
        Ok(members)
    }

    /// All instances of modules.
    pub(super) fn instances(&self) -> impl Iterator<Item = (u32, &Module<'a>)> {
        let instances = (0..).zip(&self.component.instances);
        instances.filter_map(|(number, instance)| match instance {
            CoreInstance::Of { module, .. } => Some((number, self.modules.get(*module as usize)?)),
            CoreInstance::Bag(_) => None,
        })
    }

    /// The module of an instance, and what it is made with.
    pub(super) fn made(&self, instance: u32) -> anyhow::Result<Made<'_, 'a>> {
        match self.component.instances.get(instance as usize) {
            Some(CoreInstance::Of { module, args }) => {
                let made = self.modules.get(*module as usize).context("an instance of no module")?;
                Ok((made, *module, args))
            }
            _ => bail!("no instance of a module"),
        }
    }

    fn can_join(&self, instance: u32, members: &[u32], linked: &BTreeSet<u32>) -> anyhow::Result<bool> {
        let (module, ..) = self.made(instance)?;
        if module.unfit.is_some() || module.has_start {
            return Ok(false);
        }
        for target in self.imports(instance)? {
            let joins = match target {
                Target::Defined { instance, .. } if members.contains(&instance) => true,
                // Functions of others can be imported; of other things nobody has any.
                Target::Defined { sort, .. } if sort != Sort::Func => false,
                target => !self.needs(target, linked)?,
            };
            if !joins {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What all imports of an instance stand for.
    pub(super) fn imports(&self, instance: u32) -> anyhow::Result<Vec<Target>> {
        let (module, ..) = self.made(instance)?;
        let mut targets = Vec::new();
        for sort in Sort::ALL {
            for number in 0..module.imports[sort as usize].len() {
                targets.push(self.inner(instance, sort, u32::try_from(number)?)?);
            }
        }
        Ok(targets)
    }

    /// Whether something is there only once there are some of these instances.
    fn needs(&self, target: Target, linked: &BTreeSet<u32>) -> anyhow::Result<bool> {
        let needed = match target {
            Target::Defined { instance, .. } if linked.contains(&instance) => return Ok(true),
            Target::Defined { instance, .. } => self.imports(instance)?,
            Target::Canon(canon) => self.options_of(canon)?,
        };
        for target in needed {
            if self.needs(target, linked)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn canon(&self, number: u32) -> anyhow::Result<&Canon> {
        match self.component.items[Sort::Func as usize].get(number as usize) {
            Some(Item::Canon(canon)) => Ok(canon),
            _ => bail!("no function of the canonical ABI"),
        }
    }

    fn options_of(&self, canon: u32) -> anyhow::Result<Vec<Target>> {
        match self.canon(canon)? {
            Canon::Lower { options, .. } => self.options(options),
            Canon::ResourceDrop(_) => Ok(Vec::new()),
        }
    }

    /// What the options of a function of the canonical ABI stand for.
    pub(super) fn options(&self, options: &[CanonicalOption]) -> anyhow::Result<Vec<Target>> {
        let core = options.iter().filter_map(|option| match option {
            CanonicalOption::Memory(memory) => Some((Sort::Memory, *memory)),
            CanonicalOption::Realloc(func) | CanonicalOption::PostReturn(func) | CanonicalOption::Callback(func) => {
                Some((Sort::Func, *func))
            }
            _ => None,
        });
        core.map(|(sort, index)| self.outer(sort, index)).collect()
    }

    /// What a number of the component stands for.
    pub(super) fn outer(&self, sort: Sort, index: u32) -> anyhow::Result<Target> {
        match self.component.items[sort as usize].get(index as usize) {
            Some(Item::Canon(_)) => Ok(Target::Canon(index)),
            Some(Item::Export { instance, name }) => self.export(*instance, name),
            None => bail!("no {sort:?} has the number {index}"),
        }
    }

    fn export(&self, instance: u32, name: &str) -> anyhow::Result<Target> {
        let none = || format!("no export {name}");
        match self.component.instances.get(instance as usize) {
            Some(CoreInstance::Bag(exports)) => {
                let found = exports.iter().find(|export| export.name == name).with_context(none)?;
                self.outer(Sort::of(found.kind)?, found.index)
            }
            Some(CoreInstance::Of { module, .. }) => {
                let module = self.modules.get(*module as usize).with_context(none)?;
                let (sort, index) = module.exports.get(name).with_context(none)?;
                self.inner(instance, *sort, *index)
            }
            None => bail!("no instance has the number {instance}"),
        }
    }

    /// What a number of an instance's module stands for.
    pub(super) fn inner(&self, instance: u32, sort: Sort, index: u32) -> anyhow::Result<Target> {
        let (module, _, args) = self.made(instance)?;
        let imports = &module.imports[sort as usize];
        let Some(import) = imports.get(index as usize) else {
            let index = index - u32::try_from(imports.len())?;
            return Ok(Target::Defined { instance, sort, index });
        };
        let from = args.iter().find(|(name, _)| *name == import.module);
        let (_, from) = from.with_context(|| format!("nothing to import from {}", import.module))?;
        self.export(*from, import.name)
    }

    /// The number that an expression comes to, if that is known.
    pub(super) fn value(&self, instance: u32, expression: &ConstExpr<'_>) -> anyhow::Result<Option<i32>> {
        let (mut stack, mut operators) = (Vec::new(), expression.get_operators_reader());
        while !operators.eof() {
            let value = match operators.read()? {
                Operator::I32Const { value } => value,
                Operator::GlobalGet { global_index } => match self.constant(instance, global_index)? {
                    Some(value) => value,
                    None => return Ok(None),
                },
                Operator::I32Add => match (stack.pop(), stack.pop()) {
                    (Some(a), Some(b)) => i32::wrapping_add(a, b),
                    _ => return Ok(None),
                },
                Operator::End => break,
                _ => return Ok(None),
            };
            stack.push(value);
        }
        Ok(stack.pop())
    }

    /// The number that a global holds for ever, if that is known.
    fn constant(&self, instance: u32, global: u32) -> anyhow::Result<Option<i32>> {
        let Target::Defined { instance, index, .. } = self.inner(instance, Sort::Global, global)? else {
            return Ok(None);
        };
        let (module, ..) = self.made(instance)?;
        match module.globals.get(index as usize) {
            Some(global) if !global.ty.mutable => self.value(instance, &global.init_expr),
            _ => Ok(None),
        }
    }
}
