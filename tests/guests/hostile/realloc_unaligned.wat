;; Says that a list of numbers may be written where no number can stand.
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (select (i32.const 4097) (i32.const 4096) (i32.eq (local.get 2) (i32.const 4))))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (i32.store (i32.const 64) (call $subscribe (i64.const 0)))
  (call $poll (i32.const 64) (i32.const 1) (i32.const 128))
  i32.const 0)
