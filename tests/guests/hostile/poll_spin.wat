;; Waits, without end, for the first of 900 things, which are all the same one and there at once.
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 65536)
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (local $at i32) (local $timer i32)
  (local.set $timer (call $subscribe (i64.const 0)))
  (loop $next
    (i32.store offset=4096 (local.get $at) (local.get $timer))
    (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (i32.const 3600))))
  (loop $again
    (call $poll (i32.const 4096) (i32.const 900) (i32.const 128))
    (br $again))
  unreachable)
