//! Makes one module of several.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{
    CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, EntityType, ExportSection, FunctionSection,
    GlobalSection, ImportSection, MemorySection, NameMap, NameSection, TableSection, TypeSection,
};
use wasmparser::{FuncType, KnownCustom, Name, Parser, Payload};

use super::link::{Links, Target};
use super::read::Sort;

/// The module of which all imports of the new one are.
pub(super) const OUTSIDE: &str = "";

/// A module that was made of several.
pub(super) struct Merged {
    pub(super) bytes: Vec<u8>,
    /// What its imports stand for, each under its number.
    pub(super) imports: Vec<Target>,
}

/// Makes one module of those of these instances. It exports what is wanted under its number there.
pub(super) fn merge(links: &Links<'_>, members: &[u32], wanted: &[Target]) -> anyhow::Result<Merged> {
    let layout = Layout::of(links, members)?;
    let mut sections = Sections::default();
    sections.imports(&layout);
    for member in members {
        sections.add(&layout, *member)?;
    }
    for (number, target) in wanted.iter().enumerate() {
        let (sort, index) = layout.place(*target)?;
        sections.exports.export(&number.to_string(), sort.export(), index);
    }
    Ok(Merged {
        bytes: sections.finish(&layout),
        imports: layout.imports,
    })
}

/// The new numbers of everything.
struct Layout<'a> {
    links: &'a Links<'a>,
    imports: Vec<Target>,
    /// The type of each import.
    import_types: Vec<u32>,
    types: Vec<FuncType>,
    numbers: HashMap<FuncType, u32>,
    members: HashMap<u32, Places>,
    pieces_of_data: u32,
}

/// Where what a member defines begins.
#[derive(Clone, Copy)]
struct Places {
    /// By sort.
    defined: [u32; 4],
    data: u32,
    tables: u32,
}

impl<'a> Layout<'a> {
    fn of(links: &'a Links<'a>, members: &[u32]) -> anyhow::Result<Self> {
        let mut layout = Self {
            links,
            imports: Vec::new(),
            import_types: Vec::new(),
            types: Vec::new(),
            numbers: HashMap::new(),
            members: HashMap::new(),
            pieces_of_data: 0,
        };
        for member in members {
            layout.import(*member, members)?;
        }
        let (mut defined, mut tables) = ([u32::try_from(layout.imports.len())?, 0, 0, 0], 0);
        for member in members {
            let (module, ..) = links.made(*member)?;
            let data = layout.pieces_of_data;
            layout.members.insert(*member, Places { defined, data, tables });
            for (place, more) in defined.iter_mut().zip(module.defined) {
                *place += more;
            }
            layout.pieces_of_data += module.pieces_of_data;
            tables += module.pieces_of_tables;
            for ty in &module.types {
                layout.number(ty);
            }
        }
        Ok(layout)
    }

    /// Notes what a member imports that no other member has.
    fn import(&mut self, member: u32, members: &[u32]) -> anyhow::Result<()> {
        let (module, ..) = self.links.made(member)?;
        for function in 0..u32::try_from(module.imports[Sort::Func as usize].len())? {
            let target = self.links.inner(member, Sort::Func, function)?;
            let inside = matches!(target, Target::Defined { instance, .. } if members.contains(&instance));
            if !inside && !self.imports.contains(&target) {
                let ty = self.number(module.type_of(function)?);
                self.imports.push(target);
                self.import_types.push(ty);
            }
        }
        Ok(())
    }

    /// The new number of a type.
    fn number(&mut self, ty: &FuncType) -> u32 {
        if let Some(number) = self.numbers.get(ty) {
            return *number;
        }
        let number = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
        self.types.push(ty.clone());
        self.numbers.insert(ty.clone(), number);
        number
    }

    /// The sort and the new number of something.
    fn place(&self, target: Target) -> anyhow::Result<(Sort, u32)> {
        if let Target::Defined { instance, sort, index } = target
            && let Some(places) = self.members.get(&instance)
        {
            return Ok((sort, places.defined[sort as usize] + index));
        }
        let number = self.imports.iter().position(|import| *import == target);
        let number = number.context("something that is neither imported nor defined")?;
        Ok((Sort::Func, u32::try_from(number)?))
    }

    /// Renumbers what is in a member.
    fn member(&'a self, instance: u32) -> anyhow::Result<Member<'a>> {
        let (module, ..) = self.links.made(instance)?;
        let numbers = |sort: Sort| {
            let all = u32::try_from(module.imports[sort as usize].len())? + module.defined[sort as usize];
            let places = (0..all).map(|index| {
                let target = self.links.inner(instance, sort, index)?;
                let (found, number) = self.place(target)?;
                ensure!(found == sort, "a {found:?} in place of a {sort:?}");
                Ok(number)
            });
            places.collect::<anyhow::Result<Vec<_>>>()
        };
        let types = module.types.iter().map(|ty| self.numbers.get(ty).copied());
        Ok(Member {
            layout: self,
            instance,
            places: *self.members.get(&instance).context("no member")?,
            types: types.collect::<Option<_>>().context("a type without a number")?,
            numbers: [
                numbers(Sort::Func)?,
                numbers(Sort::Table)?,
                numbers(Sort::Memory)?,
                numbers(Sort::Global)?,
            ],
        })
    }
}

/// A member, whose things are renumbered.
struct Member<'a> {
    layout: &'a Layout<'a>,
    instance: u32,
    places: Places,
    types: Vec<u32>,
    /// By sort.
    numbers: [Vec<u32>; 4],
}

/// What a module names and nothing is known of.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unknown(String);

impl Unknown {
    fn error(what: String) -> reencode::Error<Self> {
        reencode::Error::UserError(Self(what))
    }
}

type Renumbered = Result<u32, reencode::Error<Unknown>>;

impl Member<'_> {
    fn number(&self, sort: Sort, index: u32) -> Renumbered {
        let number = self.numbers[sort as usize].get(index as usize).copied();
        number.ok_or_else(|| Unknown::error(format!("no {sort:?} has the number {index}")))
    }
}

impl Reencode for Member<'_> {
    type Error = Unknown;

    fn type_index(&mut self, ty: u32) -> Renumbered {
        let number = self.types.get(ty as usize).copied();
        number.ok_or_else(|| Unknown::error(format!("no type has the number {ty}")))
    }

    fn function_index(&mut self, func: u32) -> Renumbered {
        self.number(Sort::Func, func)
    }

    fn table_index(&mut self, table: u32) -> Renumbered {
        self.number(Sort::Table, table)
    }

    fn memory_index(&mut self, memory: u32) -> Renumbered {
        self.number(Sort::Memory, memory)
    }

    fn global_index(&mut self, global: u32) -> Renumbered {
        self.number(Sort::Global, global)
    }

    fn data_index(&mut self, data: u32) -> Renumbered {
        Ok(self.places.data + data)
    }

    fn element_index(&mut self, element: u32) -> Renumbered {
        Ok(self.places.tables + element)
    }

    fn const_expr(&mut self, expression: wasmparser::ConstExpr<'_>) -> Result<ConstExpr, reencode::Error<Unknown>> {
        // Only where a number is known beforehand is the content of a table.
        let value = self.layout.links.value(self.instance, &expression);
        match value.map_err(|err| Unknown::error(format!("{err:#}")))? {
            Some(value) => Ok(ConstExpr::i32_const(value)),
            None => utils::const_expr(self, expression),
        }
    }
}

/// The sections of the new module, as far as they are filled.
#[derive(Default)]
struct Sections {
    imports: ImportSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    globals: GlobalSection,
    exports: ExportSection,
    elements: ElementSection,
    code: CodeSection,
    data: DataSection,
    counts_data: bool,
    names: NameMap,
}

impl Sections {
    fn imports(&mut self, layout: &Layout<'_>) {
        for (number, ty) in layout.import_types.iter().enumerate() {
            self.imports
                .import(OUTSIDE, &number.to_string(), EntityType::Function(*ty));
        }
    }

    /// Adds all that a member defines.
    fn add(&mut self, layout: &Layout<'_>, instance: u32) -> anyhow::Result<()> {
        let mut member = layout.member(instance)?;
        let (module, ..) = layout.links.made(instance)?;
        for payload in Parser::new(0).parse_all(module.bytes) {
            match payload? {
                Payload::FunctionSection(section) => member.parse_function_section(&mut self.functions, section)?,
                Payload::TableSection(section) => member.parse_table_section(&mut self.tables, section)?,
                Payload::MemorySection(section) => member.parse_memory_section(&mut self.memories, section)?,
                Payload::GlobalSection(section) => member.parse_global_section(&mut self.globals, section)?,
                Payload::ElementSection(section) => member.parse_element_section(&mut self.elements, section)?,
                Payload::DataSection(section) => member.parse_data_section(&mut self.data, section)?,
                Payload::DataCountSection { .. } => self.counts_data = true,
                Payload::CodeSectionEntry(body) => member.parse_function_body(&mut self.code, body)?,
                Payload::CustomSection(section) => {
                    if let KnownCustom::Name(names) = section.as_known() {
                        self.name(&member, names, module.imports[Sort::Func as usize].len())?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps the names of functions, which backtraces show.
    fn name(
        &mut self,
        member: &Member<'_>,
        names: wasmparser::NameSectionReader<'_>,
        imported: usize,
    ) -> anyhow::Result<()> {
        for name in names {
            if let Name::Function(map) = name? {
                for naming in map {
                    let naming = naming?;
                    if naming.index as usize >= imported {
                        self.names.append(member.number(Sort::Func, naming.index)?, naming.name);
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(self, layout: &Layout<'_>) -> Vec<u8> {
        let mut types = TypeSection::new();
        for ty in &layout.types {
            let of = |types: &[wasmparser::ValType]| {
                let types = types.iter().map(|ty| reencode::RoundtripReencoder.val_type(*ty));
                types.filter_map(Result::ok).collect::<Vec<_>>()
            };
            types.ty().function(of(ty.params()), of(ty.results()));
        }
        let mut module = wasm_encoder::Module::new();
        module
            .section(&types)
            .section(&self.imports)
            .section(&self.functions)
            .section(&self.tables)
            .section(&self.memories)
            .section(&self.globals)
            .section(&self.exports)
            .section(&self.elements);
        if self.counts_data {
            module.section(&DataCountSection {
                count: layout.pieces_of_data,
            });
        }
        let mut names = NameSection::new();
        names.functions(&self.names);
        module.section(&self.code).section(&self.data).section(&names);
        module.finish()
    }
}
