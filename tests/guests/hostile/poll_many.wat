;; Waits for the first of 100,000 things, which are all the same one and there at once.
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
(memory (export "memory") 32)
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 0x100000)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (local $at i32) (local $timer i32)
  (local.set $timer (call $subscribe (i64.const 0)))
  (loop $next
    (i32.store offset=65536 (local.get $at) (local.get $timer))
    (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (i32.const 400000))))
  (call $poll (i32.const 65536) (i32.const 100000) (i32.const 128))
  i32.const 0)
