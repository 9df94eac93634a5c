//! What differs between the types that a component was built against and this host's, in the words of WIT.
//!
//! Knows Kiln's own world, as its bindings carry it. What differs in WASI's interfaces is for the engine to say.

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::{self, ComponentFunc, ComponentInstance, ComponentItem, Type};

use super::refusal;
use crate::sandbox::bindings::COMPONENT_TYPE;
use crate::text;

/// How deep a type is written out in a message.
const MAX_DEPTH: u32 = 3;

/// Functions of one interface that are compared.
type Functions = Vec<(String, ComponentFunc)>;

/// This host's own world; none would be a fault of the build.
pub(in crate::sandbox) fn world(engine: &Engine) -> wasmtime::Result<types::Component> {
    let carrier = Component::from_binary(engine, COMPONENT_TYPE)?.component_type();
    // The carrier is an otherwise empty component. It holds the type of the package, which holds that of the world.
    let package = only_component(&carrier, engine);
    let world = package.and_then(|package| only_component(&package, engine));
    world.ok_or_else(|| wasmtime::Error::msg("the bindings hold no world"))
}

/// The first difference; none: there is none, or not in an interface of Kiln's world.
pub(in crate::sandbox) fn against_host(
    component: &Component,
    host: &types::Component,
    engine: &Engine,
) -> Option<String> {
    let found = component.component_type();

    let mut exports = interfaces(host.exports(engine), engine).into_iter();
    let export = exports.find_map(|(name, ours)| {
        let theirs = interface(interfaces(found.exports(engine), engine), &name)?;
        let what = ours.iter().find_map(|(func, ours)| match named(&theirs, func) {
            Some(theirs) => function(ours, theirs).map(|what| format!("{func}: {what}")),
            None => Some(format!("it lacks the function {func}")),
        });
        what.map(|what| format!("{name}: {what}"))
    });
    let mut imports = interfaces(host.imports(engine), engine).into_iter();
    export.or_else(|| {
        imports.find_map(|(name, ours)| {
            let theirs = interface(interfaces(found.imports(engine), engine), &name)?;
            let what = theirs.iter().find_map(|(func, theirs)| match named(&ours, func) {
                Some(ours) => function(ours, theirs).map(|what| format!("{}: {what}", refusal::name(func))),
                None => Some(format!("this host has no function {}", refusal::name(func))),
            });
            what.map(|what| format!("{name}: {what}"))
        })
    })
}

fn only_component(ty: &types::Component, engine: &Engine) -> Option<types::Component> {
    ty.exports(engine).find_map(|(_, item)| match item.ty {
        ComponentItem::Component(inner) => Some(inner),
        _ => None,
    })
}

/// The interfaces among these, with their functions.
fn interfaces<'a>(
    items: impl Iterator<Item = (&'a str, types::ComponentExtern<'a>)>,
    engine: &Engine,
) -> Vec<(String, Functions)> {
    let functions = |instance: &ComponentInstance| {
        let functions = instance.exports(engine).filter_map(|(name, item)| match item.ty {
            ComponentItem::ComponentFunc(func) => Some((name.to_owned(), func)),
            _ => None,
        });
        functions.collect()
    };
    let interfaces = items.filter_map(|(name, item)| match &item.ty {
        ComponentItem::ComponentInstance(instance) => Some((name.to_owned(), functions(instance))),
        _ => None,
    });
    interfaces.collect()
}

/// That interface, in any version that would be linked with it.
fn interface(among: Vec<(String, Functions)>, name: &str) -> Option<Functions> {
    // Patch versions of one interface are the same; drafts only equal themselves.
    let line = |name: &str| match name.split_once('@') {
        Some((_, version)) if !version.contains('-') => name.rsplit_once('.').map(|(line, _)| line.to_owned()),
        _ => None,
    };
    let mut among = among.into_iter();
    among
        .find(|(other, _)| other == name || (line(name).is_some() && line(other) == line(name)))
        .map(|(_, functions)| functions)
}

fn named<'a>(functions: &'a Functions, name: &str) -> Option<&'a ComponentFunc> {
    functions.iter().find(|(other, _)| other == name).map(|(_, func)| func)
}

fn function(ours: &ComponentFunc, theirs: &ComponentFunc) -> Option<String> {
    if ours.async_() != theirs.async_() {
        let kind = |func: &ComponentFunc| if func.async_() { "async" } else { "not async" };
        return Some(format!(
            "expected a function that is {}, found one that is {}",
            kind(ours),
            kind(theirs)
        ));
    }
    let (expected, found): (Vec<_>, Vec<_>) = (ours.params().collect(), theirs.params().collect());
    if expected.len() != found.len() {
        return Some(format!("expected {}, found {}", signature(ours), signature(theirs)));
    }
    let param = expected
        .iter()
        .zip(&found)
        .find_map(|((name, ours), (_, theirs))| differ(ours, theirs, &format!("parameter {name}")));
    param.or_else(|| match (ours.results().next(), theirs.results().next()) {
        (Some(ours), Some(theirs)) => differ(&ours, &theirs, "result"),
        (None, None) => None,
        _ => Some(format!("expected {}, found {}", signature(ours), signature(theirs))),
    })
}

/// Where two types differ, and how. Walks down both at once, so no deeper than the host's own.
fn differ(ours: &Type, theirs: &Type, place: &str) -> Option<String> {
    let unlike = || {
        Some(format!(
            "{place}: expected {}, found {}",
            written(ours, 0),
            written(theirs, 0)
        ))
    };
    match (ours, theirs) {
        (Type::Record(ours), Type::Record(theirs)) => {
            let (ours, theirs): (Vec<_>, Vec<_>) = (ours.fields().collect(), theirs.fields().collect());
            let ours: Vec<_> = ours.iter().map(|field| (field.name, Some(&field.ty))).collect();
            let theirs: Vec<_> = theirs.iter().map(|field| (field.name, Some(&field.ty))).collect();
            members(&ours, &theirs, place, "field")
        }
        (Type::Variant(ours), Type::Variant(theirs)) => {
            let (ours, theirs): (Vec<_>, Vec<_>) = (ours.cases().collect(), theirs.cases().collect());
            let ours: Vec<_> = ours.iter().map(|case| (case.name, case.ty.as_ref())).collect();
            let theirs: Vec<_> = theirs.iter().map(|case| (case.name, case.ty.as_ref())).collect();
            members(&ours, &theirs, place, "case")
        }
        (Type::Enum(ours), Type::Enum(theirs)) => {
            let ours: Vec<_> = ours.names().map(|name| (name, None)).collect();
            let theirs: Vec<_> = theirs.names().map(|name| (name, None)).collect();
            members(&ours, &theirs, place, "case")
        }
        (Type::Option(ours), Type::Option(theirs)) => {
            differ(&ours.ty(), &theirs.ty(), &format!("{place}, inside option"))
        }
        (Type::List(ours), Type::List(theirs)) => differ(&ours.ty(), &theirs.ty(), &format!("{place}, inside list")),
        (Type::Tuple(ours), Type::Tuple(theirs)) if ours.types().len() == theirs.types().len() => {
            let mut pairs = ours.types().zip(theirs.types()).enumerate();
            pairs.find_map(|(n, (ours, theirs))| differ(&ours, &theirs, &format!("{place}, element {n} of tuple")))
        }
        (Type::Result(ours), Type::Result(theirs)) => {
            let mut arms = [(ours.ok(), theirs.ok(), "ok"), (ours.err(), theirs.err(), "error")].into_iter();
            arms.find_map(|(ours, theirs, arm)| match (ours, theirs) {
                (Some(ours), Some(theirs)) => differ(&ours, &theirs, &format!("{place}, {arm}")),
                (None, None) => None,
                _ => unlike(),
            })
        }
        _ if written(ours, 0) == written(theirs, 0) => None,
        _ => unlike(),
    }
}

/// How two lists of fields or cases differ: names first, then order, then types.
fn members(
    ours: &[(&str, Option<&Type>)],
    theirs: &[(&str, Option<&Type>)],
    place: &str,
    what: &str,
) -> Option<String> {
    let has = |list: &[(&str, Option<&Type>)], name: &str| list.iter().any(|(other, _)| *other == name);
    if let Some((name, _)) = ours.iter().find(|(name, _)| !has(theirs, name)) {
        return Some(format!("{place}: {what} {name} is missing"));
    }
    if let Some((name, _)) = theirs.iter().find(|(name, _)| !has(ours, name)) {
        return Some(format!(
            "{place}: {what} {} is unknown to this host",
            refusal::name(name)
        ));
    }
    if let Some(((name, _), _)) = ours.iter().zip(theirs).find(|((ours, _), (theirs, _))| ours != theirs) {
        return Some(format!("{place}: {what} {name} stands in another place"));
    }
    ours.iter()
        .zip(theirs)
        .find_map(|((name, ours), (_, theirs))| match (ours, theirs) {
            (Some(ours), Some(theirs)) => differ(ours, theirs, &format!("{place}, {what} {name}")),
            (None, None) => None,
            (Some(ours), None) => Some(format!(
                "{place}, {what} {name}: expected {}, found nothing",
                written(ours, 0)
            )),
            (None, Some(theirs)) => Some(format!(
                "{place}, {what} {name}: expected nothing, found {}",
                written(theirs, 0)
            )),
        })
}

/// A function's type as WIT writes it.
fn signature(func: &ComponentFunc) -> String {
    let params: Vec<_> = func
        .params()
        .map(|(name, ty)| format!("{}: {}", refusal::name(name), written(&ty, 1)))
        .collect();
    let result = func.results().next().map(|ty| format!(" -> {}", written(&ty, 1)));
    format!("func({}){}", text::list(&params, ", "), result.unwrap_or_default())
}

/// A type as WIT writes it, as far as it has no name: those of records and variants are not in a component.
fn written(ty: &Type, depth: u32) -> String {
    if depth > MAX_DEPTH {
        return "…".to_owned();
    }
    let inner = |ty: &Type| written(ty, depth + 1);
    let arm = |ty: Option<Type>| ty.map_or_else(|| "_".to_owned(), |ty| inner(&ty));
    let plain = match ty {
        Type::List(list) => return format!("list<{}>", inner(&list.ty())),
        Type::Option(option) => return format!("option<{}>", inner(&option.ty())),
        Type::Result(result) => return format!("result<{}, {}>", arm(result.ok()), arm(result.err())),
        Type::Tuple(tuple) => {
            let types: Vec<_> = tuple.types().map(|ty| inner(&ty)).collect();
            return format!("tuple<{}>", text::list(&types, ", "));
        }
        Type::Bool => "bool",
        Type::S8 => "s8",
        Type::U8 => "u8",
        Type::S16 => "s16",
        Type::U16 => "u16",
        Type::S32 => "s32",
        Type::U32 => "u32",
        Type::S64 => "s64",
        Type::U64 => "u64",
        Type::Float32 => "f32",
        Type::Float64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::Record(_) => "a record",
        Type::Variant(_) => "a variant",
        Type::Enum(_) => "an enum",
        Type::Flags(_) => "flags",
        Type::Own(_) | Type::Borrow(_) => "a resource",
        Type::Future(_) => "a future",
        Type::Stream(_) => "a stream",
        Type::ErrorContext => "an error-context",
        Type::Map(_) => "a map",
        Type::FixedLengthList(_) => "a list of fixed length",
    };
    plain.to_owned()
}
