//! Modules that do one thing in their initialisation each.

use wasmtime::{Engine, Instance, Module, Store};

use super::*;

/// A module with this initialisation, and with this in its main function.
fn module(initialise: &str, main: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $again (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "path_open" (func $open (result i32)))
            (import "kiln:job/context@0.1.0" "remaining-ms" (func $remaining (result i64)))
            (memory (export "memory") 2)
            (global $count (mut i32) (i32.const 0))
            (data (i32.const 8) "\10\00\00\00\04\00\00\00tea\n")
            (data (i32.const 64) "\48\00\00\00\12\00\00\00it minds something")
            (func (export "_initialize") {initialise})
            (func (export "kiln-prepare") (param $stage i32) (result i32)
                (if (i32.eq (local.get $stage) (i32.const 1)) (then {main}))
                (i32.const 0))
            (func (export "count") (result i32) (global.get $count))
            (func (export "at") (param i32) (result i32) (i32.load (local.get 0))))"#
    );
    wat::parse_str(text).unwrap()
}

const COUNT: &str = "(global.set $count (i32.add (global.get $count) (i32.const 1)))";
const SEED: &str = "(drop (call $random (i32.const 1024) (i32.const 32)))";

/// What a module answers that nobody has initialised.
fn of_its_own(module: &[u8]) -> (Vec<String>, i32, i32) {
    let engine = Engine::default();
    let module = Module::new(&engine, module).unwrap();
    let mut store = Store::new(&engine, ());
    let mut linker = wasmtime::Linker::new(&engine);
    linker.define_unknown_imports_as_traps(&module).unwrap();
    let instance: Instance = linker.instantiate(&mut store, &module).unwrap();
    let count = instance.get_typed_func::<(), i32>(&mut store, "count").unwrap();
    let at = instance.get_typed_func::<i32, i32>(&mut store, "at").unwrap();
    let names = module.exports().map(|export| export.name().to_owned()).collect();
    (
        names,
        count.call(&mut store, ()).unwrap(),
        at.call(&mut store, 70_000).unwrap(),
    )
}

#[test]
fn a_module_begins_with_the_memory_and_globals_that_its_initialisation_left() {
    let store = "(i32.store (i32.const 70000) (i32.const 7))";
    let (made, start) = of(&module(&format!("{COUNT} {SEED} {store}"), COUNT));
    assert_eq!(start, Start::Ready);
    let (names, count, stored) = of_its_own(&made);
    assert_eq!((count, stored), (2, 7));
    assert_eq!(names, ["memory", "count", "at"]);
    let again = of(&module(&format!("{COUNT} {SEED} {store}"), COUNT));
    assert_eq!(again.0, made, "the same module makes the same snapshot");
}

#[test]
fn nothing_is_kept_of_what_asks_for_anything_that_differs_between_attempts() {
    for (asks, told) in [
        (format!("{SEED} {SEED}"), "it draws random numbers"),
        (
            "(drop (call $again (i32.const 1024) (i32.const 33)))".to_owned(),
            "it draws random numbers",
        ),
        (
            "(drop (call $clock (i32.const 0) (i64.const 0) (i32.const 1024)))".to_owned(),
            "it reads the clock",
        ),
        (
            "(drop (call $write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 1024)))".to_owned(),
            "it prints \"tea\"",
        ),
        ("(call $exit (i32.const 3))".to_owned(), "it exits with 3"),
        ("(drop (call $open))".to_owned(), "it calls the system: path_open"),
        (
            "(drop (call $remaining))".to_owned(),
            "it calls the host: remaining-ms of kiln:job/context@0.1.0",
        ),
        (
            "unreachable".to_owned(),
            "it ends in a trap: wasm trap: wasm `unreachable` instruction executed",
        ),
        ("(loop (br 0))".to_owned(), "it computes for too long"),
    ] {
        let given = module(&asks, "");
        let (made, start) = of(&given);
        assert_eq!(start, Start::Untouched(told.to_owned()));
        assert!(made == given, "{told}");
        // If main does, what was before it is kept.
        let (made, start) = of(&module(COUNT, &format!("{COUNT} {asks}")));
        assert_eq!(start, Start::Initialised(told.to_owned()));
        assert_eq!(of_its_own(&made).1, 1, "{told}");
    }
}

#[test]
fn a_module_can_object_by_itself_and_may_take_no_part() {
    let (made, start) = of(&module(COUNT, &format!("{COUNT} (return (i32.const 64))")));
    assert_eq!(start, Start::Initialised("it minds something".to_owned()));
    assert_eq!(of_its_own(&made).1, 1);

    let plain = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_initialize")))"#).unwrap();
    let (made, start) = of(&plain);
    assert!(matches!(start, Start::Untouched(why) if why.contains("kiln-prepare")));
    assert!(made == plain);
}

#[test]
fn the_clock_that_counts_begins_anew_and_goes_on() {
    let read = "(drop (call $clock (i32.const 1) (i64.const 0) (i32.const 70000)))";
    let (made, start) = of(&module(&read.repeat(3), ""));
    assert_eq!(start, Start::Ready);
    assert_eq!(of_its_own(&made).2, 3);
}
