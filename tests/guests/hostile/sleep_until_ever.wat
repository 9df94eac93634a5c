;; Waits until the last instant that can be said.
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-instant" (func $subscribe (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (call $block (call $subscribe (i64.const -1)))
  i32.const 0)
