;; Drops a timer twice.
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (local $timer i32)
  (local.set $timer (call $subscribe (i64.const 0)))
  (call $drop (local.get $timer))
  (call $drop (local.get $timer))
  i32.const 0)
