//! What a component is made of, as far as its core modules are concerned.

use std::ops::Range;

use anyhow::{bail, ensure};
use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentOuterAliasKind, ComponentType, Encoding, Export,
    ExternalKind, Instance, Parser, Payload,
};

/// The number of sections that hold a component.
pub(super) const NESTED: u8 = 4;

/// The kinds of things in a core module, each counted by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Sort {
    Func,
    Table,
    Memory,
    Global,
}

impl Sort {
    pub(super) const ALL: [Self; 4] = [Self::Func, Self::Table, Self::Memory, Self::Global];

    pub(super) fn of(kind: ExternalKind) -> anyhow::Result<Self> {
        Ok(match kind {
            ExternalKind::Func => Self::Func,
            ExternalKind::Table => Self::Table,
            ExternalKind::Memory => Self::Memory,
            ExternalKind::Global => Self::Global,
            ExternalKind::Tag | ExternalKind::FuncExact => bail!("it has a {kind:?}"),
        })
    }

    pub(super) fn export(self) -> wasm_encoder::ExportKind {
        match self {
            Self::Func => wasm_encoder::ExportKind::Func,
            Self::Table => wasm_encoder::ExportKind::Table,
            Self::Memory => wasm_encoder::ExportKind::Memory,
            Self::Global => wasm_encoder::ExportKind::Global,
        }
    }
}

/// An instance of a core module, or a bag of things under names.
pub(super) enum CoreInstance<'a> {
    Of { module: u32, args: Vec<(&'a str, u32)> },
    Bag(Vec<Export<'a>>),
}

/// Where something core is from.
pub(super) enum Item<'a> {
    Export { instance: u32, name: &'a str },
    Canon(Canon),
}

/// A core function that the canonical ABI makes.
pub(super) enum Canon {
    Lower { func: u32, options: Box<[CanonicalOption]> },
    ResourceDrop(u32),
}

/// What is no core thing, in its order.
pub(super) enum Part<'a> {
    Section {
        id: u8,
        data: &'a [u8],
    },
    Nested,
    Alias(ComponentAlias<'a>),
    Lift {
        func: u32,
        ty: u32,
        options: Box<[CanonicalOption]>,
    },
}

#[derive(Default)]
pub(super) struct Component<'a> {
    pub(super) sections: Vec<(u8, &'a [u8])>,
    pub(super) modules: Vec<&'a [u8]>,
    pub(super) nested: Vec<&'a [u8]>,
    pub(super) instances: Vec<CoreInstance<'a>>,
    /// By sort.
    pub(super) items: [Vec<Item<'a>>; 4],
    pub(super) parts: Vec<Part<'a>>,
}

impl<'a> Component<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> anyhow::Result<Self> {
        let (mut component, mut depth) = (Self::default(), 0_u32);
        let part = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            let section = payload.as_section().filter(|_| depth == 0);
            component.sections.extend(section.map(|(id, range)| (id, part(&range))));
            match payload {
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ModuleSection { unchecked_range, .. } => {
                    if depth == 0 {
                        component.modules.push(part(&unchecked_range));
                    }
                    depth += 1;
                }
                Payload::ComponentSection { unchecked_range, .. } => {
                    if depth == 0 {
                        component.nested.push(part(&unchecked_range));
                        component.parts.push(Part::Nested);
                    }
                    depth += 1;
                }
                payload if depth > 0 => reaches_no_module_outside(payload)?,
                payload => component.add(payload, part)?,
            }
        }
        Ok(component)
    }

    fn add(&mut self, payload: Payload<'a>, part: impl Fn(&Range<usize>) -> &'a [u8]) -> anyhow::Result<()> {
        match payload {
            Payload::Version { encoding, .. } => ensure!(encoding == Encoding::Component, "it is no component"),
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    self.instances.push(core_instance(instance?));
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases {
                    self.alias(alias?)?;
                }
            }
            Payload::ComponentCanonicalSection(canons) => {
                for canon in canons {
                    self.canon(canon?)?;
                }
            }
            Payload::CoreTypeSection(_) | Payload::ComponentStartSection { .. } => {
                bail!("it has a start or core types")
            }
            Payload::ComponentTypeSection(types) => {
                for ty in types.clone() {
                    let destroys = matches!(ty?, ComponentType::Resource { dtor: Some(_), .. });
                    ensure!(!destroys, "a resource of its own has a destructor");
                }
                self.section(&Payload::ComponentTypeSection(types), part);
            }
            // It names things by numbers that change.
            Payload::CustomSection(section) if section.name() == "component-name" => {}
            other => self.section(&other, part),
        }
        Ok(())
    }

    fn section(&mut self, payload: &Payload<'a>, part: impl Fn(&Range<usize>) -> &'a [u8]) {
        let section = payload
            .as_section()
            .map(|(id, range)| Part::Section { id, data: part(&range) });
        self.parts.extend(section);
    }

    fn alias(&mut self, alias: ComponentAlias<'a>) -> anyhow::Result<()> {
        match alias {
            ComponentAlias::CoreInstanceExport {
                kind,
                instance_index: instance,
                name,
            } => self.items[Sort::of(kind)? as usize].push(Item::Export { instance, name }),
            other => {
                ensure!(!reaches_module(&other), "it has a module from outside");
                self.parts.push(Part::Alias(other));
            }
        }
        Ok(())
    }

    fn canon(&mut self, canon: CanonicalFunction) -> anyhow::Result<()> {
        let canon = match canon {
            CanonicalFunction::Lift {
                core_func_index: func,
                type_index: ty,
                options,
            } => {
                self.parts.push(Part::Lift { func, ty, options });
                return Ok(());
            }
            CanonicalFunction::Lower {
                func_index: func,
                options,
            } => Canon::Lower { func, options },
            CanonicalFunction::ResourceDrop { resource } => Canon::ResourceDrop(resource),
            other => bail!("it has the function {other:?}"),
        };
        self.items[Sort::Func as usize].push(Item::Canon(canon));
        Ok(())
    }
}

fn core_instance(instance: Instance<'_>) -> CoreInstance<'_> {
    match instance {
        Instance::Instantiate { module_index, args } => CoreInstance::Of {
            module: module_index,
            args: args.iter().map(|arg| (arg.name, arg.index)).collect(),
        },
        Instance::FromExports(exports) => CoreInstance::Bag(exports.into_vec()),
    }
}

fn reaches_module(alias: &ComponentAlias<'_>) -> bool {
    let ComponentAlias::Outer { kind, .. } = alias else {
        return false;
    };
    matches!(
        kind,
        ComponentOuterAliasKind::CoreModule | ComponentOuterAliasKind::CoreType
    )
}

fn reaches_no_module_outside(payload: Payload<'_>) -> anyhow::Result<()> {
    if let Payload::ComponentAliasSection(aliases) = payload {
        for alias in aliases {
            ensure!(!reaches_module(&alias?), "a component in it uses its modules");
        }
    }
    Ok(())
}
