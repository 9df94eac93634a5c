//! What a core module is made of, as far as its links to others are concerned.

use std::collections::HashMap;

use anyhow::{Context as _, bail};
use wasmparser::{CompositeInnerType, FuncType, Global, Import, Parser, Payload, TypeRef};

use super::read::Sort;

#[derive(Default)]
pub(super) struct Module<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) types: Vec<FuncType>,
    /// By sort.
    pub(super) imports: [Vec<Import<'a>>; 4],
    pub(super) exports: HashMap<&'a str, (Sort, u32)>,
    /// How many things it defines, by sort.
    pub(super) defined: [u32; 4],
    /// The type of each function that it defines.
    pub(super) functions: Vec<u32>,
    pub(super) globals: Vec<Global<'a>>,
    pub(super) pieces_of_data: u32,
    pub(super) pieces_of_tables: u32,
    pub(super) has_start: bool,
    /// Why it cannot be made one with others.
    pub(super) unfit: Option<&'static str>,
}

impl<'a> Module<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> anyhow::Result<Self> {
        let mut module = Self {
            bytes,
            ..Self::default()
        };
        for payload in Parser::new(0).parse_all(bytes) {
            module.add(payload?)?;
        }
        Ok(module)
    }

    fn add(&mut self, payload: Payload<'a>) -> anyhow::Result<()> {
        match payload {
            Payload::TypeSection(types) => {
                for group in types {
                    for ty in group?.into_types() {
                        match ty.composite_type.inner {
                            CompositeInnerType::Func(func) if ty.is_final && ty.supertype_idx.is_none() => {
                                self.types.push(func);
                            }
                            _ => self.unfit = Some("it has types that are no plain functions"),
                        }
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import?;
                    let sort = match import.ty {
                        TypeRef::Func(_) => Sort::Func,
                        TypeRef::Table(_) => Sort::Table,
                        TypeRef::Memory(_) => Sort::Memory,
                        TypeRef::Global(_) => Sort::Global,
                        TypeRef::Tag(_) | TypeRef::FuncExact(_) => bail!("a module imports a {:?}", import.ty),
                    };
                    self.imports[sort as usize].push(import);
                }
            }
            Payload::FunctionSection(functions) => {
                self.functions = functions.into_iter().collect::<Result<_, _>>()?;
                self.defined[Sort::Func as usize] = u32::try_from(self.functions.len())?;
            }
            Payload::TableSection(tables) => self.defined[Sort::Table as usize] = tables.count(),
            Payload::MemorySection(memories) => self.defined[Sort::Memory as usize] = memories.count(),
            Payload::GlobalSection(globals) => {
                self.globals = globals.into_iter().collect::<Result<_, _>>()?;
                self.defined[Sort::Global as usize] = u32::try_from(self.globals.len())?;
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    self.exports.insert(export.name, (Sort::of(export.kind)?, export.index));
                }
            }
            Payload::ElementSection(pieces) => self.pieces_of_tables = pieces.count(),
            Payload::DataSection(pieces) => self.pieces_of_data = pieces.count(),
            Payload::StartSection { .. } => self.has_start = true,
            Payload::TagSection(_) => self.unfit = Some("it has exceptions"),
            _ => {}
        }
        Ok(())
    }

    /// The type of a function by its number in this module.
    pub(super) fn type_of(&self, function: u32) -> anyhow::Result<&FuncType> {
        let imports = &self.imports[Sort::Func as usize];
        let ty = match imports.get(function as usize) {
            Some(Import {
                ty: TypeRef::Func(ty), ..
            }) => Some(ty),
            _ => self
                .functions
                .get(function as usize - imports.len().min(function as usize)),
        };
        ty.and_then(|ty| self.types.get(*ty as usize))
            .context("a function without a type")
    }
}
