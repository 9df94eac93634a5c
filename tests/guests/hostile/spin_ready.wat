;; Waits without end for what is there at once.
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
(import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (local $timer i32)
  (loop $again
    (local.set $timer (call $subscribe (i64.const 1)))
    (call $block (local.get $timer))
    (call $drop (local.get $timer))
    (br $again))
  unreachable)
