use wasmparser::{ElementItems, ElementKind, Operator, Parser, Payload};

use super::{fused, of};

/// A component as tools link one: a module with memory and table, two libraries that share them, and one that fills what a
/// function of the host is called by, which has to have the memory first.
const LINKED: &str = r#"
(component
  (import "log" (func $log (param "what" string)))
  (import "now" (func $now (result u32)))
  (core module $shim
    (table (export "calls") 1 1 funcref)
    (type $log (func (param i32 i32)))
    (func (export "log") (param i32 i32)
      (call_indirect (type $log) (local.get 0) (local.get 1) (i32.const 0))))
  (core module $main
    (memory (export "memory") 1)
    (table (export "table") 4 funcref)
    (global (export "base") i32 (i32.const 1))
    (global (export "stack") (mut i32) (i32.const 1024))
    (data (i32.const 8) "said"))
  (core module $lib
    (import "env" "memory" (memory 1))
    (import "env" "table" (table 4 funcref))
    (import "env" "base" (global $base i32))
    (import "env" "stack" (global $stack (mut i32)))
    (import "host" "log" (func $log (param i32 i32)))
    (import "host" "now" (func $now (result i32)))
    (global $own i32 (i32.const 7))
    (func $twice (export "twice") (param i32) (result i32)
      (call $log (i32.const 8) (i32.const 4))
      (global.set $stack (i32.sub (global.get $stack) (global.get $own)))
      (i32.mul (local.get 0) (i32.add (call $now) (i32.const 2))))
    (elem (global.get $base) $twice $log))
  (core module $app
    (import "env" "memory" (memory 1))
    (import "env" "table" (table 4 funcref))
    (import "lib" "twice" (func $twice (param i32) (result i32)))
    (type $number (func (param i32) (result i32)))
    (func $four (export "run") (param i32) (result i32)
      (call $twice (call_indirect (type $number) (local.get 0) (i32.const 1))))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
  (core module $fill
    (import "" "calls" (table 1 1 funcref))
    (import "" "log" (func $log (param i32 i32)))
    (elem (i32.const 0) $log))
  (core instance $shim (instantiate $shim))
  (core instance $main (instantiate $main))
  (core func $now (canon lower (func $now)))
  (core instance $host (export "log" (func $shim "log")) (export "now" (func $now)))
  (core instance $lib (instantiate $lib (with "env" (instance $main)) (with "host" (instance $host))))
  (core instance $app (instantiate $app (with "env" (instance $main)) (with "lib" (instance $lib))))
  (alias core export $main "memory" (core memory $memory))
  (core func $logged (canon lower (func $log) (memory $memory)))
  (core instance $filling (export "calls" (table $shim "calls")) (export "log" (func $logged)))
  (core instance (instantiate $fill (with "" (instance $filling))))
  (func (export "run") (param "number" u32) (result u32)
    (canon lift (core func $app "run") (memory $memory) (realloc (func $app "realloc"))))
)"#;

/// The place of a piece that is known only once the module is made.
const COMPUTED: i32 = -1;

/// How many functions each core module of a component imports and defines, and where its pieces of tables begin.
fn modules(component: &[u8]) -> Vec<(u32, u32, Vec<i32>)> {
    let mut modules = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } => modules.push((0, 0, Vec::new())),
            Payload::ImportSection(imports) if !modules.is_empty() => modules.last_mut().unwrap().0 = imports.count(),
            Payload::FunctionSection(functions) => modules.last_mut().unwrap().1 = functions.count(),
            Payload::ElementSection(pieces) => {
                for piece in pieces {
                    let piece = piece.unwrap();
                    assert!(matches!(piece.items, ElementItems::Functions(_)));
                    let ElementKind::Active { offset_expr, .. } = piece.kind else {
                        panic!("a piece of no table");
                    };
                    let place = match offset_expr.get_operators_reader().read().unwrap() {
                        Operator::I32Const { value } => value,
                        _ => COMPUTED,
                    };
                    modules.last_mut().unwrap().2.push(place);
                }
            }
            _ => {}
        }
    }
    modules
}

#[test]
fn modules_that_share_a_memory_become_one_whose_table_is_known() {
    let linked = wat::parse_str(LINKED).unwrap();
    let fused = fused(&linked).unwrap().expect("three modules share a memory");
    // The shim, what was linked, and what fills the shim once there is the memory.
    assert_eq!(modules(&fused), [(0, 1, vec![]), (2, 3, vec![1]), (2, 0, vec![0])]);
    assert_eq!(of(fused.clone()), fused, "there is nothing more to gain");
}

#[test]
fn components_in_a_component_are_looked_through() {
    let outer = LINKED
        .replacen("(component", "(component (component $inner", 1)
        .replace(
            "(realloc (func $app \"realloc\"))))\n)",
            "(realloc (func $app \"realloc\")))))\n)",
        );
    let outer = wat::parse_str(outer).unwrap();
    assert_eq!(modules(&outer).len(), 5);
    assert_eq!(modules(&of(outer)).len(), 3);
}

#[test]
fn what_would_run_in_another_order_stays_as_it_is() {
    let starts = "(global $own i32 (i32.const 7)) (func $first) (start $first)";
    let linked = wat::parse_str(LINKED.replace("(global $own i32 (i32.const 7))", starts)).unwrap();
    assert_eq!(of(linked.clone()), linked);
    let no_component = b"\0asm\x01\0\0\0".to_vec();
    assert_eq!(of(no_component.clone()), no_component);
}
